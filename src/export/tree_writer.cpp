// From the top down when directories are made, from the bottom up when they are finished.
#include "export/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "io/unique_fd.h"

namespace ckptfs::exporting {
namespace {

constexpr mode_t closed_directory = 0700;
constexpr mode_t shown_bits = 0777;

/// With the set-group-ID bit that it was made with: what is put there later is to belong to the same group.
Result<void> finish_directory(const PlannedEntry& entry, const std::string& path, const WriteCalls& calls) {
    const io::UniqueFd fd(calls.open(path, O_RDONLY | O_DIRECTORY, 0));
    struct stat status {};
    int answer = fd.get() < 0 ? fd.get() : calls.stat_descriptor(fd.get(), status);
    if (answer < 0) {
        return writing_failed("opened", path, -answer);
    }
    const mode_t mode = (entry.info.mode & shown_bits) | S_IRWXU | (status.st_mode & S_ISGID);
    answer = calls.set_attributes(fd.get(), mode, entry.info.atime_ns, entry.info.stamp.mtime_ns);
    if (answer < 0) {
        return writing_failed("given its mode and times", path, -answer);
    }
    answer = calls.sync(fd.get());
    return answer < 0 ? Result<void>(writing_failed("brought to disk", path, -answer)) : Result<void>();
}

Result<void> make_link(const PlannedEntry& entry, const std::string& path, const WriteCalls& calls) {
    int answer = calls.make_link(entry.link, path);
    if (answer == -EEXIST && calls.remove(path) == 0) {  // of an earlier run
        answer = calls.make_link(entry.link, path);
    }
    if (answer == 0) {
        answer = calls.set_link_time(path, entry.info.atime_ns, entry.info.stamp.mtime_ns);
    }
    return answer < 0 ? Result<void>(writing_failed("made", path, -answer)) : Result<void>();
}

}  // namespace

std::string place_of(const std::string& root, const PlannedEntry& entry) {
    return entry.path.empty() ? root : root + "/" + entry.path;
}

Result<void> make_directories(const Plan& plan, const std::string& root, const WriteCalls& calls) {
    for (const PlannedEntry& entry : plan.entries) {
        if (entry.info.type == FileType::directory) {
            const std::string path = place_of(root, entry);
            const int answer = calls.make_directory(path, closed_directory);
            struct stat status {};
            const bool is_kept = answer == -EEXIST && calls.stat(path, status) == 0 && S_ISDIR(status.st_mode);
            if (answer < 0 && !is_kept) {
                return writing_failed("made", path, -answer);
            }
        }
    }
    return {};
}

Result<void> finish_tree(const Plan& plan, const std::string& root, const WriteCalls& calls) {
    for (std::size_t i = plan.entries.size(); i-- > 0;) {
        const PlannedEntry& entry = plan.entries[i];
        const std::string path = place_of(root, entry);
        if (entry.info.type == FileType::directory) {
            CKPTFS_TRY(finish_directory(entry, path, calls));
        } else if (entry.info.type == FileType::symlink) {
            CKPTFS_TRY(make_link(entry, path, calls));
        }
    }
    return {};
}

}  // namespace ckptfs::exporting
