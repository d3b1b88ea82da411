// Translation between libfuse and FileSystem: what opens a file in a mount that can be written, and what changes
// something.
#include "fuse/writing_operations.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fuse/opening.h"
#include "fuse/passthrough.h"
#include "fuse/replies.h"
#include "fuse/request_caller.h"
#include "util/timespec.h"

namespace ckptfs {
namespace {

void open_as(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
    const RequestCaller caller(request);
    reply(request, file_system_of(request).open(inode, file->flags, caller),
          [&](const OpenedFile& opened) { reply_open(request, inode, opened, *file, caller); });
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* file) noexcept {
    auto& adapter = adapter_of(request);
    const RequestCaller caller(request);
    reply(request, adapter.file_system.create(parent, name, file->flags, mode, caller),
          [&](const CreatedFile& created) {
              const std::uint64_t inode = created.entry.attributes.inode;
              Opening opening(adapter, inode, created.file, file->flags, caller);
              if (const int failure = opening.error(); failure != 0) {
                  adapter.file_system.forget(inode, 1);
                  reply_error(request, failure);
                  return;
              }
              const auto entry = to_entry(created.entry);
              opening.fill(*file);
              const int unseen = opening.backing() != 0
                                     ? reply_passthrough_create(request, entry, created.file.handle, opening.backing())
                                     : fuse_reply_create(request, &entry, file);
              if (unseen != 0) {
                  opening.take_back();
                  adapter.file_system.forget(inode, 1);
              }
          });
}

void reply_written(fuse_req_t request, std::size_t nbytes) {
    current_answer().nbytes = nbytes;
    fuse_reply_write(request, nbytes);
}

void write(fuse_req_t request, fuse_ino_t /*inode*/, const char* data, std::size_t nbytes, off_t offset,
           fuse_file_info* file) noexcept {
    const bool is_of_mapping = file->writepage != 0;
    const RequestCaller caller(request, !is_of_mapping);
    // The flags are those that the open file has now, not those that it was opened with.
    const bool appends = !is_of_mapping && (file->flags & O_APPEND) != 0;
    const auto place = appends ? std::nullopt : std::optional(static_cast<std::uint64_t>(offset));
    reply(request, file_system_of(request).write(file->fh, place, std::as_bytes(std::span(data, nbytes)), caller),
          [&](std::size_t done) { reply_written(request, done); });
}

void fsync(fuse_req_t request, fuse_ino_t /*inode*/, int data_only, fuse_file_info* file) noexcept {
    reply_done(request, file_system_of(request).fsync(file->fh, data_only != 0));
}

void fsyncdir(fuse_req_t request, fuse_ino_t /*inode*/, int data_only, fuse_file_info* file) noexcept {
    reply_done(request, file_system_of(request).fsyncdir(file->fh, data_only != 0));
}

void fallocate(fuse_req_t request, fuse_ino_t /*inode*/, int mode, off_t offset, off_t nbytes,
               fuse_file_info* file) noexcept {
    reply_done(request, file_system_of(request).fallocate(file->fh, mode, static_cast<std::uint64_t>(offset),
                                                          static_cast<std::uint64_t>(nbytes), RequestCaller(request)));
}

void lseek(fuse_req_t request, fuse_ino_t /*inode*/, off_t offset, int whence, fuse_file_info* file) noexcept {
    reply(request, file_system_of(request).lseek(file->fh, static_cast<std::uint64_t>(offset), whence),
          [&](std::uint64_t found) { fuse_reply_lseek(request, static_cast<off_t>(found)); });
}

void copy_file_range(fuse_req_t request, fuse_ino_t /*inode*/, off_t offset, fuse_file_info* file,
                     fuse_ino_t /*target_inode*/, off_t target_offset, fuse_file_info* target, std::size_t nbytes,
                     int /*flags*/) noexcept {
    reply(request,
          file_system_of(request).copy_file_range(file->fh, static_cast<std::uint64_t>(offset), target->fh,
                                                  static_cast<std::uint64_t>(target_offset), nbytes,
                                                  RequestCaller(request)),
          [&](std::size_t done) { reply_written(request, done); });
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
    reply_entry(request, file_system_of(request).mkdir(parent, name, mode, RequestCaller(request)));
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) noexcept {
    reply_entry(request, file_system_of(request).mknod(parent, name, mode, device, RequestCaller(request)));
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) noexcept {
    reply_entry(request, file_system_of(request).symlink(parent, name, target, RequestCaller(request)));
}

void link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t parent, const char* name) noexcept {
    reply_entry(request, file_system_of(request).link(inode, parent, name, RequestCaller(request)));
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
    reply_done(request, file_system_of(request).unlink(parent, name, RequestCaller(request)));
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
    reply_done(request, file_system_of(request).rmdir(parent, name, RequestCaller(request)));
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) noexcept {
    reply_done(request,
               file_system_of(request).rename(parent, name, new_parent, new_name, flags, RequestCaller(request)));
}

AttributeChange to_change(const struct stat& wanted, int which) {
    constexpr std::uint32_t permission_bits = 07777;
    const auto has = [which](int flag) { return (which & flag) != 0; };
    const auto time = [](bool is_now, const timespec& at) {
        return AttributeChange::Time{.is_now = is_now, .ns = to_ns(at)};
    };
    AttributeChange change;
    if (has(FUSE_SET_ATTR_MODE)) {
        change.mode = wanted.st_mode & permission_bits;
    }
    if (has(FUSE_SET_ATTR_UID)) {
        change.uid = wanted.st_uid;
    }
    if (has(FUSE_SET_ATTR_GID)) {
        change.gid = wanted.st_gid;
    }
    if (has(FUSE_SET_ATTR_SIZE)) {
        change.size = static_cast<std::uint64_t>(wanted.st_size);
    }
    if (has(FUSE_SET_ATTR_ATIME)) {
        change.atime = time(has(FUSE_SET_ATTR_ATIME_NOW), wanted.st_atim);
    }
    // With truncate(2) the kernel asks for the present time. SOURCE sets that by itself, also for those who may write
    // the file but not set its times.
    if (has(FUSE_SET_ATTR_MTIME) && !(has(FUSE_SET_ATTR_SIZE) && has(FUSE_SET_ATTR_MTIME_NOW))) {
        change.mtime = time(has(FUSE_SET_ATTR_MTIME_NOW), wanted.st_mtim);
    }
    return change;
}

void setattr(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int which, fuse_file_info* file) noexcept {
    const std::optional<std::uint64_t> handle = file != nullptr ? std::optional(file->fh) : std::nullopt;
    reply_attributes(request,
                     file_system_of(request).setattr(inode, handle, to_change(*wanted, which), RequestCaller(request)));
}

// Of extended attributes, nbytes 0 asks how many bytes there are.
void getxattr(fuse_req_t request, fuse_ino_t inode, const char* name, std::size_t nbytes) noexcept {
    reply_attribute(request, file_system_of(request).getxattr(inode, name, RequestCaller(request)), nbytes);
}

void listxattr(fuse_req_t request, fuse_ino_t inode, std::size_t nbytes) noexcept {
    reply(request, file_system_of(request).listxattr(inode, RequestCaller(request)),
          [&](const std::vector<std::string>& names) {
              std::size_t total = 0;
              for (const auto& name : names) {
                  total += name.size() + 1;
              }
              const auto list = reply_buffer(nbytes == 0 ? 0 : total);
              if (nbytes == 0) {
                  fuse_reply_xattr(request, total);
              } else if (total > nbytes) {
                  reply_error(request, ERANGE);
              } else if (list.size() < total) {
                  reply_error(request, ENOMEM);
              } else {
                  auto rest = list;
                  for (const auto& name : names) {
                      std::memcpy(rest.data(), name.c_str(), name.size() + 1);
                      rest = rest.subspan(name.size() + 1);
                  }
                  reply_bytes(request, list);
              }
          });
}

void setxattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value, std::size_t nbytes,
              int flags) noexcept {
    reply_done(request, file_system_of(request).setxattr(inode, name, std::as_bytes(std::span(value, nbytes)), flags,
                                                         RequestCaller(request)));
}

void removexattr(fuse_req_t request, fuse_ino_t inode, const char* name) noexcept {
    reply_done(request, file_system_of(request).removexattr(inode, name, RequestCaller(request)));
}

}  // namespace

void set_writing_operations(fuse_lowlevel_ops& operations) {
    operations.open = open_as;
    operations.create = create;
    operations.write = write;
    operations.fsync = fsync;
    operations.fsyncdir = fsyncdir;
    operations.fallocate = fallocate;
    operations.lseek = lseek;
    operations.copy_file_range = copy_file_range;
    operations.mkdir = mkdir;
    operations.mknod = mknod;
    operations.symlink = symlink;
    operations.link = link;
    operations.unlink = unlink;
    operations.rmdir = rmdir;
    operations.rename = rename;
    operations.setattr = setattr;
    operations.getxattr = getxattr;
    operations.listxattr = listxattr;
    operations.setxattr = setxattr;
    operations.removexattr = removexattr;
}

}  // namespace ckptfs
