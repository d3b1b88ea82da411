// From the command line to the options of views.
#include "cli/view_options.h"

#include "zero/config.h"

namespace ckptfs::cli {

Result<view::ViewOptions> read_view_options(const TargetArguments& arguments) {
    view::ViewOptions options;
    options.counts_data_parallel = arguments.request && arguments.request->counts_data_parallel;
    options.sub_group_size = arguments.sub_group_size;
    options.read = arguments.read;
    options.max_shard_nbytes = arguments.names.max_shard_nbytes;
    options.strip_prefixes = arguments.names.strip_prefixes;
    options.renames = arguments.names.renames;
    options.parameters = arguments.names.parameters;
    options.trainable_only = arguments.names.trainable_only;
    options.tag = arguments.names.tag;
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
