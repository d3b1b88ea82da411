// Translation between libfuse and FileSystem: what both kinds of mount have, and what one that is only read answers.
#include "fuse/adapter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "fs/own_caller.h"
#include "fuse/control.h"
#include "fuse/opening.h"
#include "fuse/replies.h"
#include "fuse/request_caller.h"
#include "fuse/writing_operations.h"
#include "io/file_status.h"
#include "util/own_names.h"

namespace ckptfs {
namespace {

void init(void* user_data, fuse_conn_info* connection) noexcept {
    auto& adapter = *static_cast<Adapter*>(user_data);
    adapter.negotiate(*connection);
    if (adapter.on_init) {
        adapter.on_init();
    }
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
    reply_entry(request, file_system_of(request).lookup(parent, name));
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
    reply_attributes(request, file_system_of(request).getattr(inode));
}

void readlink(fuse_req_t request, fuse_ino_t inode) noexcept {
    reply(request, file_system_of(request).readlink(inode),
          [&](const std::string& target) { fuse_reply_readlink(request, target.c_str()); });
}

void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
    if ((file->flags & O_ACCMODE) != O_RDONLY || (file->flags & O_TRUNC) != 0) {
        reply_error(request, EROFS);
        return;
    }
    reply(request, file_system_of(request).open(inode),
          [&](const OpenedFile& opened) { reply_open(request, inode, opened, *file, OwnCaller()); });
}

void read(fuse_req_t request, fuse_ino_t inode, std::size_t nbytes, off_t offset, fuse_file_info* file) noexcept {
    const auto buffer = reply_buffer(nbytes);
    if (buffer.size() < nbytes) {
        reply_error(request, ENOMEM);
        return;
    }
    auto& adapter = adapter_of(request);
    const bool may_hand_over = nbytes >= least_handed_over && adapter.hands_over();
    BorrowedPipe pipe(adapter.reply_pipes);
    auto read = adapter.file_system.fetch(file->fh, static_cast<std::uint64_t>(offset), buffer,
                                          may_hand_over ? &pipe : nullptr);
    reply(request, read, [&](const ReadBytes& got) {
        if (got.handed_over) {
            pipe.reply(request);
        } else {
            reply_parts(request, got);
        }
    });
    if (read.value.handed_over && !read.value.handed_over->gone_on()) {
        adapter.forget_pages(inode);
    }
}

/// The kernel asks when a file is closed, and never again once that was answered ENOSYS, which is no error then.
void flush(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
    auto& adapter = adapter_of(request);
    if (adapter.writable || adapter.hands_over()) {
        const auto flushed = adapter.file_system.flush(file->fh);
        reply_done(request, flushed);
        if (flushed.error == ESTALE) {
            adapter.forget_pages(inode);  // those that were in use before
        }
    } else {
        fuse_reply_err(request, ENOSYS);
    }
}

void release(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
    auto& adapter = adapter_of(request);
    adapter.modes.leave(inode);
    adapter.file_system.release(file->fh);
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
    const auto buffer = reply_buffer(nbytes);
    if (buffer.size() < nbytes) {
        reply_error(request, ENOMEM);
        return;
    }
    auto* const start = static_cast<char*>(static_cast<void*>(buffer.data()));
    std::size_t used = 0;
    const auto take = [&](const ListedEntry& listed) {
        struct stat attributes {};
        attributes.st_ino = listed.inode;
        // 0 is DT_UNKNOWN: whoever cares looks it up.
        attributes.st_mode = io::type_bits(listed.type.value_or(FileType::other));
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

// Of a mount that is only read, SOURCE's are not shown, and no look at it is due to say so.
void own_getxattr(fuse_req_t request, fuse_ino_t inode, const char* name, std::size_t nbytes) noexcept {
    if (!std::string_view(name).starts_with(own_attributes)) {
        reply_error(request, ENODATA);
        return;
    }
    reply_attribute(request, file_system_of(request).getxattr(inode, name, RequestCaller(request)), nbytes);
}

void no_listxattr(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t nbytes) noexcept {
    if (nbytes == 0) {
        fuse_reply_xattr(request, 0);
    } else {
        fuse_reply_buf(request, nullptr, 0);
    }
}

// Answers any operation that would modify something, whatever its arguments.
template <class... Arguments>
void read_only(fuse_req_t request, Arguments... /*unused*/) noexcept {
    reply_error(request, EROFS);
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
    operations.flush = flush;
    operations.release = release;
    operations.opendir = opendir;
    operations.readdir = readdir;
    operations.releasedir = releasedir;
    operations.statfs = statfs;
    operations.getxattr = own_getxattr;
    operations.listxattr = no_listxattr;
    operations.ioctl = control;
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

const fuse_lowlevel_ops& adapter_operations(bool writable) {
    static const fuse_lowlevel_ops reading = make_operations();
    static const fuse_lowlevel_ops writing = [] {
        auto operations = reading;
        set_writing_operations(operations);
        return operations;
    }();
    return writable ? writing : reading;
}

}  // namespace ckptfs
