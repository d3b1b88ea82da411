// The modes of open files.
#include "fuse/opening.h"

#include "fuse/passthrough.h"
#include "fuse/replies.h"

namespace ckptfs {
namespace {

Outcome<OpenModes::Opening> enter(Adapter& adapter, fuse_ino_t inode, std::uint64_t handle, const Caller& caller) {
    if (!adapter.passes_through()) {
        return OpenModes::Opening{};
    }
    return adapter.modes.enter(inode, adapter.file_system.whole_file(handle).number, caller);
}

}  // namespace

Opening::Opening(Adapter& adapter, fuse_ino_t inode, const OpenedFile& opened, int flags, const Caller& caller)
    : adapter_(adapter),
      inode_(inode),
      opened_(opened),
      flags_(flags),
      mode_(enter(adapter, inode, opened.handle, caller)) {}

int Opening::error() {
    if (!mode_.ok()) {
        adapter_.file_system.release(opened_.handle);
    }
    return mode_.error;
}

void Opening::fill(fuse_file_info& file) const {
    const bool direct = adapter_.opens_direct(opened_, flags_);
    file.fh = opened_.handle;
    file.direct_io = direct ? 1 : 0;
    if (direct && adapter_.hands_over()) {
        adapter_.file_system.let_hand_over(opened_.handle);
    }
    file.keep_cache = !direct && opened_.keeps_pages ? 1 : 0;
}

void Opening::take_back() {
    adapter_.modes.leave(inode_);
    adapter_.file_system.release(opened_.handle);
}

void reply_open(fuse_req_t request, fuse_ino_t inode, const OpenedFile& opened, fuse_file_info& file,
                const Caller& caller) {
    Opening opening(adapter_of(request), inode, opened, file.flags, caller);
    if (const int failure = opening.error(); failure != 0) {
        reply_error(request, failure);
        return;
    }
    opening.fill(file);
    const int unseen = opening.backing() != 0 ? reply_passthrough_open(request, opened.handle, opening.backing())
                                              : fuse_reply_open(request, &file);
    if (unseen != 0) {
        opening.take_back();
    }
}

}  // namespace ckptfs
