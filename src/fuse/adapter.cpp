// Translation between libfuse and FileSystem. A reply spends its request even when it fails, so each is sent once,
// last. All of it is called from C: nothing may be thrown, so nothing here allocates.
#include "fuse/adapter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ckptfs {
namespace {

constexpr std::size_t page_nbytes = 4096;
constexpr std::size_t max_read_nbytes = std::size_t{1} << 20U;
constexpr unsigned max_background = 128;
constexpr std::int64_t ns_per_s = 1'000'000'000;

Adapter& adapter_of(fuse_req_t request) {
    return *static_cast<Adapter*>(fuse_req_userdata(request));
}
FileSystem& file_system_of(fuse_req_t request) {
    return adapter_of(request).file_system;
}

// The one place where an outcome becomes a reply.
template <class T, class Send>
void reply(fuse_req_t request, const Outcome<T>& outcome, Send&& send) {
    if (outcome.ok()) {
        send(outcome.value);
    } else {
        fuse_reply_err(request, outcome.error);
    }
}

mode_t type_bits(FileType type) {
    switch (type) {
        case FileType::regular:
            return S_IFREG;
        case FileType::directory:
            return S_IFDIR;
        case FileType::symlink:
            return S_IFLNK;
        // The kernel opens a fifo by itself, a device never (nodev) and a socket neither: none of them reaches us.
        case FileType::fifo:
            return S_IFIFO;
        case FileType::character_device:
            return S_IFCHR;
        case FileType::block_device:
            return S_IFBLK;
        case FileType::socket:
        case FileType::other:
            break;
    }
    return S_IFSOCK;  // what nobody can open, and tools step over
}

timespec to_timespec(std::int64_t ns) {
    auto seconds = ns / ns_per_s;
    auto rest = ns % ns_per_s;
    if (rest < 0) {
        rest += ns_per_s;
        --seconds;
    }
    return {static_cast<time_t>(seconds), static_cast<long>(rest)};
}

struct stat to_stat(const Attributes& attributes) {
    struct stat out {};
    out.st_ino = attributes.inode;
    out.st_mode = type_bits(attributes.type) | attributes.mode;
    out.st_nlink = attributes.nlink;
    out.st_uid = attributes.uid;
    out.st_gid = attributes.gid;
    out.st_size = static_cast<off_t>(attributes.size);
    out.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
    out.st_blksize = page_nbytes;
    out.st_atim = to_timespec(attributes.atime_ns);
    out.st_mtim = to_timespec(attributes.mtime_ns);
    out.st_ctim = to_timespec(attributes.ctime_ns);
    return out;
}

void init(void* user_data, fuse_conn_info* connection) noexcept {
    auto& adapter = *static_cast<Adapter*>(user_data);
    // Splicing is slower here, and turns a shrunk source into a shorter file. Attributes never change under an inode,
    // so that asking for them before each cached read is of no use.
    connection->want &=
        ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                               FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
    connection->want |= connection->capable & static_cast<unsigned>(FUSE_CAP_CACHE_SYMLINKS);
    connection->max_background = max_background;
    connection->congestion_threshold = max_background * 3 / 4;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    if ((connection->capable & FUSE_CAP_DIRECT_IO_ALLOW_MMAP) != 0) {
        connection->want |= FUSE_CAP_DIRECT_IO_ALLOW_MMAP;
        adapter.direct_mmap = true;
    }
#else
    adapter.direct_mmap = false;
#endif
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
    auto& file_system = file_system_of(request);
    reply(request, file_system.lookup(parent, name), [&](const LookedUpEntry& found) {
        fuse_entry_param entry{};
        entry.ino = found.attributes.inode;
        entry.attr = to_stat(found.attributes);
        entry.entry_timeout = found.entry_lifetime.count();
        entry.attr_timeout = found.attributes_lifetime.count();
        if (fuse_reply_entry(request, &entry) != 0) {
            file_system.forget(found.attributes.inode, 1);  // the kernel never saw it
        }
    });
}

void forget(fuse_req_t request, fuse_ino_t inode, std::uint64_t lookups) noexcept {
    file_system_of(request).forget(inode, lookups);
    fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) noexcept {
    for (const auto& item : std::span(forgets, count)) {
        file_system_of(request).forget(item.ino, item.nlookup);
    }
    fuse_reply_none(request);
}

void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) noexcept {
    reply(request, file_system_of(request).getattr(inode), [&](const FileAttributes& found) {
        const auto attributes = to_stat(found.attributes);
        fuse_reply_attr(request, &attributes, found.lifetime.count());
    });
}

void readlink(fuse_req_t request, fuse_ino_t inode) noexcept {
    reply(request, file_system_of(request).readlink(inode),
          [&](const std::string& target) { fuse_reply_readlink(request, target.c_str()); });
}

void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
    if ((file->flags & O_ACCMODE) != O_RDONLY || (file->flags & O_TRUNC) != 0) {
        fuse_reply_err(request, EROFS);
        return;
    }
    const auto& adapter = adapter_of(request);
    auto& file_system = adapter.file_system;
    reply(request, file_system.open(inode), [&](const OpenedFile& opened) {
        const bool direct = adapter.opens_direct(opened.read_once);
        file->fh = opened.handle;
        file->direct_io = direct ? 1 : 0;
        file->keep_cache = direct ? 0 : 1;  // a changed file has another inode
        if (fuse_reply_open(request, file) != 0) {
            file_system.release(opened.handle);  // no RELEASE will come
        }
    });
}

