// The words that -o may hold.
#include "cli/mount_options.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "util/nearest_word.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

// Options of ckptfs, in the form of the command line without the dashes.
constexpr std::array<std::string_view, 19> words_with_value{
    "log-format",   "log-level", "world-size",        "dp-size", "ds-config", "sub-group-size", "rank-values-of",
    "log-file",     "io",        "read-ahead-memory", "view",    "dtype",     "container",      "max-shard-size",
    "strip-prefix", "rename",    "parameters",        "tag",     "memory"};
constexpr std::array<std::string_view, 7> flag_words{
    "f", "foreground", "allow-other", "allow-empty", "accept-mixed", "trainable-only", "writable"};

// Of mount(8), fstab(5) and libfuse: nothing to do, because a mount is nosuid, nodev and noatime as it is, because "rw"
// is the default of mount(8) and asks for nothing, or because they speak to whoever called us.
constexpr std::array<std::string_view, 38> ignored_words{
    "defaults",   "rw",       "dev",        "nodev",    "suid",       "nosuid",      "exec",
    "noexec",     "atime",    "noatime",    "relatime", "norelatime", "strictatime", "diratime",
    "nodiratime", "lazytime", "nolazytime", "auto",     "noauto",     "user",        "nouser",
    "users",      "owner",    "group",      "nogroup",  "async",      "sync",        "dirsync",
    "_netdev",    "nofail",   "mand",       "nomand",   "silent",     "loud",        "default_permissions",
    "fsname",     "subtype",  "comment"};

constexpr std::array<std::string_view, 4> kernel_words{"context", "fscontext", "defcontext", "rootcontext"};

constexpr std::array<std::string_view, 2> repeated_options{"--strip-prefix", "--rename"};

template <std::size_t count>
bool contains(const std::array<std::string_view, count>& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

/// " (did you mean world-size?)", where `name` is nearly an option of ckptfs.
std::string word_meant_by(const std::string& name) {
    std::vector<std::string_view> words(words_with_value.begin(), words_with_value.end());
    words.insert(words.end(), flag_words.begin(), flag_words.end());
    const auto meant = nearest_word(name, words);
    return meant ? " (did you mean " + std::string(*meant) + "?)" : "";
}

std::vector<std::string> split(std::string_view list) {
    std::vector<std::string> words(1);
    bool escaped = false;
    for (const char character : list) {
        if (escaped || (character != '\\' && character != ',')) {
            words.back() += character;
            escaped = false;
        } else if (character == ',') {
            words.emplace_back();
        } else {
            escaped = true;
        }
    }
    std::erase(words, "");
    return words;
}

}  // namespace

std::vector<std::string> last_of_each(const std::vector<std::string>& options) {
    std::vector<std::string> kept(options.rbegin(), options.rend());
    std::set<std::string> seen;
    std::erase_if(kept, [&](const std::string& option) {
        const std::string name = option.substr(0, option.find('='));
        return !contains(repeated_options, name) && !seen.insert(name == "-f" ? "--foreground" : name).second;
    });
    std::reverse(kept.begin(), kept.end());
    return kept;
}

std::vector<std::string> mount_option_words() {
    std::vector<std::string> words;
    words.reserve(words_with_value.size() + flag_words.size());
    for (const std::string_view word : words_with_value) {
        words.push_back(std::string(word) + "=");
    }
    words.insert(words.end(), flag_words.begin(), flag_words.end());
    std::erase(words, "f");  // for which there is a word
    return words;
}

Result<MountOptionWords> split_mount_options(std::string_view list, bool skips_unknown) {
    MountOptionWords result;
    for (const std::string& word : split(list)) {
        const std::size_t equals = word.find('=');
        std::string name = word.substr(0, equals);
        if (name.starts_with("x-") || name.starts_with("X-") || contains(ignored_words, name)) {
            continue;
        }
        if (name == "ro") {
            result.read_only = true;
            continue;
        }
        if (contains(kernel_words, name)) {
            result.kernel_options.push_back(word);
            continue;
        }
        std::replace(name.begin(), name.end(), '_', '-');
        const bool takes_value = contains(words_with_value, name);
        if (takes_value && word.size() <= name.size() + 1) {
            return Error(ErrorCode::invalid_argument, "the mount option " + in_quotes(word) + " needs a value: -o " +
                                                          name + "=VALUE, without blanks");
        }
        if (!takes_value && !contains(flag_words, name)) {
            if (skips_unknown) {
                continue;
            }
            return Error(ErrorCode::invalid_argument, "unknown mount option " + in_quotes(word) + " after -o" +
                                                          word_meant_by(name) +
                                                          ": see `ckptfs --help` for those that there are");
        }
        if (!takes_value && equals != std::string::npos) {
            return Error(ErrorCode::invalid_argument,
                         "the mount option " + in_quotes(word) + " takes no value: give -o " + word.substr(0, equals));
        }
        const std::string value = equals == std::string::npos ? "" : word.substr(equals);
        std::string argument = name == "f" ? "-" : "--";
        argument += name;
        argument += value;
        result.arguments.push_back(std::move(argument));
    }
    return result;
}

}  // namespace ckptfs::cli
