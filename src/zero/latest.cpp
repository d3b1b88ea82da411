// DeepSpeed joins what it reads to the directory of `latest` (engine.py load_checkpoint): any relative path will do.
#include "zero/latest.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "util/path.h"
#include "util/text.h"

namespace ckptfs::zero {
namespace {

constexpr std::uint64_t max_latest_nbytes = 4096;
constexpr std::size_t max_quoted_nbytes = 80;

}  // namespace

Result<std::string> tag_directory(const Source& source, const std::string& parent, std::string_view name) {
    const auto refused = [&](const std::string& why) {
        return Error(ErrorCode::invalid_argument, why + " " + in_quotes(source.display(parent)));
    };
    if (name.empty()) {
        return refused("it is empty: give the name of a tag directory in");
    }
    if (name.starts_with('/')) {
        return refused(
            "it is an absolute path, which means another place once a view is mounted elsewhere: give the "
            "path from");
    }
    if (name.find('\0') != std::string_view::npos) {
        return refused("it holds a zero byte: give the name of a tag directory in");
    }
    std::vector<std::string> below;
    std::string directory = parent;
    for (const std::string_view component : path_components(name)) {
        if (component != "..") {
            directory = join_path(directory, component);
            below.emplace_back(component);
            continue;
        }
        if (below.empty()) {
            return refused("it leads out of the directory that it is relative to: name a tag below");
        }
        // ".." goes back by name only where it leaves a directory that is there, and no symbolic link.
        const auto left = source.stat(directory);
        if (!left || left->type != FileType::directory) {
            return refused("it goes through '..': give the path without it from");
        }
        below.pop_back();
        directory = parent;
        for (const std::string& kept : below) {
            directory = join_path(directory, kept);
        }
    }
    return directory;
}

Result<std::string> read_latest(const Source& source, const std::string& parent) {
    const std::string path = join_path(parent, latest_name);
    CKPTFS_ASSIGN(const auto file, source.open(path));
    std::string text(static_cast<std::size_t>(std::min(file->size(), max_latest_nbytes + 1)), '\0');
    CKPTFS_TRY(file->read(0, std::as_writable_bytes(std::span(text))));
    const std::string name = trimmed(text);
    const auto wrong = [&](const std::string& why) {
        return Error(ErrorCode::damaged, in_quotes(source.display(path)) + " holds " +
                                             (name.empty() ? "nothing" : in_quotes(name.substr(0, max_quoted_nbytes))) +
                                             ", expected the name of a tag directory beside it" + why);
    };
    if (text.size() > max_latest_nbytes) {
        return wrong(": write that name into it");
    }
    const auto directory = tag_directory(source, parent, name);
    if (!directory) {
        return wrong("; " + directory.error().message());
    }
    if (*directory == parent) {
        return wrong(": write that name into it");
    }
    return *directory;
}

}  // namespace ckptfs::zero
