// The directory of an entry is reached by descriptor and without links; then comes the system call on its name.
#include "io/directory_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "io/attribute_change.h"
#include "io/caller_scope.h"
#include "io/retried.h"
#include "io/source_file.h"
#include "util/path.h"

namespace ckptfs::io {
namespace {

using Umask = CallerScope::Umask;

/// Where an entry is: its directory, and its name in it. The root is "." in itself.
struct Place {
    std::string directory;
    std::string name;
};

Outcome<Place> place_of(const std::string& path) {
    if (path.starts_with('/') || leaves_root(path)) {
        return Errno{EINVAL};
    }
    const std::size_t slash = path.rfind('/');
    Place place{slash == std::string::npos ? "" : path.substr(0, slash), path.substr(slash + 1)};
    if (path.empty()) {
        place.name = ".";
    }
    return place.name.empty() ? Outcome<Place>(Errno{EINVAL}) : Outcome(std::move(place));
}

Outcome<Done> done(int answer) {
    return answer < 0 ? Outcome<Done>(Errno{-answer}) : Outcome(Done{});
}

class DirectoryWriter final : public SourceWriter {
 public:
    DirectoryWriter(std::shared_ptr<const SystemCalls> calls, std::shared_ptr<const RootDirectory> root,
                    std::shared_ptr<DescriptorPool> pool)
        : calls_(std::move(calls)), root_(std::move(root)), pool_(std::move(pool)) {}

    [[nodiscard]] Outcome<std::shared_ptr<const SourceHandle>> open(const std::string& path, int flags,
                                                                    std::uint32_t mode,
                                                                    const Caller& caller) const override {
        const auto opener = remember(caller);
        if (!opener.ok()) {
            return opener.failure();
        }
        UniqueFd fd;
        const Umask umask = (flags & O_CREAT) != 0 ? Umask::applied : Umask::unused;
        const auto opened = in_directory(path, *opener.value, umask, [&](int directory, const char* name) {
            fd = UniqueFd(open_entry(directory, name, flags, mode & permission_bits));
            return fd.valid() ? 0 : fd.get();
        });
        if (!opened.ok()) {
            return opened.failure();
        }
        return std::shared_ptr<const SourceHandle>(
            std::make_shared<const SourceFile>(std::move(fd), (flags & O_APPEND) != 0, calls_, pool_, opener.value));
    }

    Outcome<Done> make_directory(const std::string& path, std::uint32_t mode, const Caller& caller) const override {
        return in_directory(path, caller, Umask::applied, [&](int directory, const char* name) {
            return retried([&] { return ::mkdirat(directory, name, mode & permission_bits); });
        });
    }

    Outcome<Done> make_node(const std::string& path, std::uint32_t mode, std::uint64_t device,
                            const Caller& caller) const override {
        return in_directory(path, caller, Umask::applied, [&](int directory, const char* name) {
            return retried([&] { return ::mknodat(directory, name, mode & (S_IFMT | permission_bits), device); });
        });
    }

    Outcome<Done> make_symlink(const std::string& path, const std::string& target,
                               const Caller& caller) const override {
        return in_directory(path, caller, Umask::unused, [&](int directory, const char* name) {
            return retried([&] { return ::symlinkat(target.c_str(), directory, name); });
        });
    }

    Outcome<Done> make_link(const std::string& path, const std::string& existing, const Caller& caller) const override {
        return in_directories(existing, path, caller, [](int from, const char* old_name, int to, const char* name) {
            return retried([&] { return ::linkat(from, old_name, to, name, 0); });
        });
    }

    Outcome<Done> remove_file(const std::string& path, const Caller& caller) const override {
        return in_directory(path, caller, Umask::unused, [](int directory, const char* name) {
            return retried([&] { return ::unlinkat(directory, name, 0); });
        });
    }

    Outcome<Done> remove_directory(const std::string& path, const Caller& caller) const override {
        return in_directory(path, caller, Umask::unused, [](int directory, const char* name) {
            return retried([&] { return ::unlinkat(directory, name, AT_REMOVEDIR); });
        });
    }

