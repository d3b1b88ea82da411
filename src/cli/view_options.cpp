// From the command line to the options of views.
#include "cli/view_options.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "zero/config.h"

namespace ckptfs::cli {

Result<view::ViewOptions> read_view_options(const TargetArguments& arguments, std::string* config_text) {
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
    auto text = zero::read_config_text(arguments.config_file);
    if (!text) {
        const Error& error = text.error();
        // `not_found` would be taken for a word about SOURCE.
        return error.code() == ErrorCode::not_found ? Error(ErrorCode::invalid_argument, error.message()) : error;
    }
    CKPTFS_ASSIGN(const nlohmann::json config, zero::parse_config(*text, arguments.config_file));
    options.target = zero::engine_layout(config);
    if (config_text != nullptr) {
        *config_text = std::move(text).value();
    }
    return options;
}

}  // namespace ckptfs::cli