std::span<std::byte> read_buffer(std::size_t nbytes) {
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<std::byte, Free> memory;
    thread_local std::size_t capacity = 0;
    if (nbytes > capacity) {
        const auto wanted = std::max(max_read_nbytes, (nbytes + page_nbytes - 1) / page_nbytes * page_nbytes);
        memory.reset(static_cast<std::byte*>(std::aligned_alloc(page_nbytes, wanted)));
        capacity = memory ? wanted : 0;
    }
    return {memory.get(), std::min(nbytes, capacity)};
}

void read(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t nbytes, off_t offset, fuse_file_info* file) noexcept {
    const auto buffer = read_buffer(nbytes);
    if (buffer.size() < nbytes) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    reply(request, file_system_of(request).read(file->fh, static_cast<std::uint64_t>(offset), buffer),
          [&](std::size_t got) {
              fuse_reply_buf(request, static_cast<const char*>(static_cast<void*>(buffer.data())), got);
          });
}

void release(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* file) noexcept {
    file_system_of(request).release(file->fh);
    fuse_reply_err(request, 0);
}

void opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
    auto& file_system = file_system_of(request);
    reply(request, file_system.opendir(inode), [&](std::uint64_t handle) {
        file->fh = handle;
        if (fuse_reply_open(request, file) != 0) {
            file_system.releasedir(handle);
        }
    });
}

void readdir(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t nbytes, off_t offset,
             fuse_file_info* file) noexcept {
    const auto buffer = read_buffer(nbytes);
    if (buffer.size() < nbytes) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    auto* const start = static_cast<char*>(static_cast<void*>(buffer.data()));
    std::size_t used = 0;
    const auto take = [&](const ListedEntry& listed) {
        struct stat attributes {};
        attributes.st_ino = listed.inode;
        attributes.st_mode = listed.type ? type_bits(*listed.type) : 0;  // DT_UNKNOWN: whoever cares looks it up
        const auto needed = fuse_add_direntry(request, start + used, nbytes - used, listed.name, &attributes,
                                              static_cast<off_t>(listed.next_offset));
        if (needed > nbytes - used) {
            return false;
        }
        used += needed;
        return true;
    };
    // By reference: a copy in the function object would have to be allocated, out here where nothing may be thrown.
    reply(request, file_system_of(request).readdir(file->fh, static_cast<std::uint64_t>(offset), std::ref(take)),
          [&](bool /*more*/) { fuse_reply_buf(request, start, used); });
}

void releasedir(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* file) noexcept {
    file_system_of(request).releasedir(file->fh);
    fuse_reply_err(request, 0);
}

void statfs(fuse_req_t request, fuse_ino_t /*inode*/) noexcept {
    reply(request, file_system_of(request).statfs(), [&](const SourceStatistics& found) {
        struct statvfs out {};
        out.f_bsize = found.block_nbytes;
        out.f_frsize = found.block_nbytes;
        out.f_blocks = found.blocks;
        out.f_bfree = found.free_blocks;
        out.f_bavail = found.available_blocks;
        out.f_files = found.files;
        out.f_ffree = found.free_files;
        out.f_namemax = found.max_name_nbytes;
        fuse_reply_statfs(request, &out);
    });
}

void getxattr(fuse_req_t request, fuse_ino_t /*inode*/, const char* /*name*/, std::size_t /*nbytes*/) noexcept {
    fuse_reply_err(request, ENODATA);
}

void listxattr(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t nbytes) noexcept {
    if (nbytes == 0) {
        fuse_reply_xattr(request, 0);
    } else {
        fuse_reply_buf(request, nullptr, 0);
    }
}

// Answers any operation that would modify something, whatever its arguments.
template <class... Arguments>
void read_only(fuse_req_t request, Arguments... /*unused*/) noexcept {
    fuse_reply_err(request, EROFS);
}

fuse_lowlevel_ops make_operations() {
    fuse_lowlevel_ops operations{};
    operations.init = init;
    operations.lookup = lookup;
    operations.forget = forget;
    operations.forget_multi = forget_multi;
    operations.getattr = getattr;
    operations.readlink = readlink;
    operations.open = open;
    operations.read = read;
    operations.release = release;
    operations.opendir = opendir;
    operations.readdir = readdir;
    operations.releasedir = releasedir;
    operations.statfs = statfs;
    operations.getxattr = getxattr;
    operations.listxattr = listxattr;
    operations.setattr = read_only;
    operations.mknod = read_only;
    operations.mkdir = read_only;
    operations.unlink = read_only;
    operations.rmdir = read_only;
    operations.symlink = read_only;
    operations.rename = read_only;
    operations.link = read_only;
    operations.write = read_only;
    operations.setxattr = read_only;
    operations.removexattr = read_only;
    operations.create = read_only;
    operations.fallocate = read_only;
    operations.copy_file_range = read_only;
    return operations;
}

}  // namespace

const fuse_lowlevel_ops& adapter_operations() {
    static const fuse_lowlevel_ops operations = make_operations();
    return operations;
}

}  // namespace ckptfs
