// ckptfs help --manual and --completion: pages and scripts made of what --help says.
#include <array>
#include <ctime>
#include <ostream>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/documents.h"
#include "cli/mount_options.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

/// As reproducible builds ask for it; today where nobody does.
Result<std::string> date_of(const Environment& environment) {
    std::time_t seconds = std::time(nullptr);
    if (const auto epoch = environment.variable("SOURCE_DATE_EPOCH")) {
        const auto count = parse_count(*epoch);
        if (!count || *count > 253'402'300'799) {  // the end of the year 9999
            return usage_error("SOURCE_DATE_EPOCH is " + in_quotes(*epoch) +
                               ", but must be a number of seconds since 1970; correct it, or unset it");
        }
        seconds = static_cast<std::time_t>(*count);
    }
    std::tm day{};
    ::gmtime_r(&seconds, &day);
    std::array<char, 16> text{};
    return std::string(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d", &day));
}

}  // namespace

Result<void> print(const DocumentArguments& arguments, const Environment& environment) {
    switch (arguments.document) {
        case Document::manual: {
            CKPTFS_ASSIGN(const std::string date, date_of(environment));
            environment.out << manual_page(describe_commands(), date);
            break;
        }
        case Document::mount_helper_manual: {
            CKPTFS_ASSIGN(const std::string date, date_of(environment));
            environment.out << mount_helper_page(describe_mount_helper(), date);
            break;
        }
        case Document::bash_completion:
            environment.out << bash_completion(describe_commands(), mount_option_words());
            break;
        case Document::zsh_completion:
            environment.out << zsh_completion(describe_commands());
            break;
    }
    return {};
}

}  // namespace ckptfs::cli
