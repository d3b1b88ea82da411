// Every option has a name and a value here, whether it was given or not.
#include "cli/mount_identity.h"

#include <optional>

namespace ckptfs::cli {
namespace {

std::string text_of(bool value) {
    return value ? "yes" : "no";
}

std::string text_of(const std::optional<std::uint64_t>& value) {
    return value ? std::to_string(*value) : "absent";
}

}  // namespace

// Takes every member by name: with a new option this no longer compiles, until it has a place here. Who made SOURCE is
// no option: whoever comes next finds it there.
share::MountIdentity mount_identity(const MountArguments& arguments) {
    const auto& [source, mount_point, target, log_file, log_format, log_level, foreground, allow_other, allow_empty,
                 writable, in_place, io, read_ahead_nbytes, memory_nbytes, kernel_options, source_is_new] = arguments;
    const auto& [request, of_job, config_file, sub_group_size, read, names] = target;
    const auto& [max_shard_nbytes, strip_prefixes, renames, parameters, trainable_only, tag] = names;
    const auto& [accept_mixed, rank_values_of, look_for_two_saves] = read;
    share::MountIdentity result{source, config_file, {}};
    result.options = {{"mount_point", mount_point},
                      {"log_file", log_file},
                      {"log_format", std::to_string(static_cast<int>(log_format))},
                      {"log_level", std::string(name_of(log_level))},
                      {"foreground", text_of(foreground)},
                      {"allow_other", text_of(allow_other)},
                      {"allow_empty", text_of(allow_empty)},
                      {"writable", text_of(writable)},
                      {"in_place", in_place ? "=" + source : "absent"},
                      {"io", std::to_string(static_cast<int>(io))},
                      {"read_ahead_nbytes", text_of(read_ahead_nbytes)},
                      {"memory_nbytes", text_of(memory_nbytes)},
                      {"request", request ? request->name() : "all"},
                      {"of_job", text_of(of_job)},
                      {"sub_group_size", text_of(sub_group_size)},
                      {"accept_mixed", text_of(accept_mixed)},
                      {"rank_values_of", text_of(rank_values_of)},
                      {"look_for_two_saves", text_of(look_for_two_saves)},
                      {"max_shard_nbytes", text_of(max_shard_nbytes)},
                      {"parameters", parameters ? "=" + *parameters : "absent"},
                      {"trainable_only", text_of(trainable_only)},
                      {"tag", tag ? "=" + *tag : "absent"}};
    for (const std::string& prefix : strip_prefixes) {
        result.options.emplace_back("strip_prefix", prefix);
    }
    for (const view::Rename& rename : renames) {
        result.options.emplace_back("rename", rename.pattern);
        result.options.emplace_back("replacement", rename.replacement);
    }
    for (const std::string& option : kernel_options) {
        result.options.emplace_back("kernel_option", option);
    }
    return result;
}

}  // namespace ckptfs::cli
