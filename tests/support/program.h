// A program that uses a FileSystem as it would use the mount: what the kernel does for it, in few lines.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/file_system.h"

namespace ckptfs::test {

class OwnUser final : public Caller {
 public:
    explicit OwnUser(std::uint32_t umask = 022) : umask_(umask) {}
    [[nodiscard]] std::uint32_t uid() const override { return ::geteuid(); }
    [[nodiscard]] std::uint32_t gid() const override { return ::getegid(); }
    [[nodiscard]] std::uint32_t umask() const override { return umask_; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override { return std::vector<std::uint32_t>(); }

 private:
    std::uint32_t umask_;
};

/// Each call answers 0, or an errno; where the file system says ESTALE it looks all names up again, once, as Linux
/// does. Nothing is remembered from one call to the next.
class Program {
 public:
    explicit Program(FileSystem& file_system) : fs_(file_system) {}

    struct OpenResult {
        int error = 0;
        std::uint64_t handle = 0;
        std::uint64_t inode = 0;
        bool keeps_pages = true;
        bool appends = false;
    };

    Outcome<Attributes> stat(const std::string& path) {
        const auto found = walk(path);
        return found.ok() ? Outcome(found.value.attributes) : Errno{found.error};
    }
    bool exists(const std::string& path) { return stat(path).ok(); }

    OpenResult open(const std::string& path, int flags, std::uint32_t mode = 0644) {
        OpenResult result;
        result.appends = (flags & O_APPEND) != 0;
        result.error = retried([&] {
            const auto [directory, name] = split(path);
            const auto parent = walk(directory);
            if (!parent.ok()) {
                return parent.error;
            }
            const auto parent_inode = parent.value.attributes.inode;
            const auto found = fs_.lookup(parent_inode, name);
            if (found.error == ENOENT && (flags & O_CREAT) != 0) {
                const auto created = fs_.create(parent_inode, name, flags, mode, user_);
                result.handle = created.value.file.handle;
                result.inode = created.value.entry.attributes.inode;
                result.keeps_pages = created.value.file.keeps_pages;
                return created.error;
            }
            if (!found.ok()) {
                return found.error;
            }
            if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
                return EEXIST;
            }
            const auto opened = fs_.open(found.value.attributes.inode, flags & ~(O_CREAT | O_EXCL), user_);
            result.handle = opened.value.handle;
            result.inode = found.value.attributes.inode;
            result.keeps_pages = opened.value.keeps_pages;
            return opened.error;
        });
        return result;
    }
    void close(const OpenResult& opened) { fs_.release(opened.handle); }

    int write_to(const OpenResult& opened, std::uint64_t offset, std::string_view text) {
        const auto place = opened.appends ? std::nullopt : std::optional(offset);
        const auto wrote = fs_.write(opened.handle, place, std::as_bytes(std::span(text)), user_);
        return wrote.ok() && wrote.value != text.size() ? EIO : wrote.error;
    }
    Outcome<std::string> read_from(const OpenResult& opened) {
        std::string text(65536, '?');
        const auto got = fs_.read(opened.handle, 0, std::as_writable_bytes(std::span(text)));
        if (!got.ok()) {
            return Errno{got.error};
        }
        text.resize(got.value);
        return text;
    }
    Outcome<std::string> read(const std::string& path) {
        const auto opened = open(path, O_RDONLY);
        if (opened.error != 0) {
            return Errno{opened.error};
        }
        auto text = read_from(opened);
        close(opened);
        return text;
    }
    /// As a shell's ">" does, unless other flags are given.
    int write(const std::string& path, std::string_view text, int flags = O_WRONLY | O_CREAT | O_TRUNC,
              std::uint32_t mode = 0644) {
        const auto opened = open(path, flags, mode);
        if (opened.error != 0) {
            return opened.error;
        }
        const int error = write_to(opened, 0, text);
        close(opened);
        return error;
    }

