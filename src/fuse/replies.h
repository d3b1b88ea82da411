// What all operations of the adapter share. A reply spends its request even when it fails, so each is sent once, last.
// All of it is called from C: nothing may be thrown, so nothing here allocates.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fs/file_system.h"
#include "fuse/adapter.h"
#include "fuse/libfuse.h"

namespace ckptfs {

inline Adapter& adapter_of(fuse_req_t request) {
    return *static_cast<Adapter*>(fuse_req_userdata(request));
}
inline FileSystem& file_system_of(fuse_req_t request) {
    return adapter_of(request).file_system;
}

/// What is told of the request that this thread answers, whose counters are asked for it at the end.
Answer& current_answer();
void reply_error(fuse_req_t request, int error);

/// The one place where an outcome becomes a reply.
template <class T, class Send>
void reply(fuse_req_t request, const Outcome<T>& outcome, Send&& send) {
    if (outcome.ok()) {
        send(outcome.value);
    } else {
        reply_error(request, outcome.error);
    }
}
void reply_done(fuse_req_t request, const Outcome<Done>& outcome);
void reply_entry(fuse_req_t request, const Outcome<LookedUpEntry>& outcome);
void reply_attributes(fuse_req_t request, const Outcome<FileAttributes>& outcome);

struct stat to_stat(const Attributes& attributes);
fuse_entry_param to_entry(const LookedUpEntry& found);

/// Of this thread, until the next call; shorter than `nbytes` where there is no memory.
std::span<std::byte> reply_buffer(std::size_t nbytes);
/// The value of an extended attribute; `nbytes`: what the caller has room for, 0 where it asks how much it needs.
void reply_attribute(fuse_req_t request, const Outcome<std::vector<std::byte>>& outcome, std::size_t nbytes);
void reply_bytes(fuse_req_t request, std::span<const std::byte> bytes);
void reply_parts(fuse_req_t request, const ReadBytes& bytes);

}  // namespace ckptfs
