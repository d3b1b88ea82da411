// Directories are compared by device and inode, so that no other name of one hides it.
#include "export/destination.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>

#include "util/text.h"

namespace ckptfs::exporting {
namespace {

namespace fs = std::filesystem;

Error refused(const std::string& message) {
    return {ErrorCode::invalid_argument, message};
}

bool is_same(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Whether `directory`, or one above it, is `other`. `directory`: without symbolic links.
bool lies_in(fs::path directory, const struct stat& other) {
    while (true) {
        struct stat status {};
        if (::stat(directory.c_str(), &status) == 0 && is_same(status, other)) {
            return true;
        }
        if (!directory.has_relative_path()) {
            return false;
        }
        directory = directory.parent_path();
    }
}

/// Of what is there: `exists` false where nothing is.
struct Found {
    bool exists = false;
    struct stat status {};
};

Result<Found> look_at(const fs::path& path) {
    Found found;
    if (::lstat(path.c_str(), &found.status) == 0) {
        found.exists = true;
        return found;
    }
    if (errno == ENOENT) {
        return found;
    }
    const int failure = errno;
    return Error(ErrorCode::io,
                 in_quotes(path.string()) + " cannot be looked up: " + std::generic_category().message(failure),
                 failure);
}

/// Another file system has another device; a directory that is bound to a second place has not.
bool is_mount_point(const fs::path& directory, const struct stat& status) {
    constexpr std::uint64_t mount_root = 0x2000;  // STATX_ATTR_MOUNT_ROOT, which older headers do not know
    struct statx more {};
    if (::statx(AT_FDCWD, directory.c_str(), AT_SYMLINK_NOFOLLOW, STATX_TYPE, &more) == 0 &&
        (more.stx_attributes_mask & mount_root) != 0) {
        return (more.stx_attributes & mount_root) != 0;
    }
    struct stat of_parent {};
    return ::stat(directory.parent_path().c_str(), &of_parent) == 0 && of_parent.st_dev != status.st_dev;
}

/// `path` with the symbolic links in it followed, but for one at its end that leads nowhere.
Result<fs::path> real_path_of(const std::string& path) {
    fs::path given = path;
    if (!given.has_filename()) {
        given = given.parent_path();
    }
    std::error_code failure;
    if (const fs::path whole = fs::canonical(given, failure); !failure) {
        return whole.has_relative_path() ? Result(whole)
                                         : refused("DEST is '/': give a directory that an export may make");
    }
    const fs::path parent = fs::canonical(given.parent_path(), failure);
    if (failure) {
        return Error(ErrorCode::invalid_argument,
                     "DEST cannot be made in " + in_quotes(given.parent_path().string()) + ": " + failure.message() +
                         (failure == std::errc::no_such_file_or_directory ? "; make that directory first" : ""),
                     failure.value());
    }
    return parent / given.filename();
}

std::string partial_of(const fs::path& destination) {
    return destination.string() + ".partial";
}

bool holds(const fs::path& directory, const fs::path& other) {
    struct stat status {};
    return ::stat(directory.c_str(), &status) == 0 && lies_in(other, status);
}

Result<void> expect_apart(const fs::path& destination, const std::string& source) {
    struct stat of_source {};
    if (::stat(source.c_str(), &of_source) != 0) {
        return {};  // the source's own error says more
    }
    if (lies_in(destination.parent_path(), of_source)) {
        return refused("DEST " + in_quotes(destination.string()) + " lies in SOURCE " + in_quotes(source) +
                       ", and would be a part of itself: give a directory outside");
    }
    std::error_code failure;
    const fs::path real_source = fs::canonical(source, failure);
    if (failure) {
        return {};
    }
    const std::string partial = partial_of(destination);
    if (holds(destination, real_source)) {
        return refused("DEST " + in_quotes(destination.string()) + " holds SOURCE " + in_quotes(source) +
                       ": give a directory apart from it");
    }
    if (holds(partial, real_source)) {
        return refused("DEST " + in_quotes(destination.string()) + " would be made in " + in_quotes(partial) +
                       ", which is or holds SOURCE " + in_quotes(source) + ": give another name");
    }
    return {};
}

}  // namespace

Result<Destination> find_destination(const std::string& path, const std::string& source) {
    CKPTFS_ASSIGN(const fs::path real, real_path_of(path));
    CKPTFS_TRY(expect_apart(real, source));
    Destination destination{real.string(), real.parent_path().string(), partial_of(real)};
    struct stat of_partial {};
    if (::lstat(destination.partial.c_str(), &of_partial) != 0 && errno == ENAMETOOLONG) {
        return refused("DEST " + in_quotes(destination.path) +
                       " has too long a name: an export is made beside it, with '.partial' behind; give a shorter one");
    }
    CKPTFS_ASSIGN(const Found found, look_at(real));
    if (!found.exists) {
        return destination;
    }
    CKPTFS_ASSIGN(destination.is_taken, is_taken_now(destination.path));
    if (!destination.is_taken && is_mount_point(real, found.status)) {
        return refused("DEST " + in_quotes(destination.path) +
                       " is a mount point, whose place nothing can take: give a directory in it");
    }
    return destination;
}

Result<bool> is_taken_now(const std::string& path) {
    CKPTFS_ASSIGN(const Found found, look_at(path));
    std::error_code failure;
    return found.exists && (!S_ISDIR(found.status.st_mode) || !fs::is_empty(path, failure) || failure);
}

Error destination_is_taken(const Destination& destination) {
    return refused("DEST " + in_quotes(destination.path) +
                   " is there already, and is no empty directory: give another name, or remove it");
}

}  // namespace ckptfs::exporting