    Outcome<Done> rename(const std::string& from, const std::string& to, unsigned flags,
                         const Caller& caller) const override {
        return in_directories(from, to, caller, [&](int source, const char* name, int target, const char* new_name) {
            return retried([&] { return ::renameat2(source, name, target, new_name, flags); });
        });
    }

    Outcome<Done> change(const std::string& path, const AttributeChange& change, const Caller& caller) const override {
        return on_entry(path, caller,
                        [&](const std::string& entry, int fd) { return change_entry(*calls_, fd, entry, change); });
    }

    [[nodiscard]] Outcome<std::vector<std::byte>> attribute(const std::string& path, const std::string& name,
                                                            const Caller& caller) const override {
        std::vector<std::byte> value;
        const auto found = on_entry(path, caller, [&](const std::string& entry, int /*fd*/) {
            return fill(value, [&] { return ::getxattr(entry.c_str(), name.c_str(), value.data(), value.size()); });
        });
        return found.ok() ? Outcome(std::move(value)) : found.failure();
    }

    [[nodiscard]] Outcome<std::vector<std::string>> attributes(const std::string& path,
                                                               const Caller& caller) const override {
        std::vector<char> text;
        const auto found = on_entry(path, caller, [&](const std::string& entry, int /*fd*/) {
            return fill(text, [&] { return ::listxattr(entry.c_str(), text.data(), text.size()); });
        });
        if (!found.ok()) {
            return found.failure();
        }
        std::vector<std::string> names;
        for (auto at = text.begin(); at != text.end();) {  // each name ends with a 0
            const auto end = std::find(at, text.end(), '\0');
            names.emplace_back(at, end);
            at = end == text.end() ? end : end + 1;
        }
        return names;
    }

    Outcome<Done> set_attribute(const std::string& path, const std::string& name, std::span<const std::byte> value,
                                int flags, const Caller& caller) const override {
        return on_entry(path, caller, [&](const std::string& entry, int /*fd*/) {
            return retried([&] { return ::setxattr(entry.c_str(), name.c_str(), value.data(), value.size(), flags); });
        });
    }

    Outcome<Done> remove_attribute(const std::string& path, const std::string& name,
                                   const Caller& caller) const override {
        return on_entry(path, caller, [&](const std::string& entry, int /*fd*/) {
            return retried([&] { return ::removexattr(entry.c_str(), name.c_str()); });
        });
    }

 private:
    static constexpr mode_t permission_bits = 07777;

    /// What `operation` on the entry's directory and name comes to, which answers minus an errno where it fails.
    template <class Operation>
    Outcome<Done> in_directory(const std::string& path, const Caller& caller, Umask umask, Operation operation) const {
        const auto place = place_of(path);
        const auto root = root_->descriptor();
        if (!place.ok() || !root) {
            return Errno{place.ok() ? errno_of(root.error()) : place.error};
        }
        const CallerScope scope(caller, umask);
        if (scope.error() != 0) {
            return Errno{scope.error()};
        }
        const UniqueFd directory(open_directory(**root, place.value));
        return done(directory.valid() ? operation(directory.get(), place.value.name.c_str()) : directory.get());
    }

    template <class Operation>
    Outcome<Done> in_directories(const std::string& from, const std::string& to, const Caller& caller,
                                 Operation operation) const {
        const auto place = place_of(from);
        const auto root = root_->descriptor();
        if (!place.ok() || !root) {
            return Errno{place.ok() ? errno_of(root.error()) : place.error};
        }
        return in_directory(to, caller, Umask::unused, [&](int target, const char* name) {
            const UniqueFd directory(open_directory(**root, place.value));
            return directory.valid() ? operation(directory.get(), place.value.name.c_str(), target, name)
                                     : directory.get();
        });
    }

