// How an open file is announced to the kernel.
#pragma once

#include <cstdint>

#include "fuse/adapter.h"
#include "fuse/libfuse.h"
#include "io/caller.h"

namespace ckptfs {

/// One of a mount whose files the kernel may be able to read by itself: counted among those of its inode from its
/// making on, so that all of them go the same way.
class Opening {
 public:
    /// `flags`, as open(2) takes them; `caller`: in whose name the kernel would read and write.
    Opening(Adapter& adapter, fuse_ino_t inode, const OpenedFile& opened, int flags, const Caller& caller);

    /// Not 0: the file cannot be opened, and has been closed.
    [[nodiscard]] int error();
    [[nodiscard]] std::int32_t backing() const { return mode_.value.backing; }
    void fill(fuse_file_info& file) const;
    /// No RELEASE will come.
    void take_back();

 private:
    Adapter& adapter_;
    fuse_ino_t inode_;
    const OpenedFile& opened_;
    int flags_;
    Outcome<OpenModes::Opening> mode_;
};

/// Replies to `request`, after which the file is open or closed.
void reply_open(fuse_req_t request, fuse_ino_t inode, const OpenedFile& opened, fuse_file_info& file,
                const Caller& caller);

}  // namespace ckptfs