    int mkdir(const std::string& path, std::uint32_t mode = 0755) {
        return in_parent(path, [&](std::uint64_t parent, const std::string& name) {
            return fs_.mkdir(parent, name, mode, user_).error;
        });
    }
    int mknod(const std::string& path, std::uint32_t mode) {
        return in_parent(path, [&](std::uint64_t parent, const std::string& name) {
            return fs_.mknod(parent, name, mode, 0, user_).error;
        });
    }
    int symlink(const std::string& target, const std::string& path) {
        return in_parent(path, [&](std::uint64_t parent, const std::string& name) {
            return fs_.symlink(parent, name, target, user_).error;
        });
    }
    int link(const std::string& existing, const std::string& path) {
        return in_parent(path, [&](std::uint64_t parent, const std::string& name) {
            const auto found = walk(existing);
            return found.ok() ? fs_.link(found.value.attributes.inode, parent, name, user_).error : found.error;
        });
    }
    int unlink(const std::string& path) {
        return on_name(
            path, [&](std::uint64_t parent, const std::string& name) { return fs_.unlink(parent, name, user_).error; });
    }
    int rmdir(const std::string& path) {
        return on_name(
            path, [&](std::uint64_t parent, const std::string& name) { return fs_.rmdir(parent, name, user_).error; });
    }
    int rename(const std::string& from, const std::string& to, unsigned flags = 0) {
        return on_name(from, [&](std::uint64_t parent, const std::string& name) {
            if (from == to) {
                return 0;  // the kernel does not even ask
            }
            const auto [directory, new_name] = split(to);
            const auto target = walk(directory);
            return target.ok() ? fs_.rename(parent, name, target.value.attributes.inode, new_name, flags, user_).error
                               : target.error;
        });
    }
    int change(const std::string& path, const AttributeChange& change) {
        return retried([&] {
            const auto found = walk(path);
            return found.ok() ? fs_.setattr(found.value.attributes.inode, std::nullopt, change, user_).error
                              : found.error;
        });
    }
    int chmod(const std::string& path, std::uint32_t mode) { return change(path, {.mode = mode}); }
    int truncate(const std::string& path, std::uint64_t size) { return change(path, {.size = size}); }

    /// Without "." and "..".
    Outcome<std::set<std::string>> list(const std::string& path) {
        std::set<std::string> names;
        const int error = retried([&] {
            names.clear();
            const auto found = walk(path);
            if (!found.ok()) {
                return found.error;
            }
            const auto opened = fs_.opendir(found.value.attributes.inode);
            if (!opened.ok()) {
                return opened.error;
            }
            const auto read = fs_.readdir(opened.value, 0, [&](const ListedEntry& entry) {
                names.insert(entry.name);
                return true;
            });
            fs_.releasedir(opened.value);
            return read.error;
        });
        names.erase(".");
        names.erase("..");
        return error == 0 ? Outcome(std::move(names)) : Errno{error};
    }
    /// As shutil.rmtree() does: 0, or the first error, at which it stops.
    int remove_tree(const std::string& path) {
        const auto names = list(path);
        if (!names.ok()) {
            return names.error;
        }
        for (const std::string& name : names.value) {
            const std::string child = path + "/" + name;
            const auto found = stat(child);
            if (!found.ok()) {
                return found.error;
            }
            const int error = found.value.type == FileType::directory ? remove_tree(child) : unlink(child);
            if (error != 0) {
                return error;
            }
        }
        return rmdir(path);
    }

    Outcome<LookedUpEntry> walk(const std::string& path) {
        LookedUpEntry entry;
        entry.attributes.inode = root_inode;
        std::string_view rest = path;
        if (rest.empty()) {
            const auto found = fs_.getattr(root_inode);
            entry.attributes = found.value.attributes;
            return found.ok() ? Outcome(entry) : Errno{found.error};
        }
        while (!rest.empty()) {
            const auto slash = std::min(rest.find('/'), rest.size());
            const auto found = fs_.lookup(entry.attributes.inode, rest.substr(0, slash));
            if (!found.ok()) {
                return Errno{found.error};
            }
            entry = found.value;
            rest.remove_prefix(std::min(slash + 1, rest.size()));
        }
        return entry;
    }
    [[nodiscard]] FileSystem& file_system() { return fs_; }
    [[nodiscard]] const Caller& user() const { return user_; }

 private:
    static std::pair<std::string, std::string> split(const std::string& path) {
        const auto slash = path.rfind('/');
        return slash == std::string::npos ? std::pair(std::string(), path)
                                          : std::pair(path.substr(0, slash), path.substr(slash + 1));
    }
    template <class Call>
    static int retried(Call call) {
        const int error = call();
        return error == ESTALE ? call() : error;
    }
    template <class Call>
    int in_parent(const std::string& path, Call call) {
        return retried([&] {
            const auto [directory, name] = split(path);
            const auto parent = walk(directory);
            if (!parent.ok()) {
                return parent.error;
            }
            // The kernel makes nothing under a name that it has found.
            return fs_.lookup(parent.value.attributes.inode, name).ok() ? EEXIST
                                                                        : call(parent.value.attributes.inode, name);
        });
    }
    template <class Call>
    int on_name(const std::string& path, Call call) {
        return retried([&] {
            const auto [directory, name] = split(path);
            const auto parent = walk(directory);
            if (!parent.ok()) {
                return parent.error;
            }
            const auto found = fs_.lookup(parent.value.attributes.inode, name);
            return found.ok() ? call(parent.value.attributes.inode, name) : found.error;
        });
    }

    FileSystem& fs_;
    OwnUser user_;
};

}  // namespace ckptfs::test