    /// What `operation` comes to on a path that leads to the entry itself, be it a symbolic link, and on a descriptor
    /// of it that is good for nothing else (O_PATH).
    template <class Operation>
    Outcome<Done> on_entry(const std::string& path, const Caller& caller, Operation operation) const {
        return in_directory(path, caller, Umask::unused, [&](int directory, const char* name) {
            const UniqueFd entry(
                with_descriptors([&] { return calls_->open_at(directory, name, O_PATH | O_NOFOLLOW); }));
            return entry.valid() ? operation("/proc/self/fd/" + std::to_string(entry.get()), entry.get()) : entry.get();
        });
    }

    int open_directory(const UniqueFd& root, const Place& place) const {
        return with_descriptors([&] { return calls_->open_directory_below(root.get(), place.directory); });
    }

    /// Never waits for the other end of a fifo, and not for ever for whoever has a lease of the file.
    int open_entry(int directory, const char* name, int flags, mode_t mode) const {
        constexpr int kept = O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_SYNC | O_NONBLOCK;
        constexpr int exclusively = O_CREAT | O_EXCL;
        const int as_asked = (flags & kept) | O_NOFOLLOW | O_NOCTTY;
        if ((flags & exclusively) != exclusively) {
            // Asked before it is opened: opening a device can have effects, opening a fifo would wake its other end.
            struct stat before {};
            const int refused = calls_->stat_at(directory, name, before, AT_SYMLINK_NOFOLLOW) < 0
                                    ? 0  // which the opening says for itself
                                    : refuse(before.st_mode, flags);
            if (refused != 0) {
                return refused;
            }
        }
        const auto open_now = [&] {
            return with_descriptors([&] { return calls_->create_at(directory, name, as_asked | O_NONBLOCK, mode); });
        };
        int answer = open_now();
        for (int pauses = 0; answer == -EAGAIN && (flags & O_NONBLOCK) == 0 && pauses < most_pauses; ++pauses) {
            calls_->pause();
            answer = open_now();
        }
        UniqueFd fd(answer);
        if (fd.valid()) {
            struct stat opened {};
            answer = calls_->stat_descriptor(fd.get(), opened);
            answer = answer < 0 ? answer : refuse(opened.st_mode, flags);
            answer = answer < 0 ? answer : calls_->make_blocking(fd.get());
        }
        return answer < 0 ? answer : fd.release();
    }

    /// 0, or minus the errno of what is never opened.
    static int refuse(mode_t mode, int flags) {
        if (S_ISLNK(mode)) {
            return -ELOOP;
        }
        if (S_ISDIR(mode)) {
            return (flags & O_DIRECTORY) != 0 ? 0 : -EISDIR;
        }
        if ((flags & O_DIRECTORY) != 0) {
            return -ENOTDIR;
        }
        return S_ISREG(mode) ? 0 : -ENXIO;
    }

    /// Where there is no descriptor left, once more without those of the pool.
    template <class Open>
    int with_descriptors(Open open) const {
        int fd = without_interruption(open);
        if (fd == -EMFILE || fd == -ENFILE) {
            pool_->clear();
            fd = without_interruption(open);
        }
        return fd;
    }

    /// Gives `read`, which fills `bytes`, as much place as it needs; and what is filled only.
    template <class Bytes, class Read>
    static int fill(Bytes& bytes, Read read) {
        for (const std::size_t nbytes : {std::size_t{512}, largest_attribute_nbytes}) {
            bytes.resize(nbytes);
            const ssize_t length = retried(read);
            if (length >= 0) {
                bytes.resize(static_cast<std::size_t>(length));
                return 0;
            }
            if (length != -ERANGE) {
                return static_cast<int>(length);
            }
        }
        return -ERANGE;
    }

    const std::shared_ptr<const SystemCalls> calls_;
    const std::shared_ptr<const RootDirectory> root_;
    const std::shared_ptr<DescriptorPool> pool_;
};

}  // namespace

std::shared_ptr<const SourceWriter> directory_writer(std::shared_ptr<const SystemCalls> calls,
                                                     std::shared_ptr<const RootDirectory> root,
                                                     std::shared_ptr<DescriptorPool> pool) {
    return std::make_shared<const DirectoryWriter>(std::move(calls), std::move(root), std::move(pool));
}

}  // namespace ckptfs::io
