// From the command line to the options of views.
#include "cli/view_options.h"

#include "zero/config.h"

namespace ckptfs::cli {

Result<view::ViewOptions> read_view_options(const TargetArguments& arguments) {
    view::ViewOptions options;
    options.counts_data_parallel = arguments.counts_data_parallel;
    options.sub_group_size = arguments.sub_group_size;
    options.read = arguments.read;
    if (arguments.config_file.empty()) {
        return options;
    }
    const auto target = zero::read_layout_config(arguments.config_file);
    if (!target) {
        const Error& error = target.error();
        // `not_found` would be taken for a word about SOURCE.
        return error.code() == ErrorCode::not_found ? Error(ErrorCode::invalid_argument, error.message()) : error;
    }
    options.target = *target;
    return options;
}

}  // namespace ckptfs::cli
