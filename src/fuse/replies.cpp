// From what the file system says to what libfuse sends.
#include "fuse/replies.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "io/file_status.h"
#include "util/timespec.h"

namespace ckptfs {
namespace {

constexpr std::size_t page_nbytes = 4096;
constexpr std::size_t max_read_nbytes = std::size_t{1} << 20U;

}  // namespace

Answer& current_answer() {
    thread_local Answer answer;
    return answer;
}

void reply_error(fuse_req_t request, int error) {
    current_answer().error = error;
    fuse_reply_err(request, error);
}

void reply_done(fuse_req_t request, const Outcome<Done>& outcome) {
    reply_error(request, outcome.error);
}

void reply_entry(fuse_req_t request, const Outcome<LookedUpEntry>& outcome) {
    reply(request, outcome, [&](const LookedUpEntry& found) {
        auto& file_system = file_system_of(request);
        const auto entry = to_entry(found);
        if (fuse_reply_entry(request, &entry) != 0) {
            file_system.forget(found.attributes.inode, 1);  // the kernel never saw it
        }
    });
}

void reply_attributes(fuse_req_t request, const Outcome<FileAttributes>& outcome) {
    reply(request, outcome, [&](const FileAttributes& found) {
        const auto attributes = to_stat(found.attributes);
        fuse_reply_attr(request, &attributes, found.lifetime.count());
    });
}

struct stat to_stat(const Attributes& attributes) {
    struct stat out {};
    out.st_ino = attributes.inode;
    // The kernel opens a fifo by itself, a device never (nodev) and a socket neither: none of them reaches us. It takes
    // no entry without a type; a socket is what nobody can open, and tools step over.
    const mode_t type = io::type_bits(attributes.type);
    out.st_mode = (type != 0 ? type : S_IFSOCK) | attributes.mode;
    out.st_nlink = attributes.nlink;
    out.st_rdev = attributes.device;
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

fuse_entry_param to_entry(const LookedUpEntry& found) {
    fuse_entry_param entry{};
    entry.ino = found.attributes.inode;
    entry.attr = to_stat(found.attributes);
    entry.entry_timeout = found.entry_lifetime.count();
    entry.attr_timeout = found.attributes_lifetime.count();
    return entry;
}

std::span<std::byte> reply_buffer(std::size_t nbytes) {
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

void reply_parts(fuse_req_t request, const ReadBytes& bytes) {
    if (bytes.count <= 1) {
        reply_bytes(request, bytes.parts.front());
        return;
    }
    std::array<iovec, ReadBytes::most_parts> parts{};
    std::transform(bytes.parts.begin(), bytes.parts.end(), parts.begin(), [](std::span<const std::byte> part) {
        return iovec{const_cast<std::byte*>(part.data()), part.size()};
    });
    for (std::size_t i = 0; i < bytes.count; ++i) {
        current_answer().nbytes += bytes.parts.at(i).size();
    }
    fuse_reply_iov(request, parts.data(), static_cast<int>(bytes.count));
}

void reply_attribute(fuse_req_t request, const Outcome<std::vector<std::byte>>& outcome, std::size_t nbytes) {
    reply(request, outcome, [&](const std::vector<std::byte>& value) {
        if (nbytes == 0) {
            fuse_reply_xattr(request, value.size());
        } else if (value.size() > nbytes) {
            reply_error(request, ERANGE);
        } else {
            reply_bytes(request, value);
        }
    });
}

void reply_bytes(fuse_req_t request, std::span<const std::byte> bytes) {
    current_answer().nbytes = bytes.size();
    fuse_reply_buf(request, static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size());
}

}  // namespace ckptfs
