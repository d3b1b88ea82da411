// What is asked of the kernel when it connects, and what follows from the answer for files that are opened.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "fuse/adapter.h"

namespace ckptfs {
namespace {

constexpr unsigned max_background = 128;
constexpr unsigned usual_request_nbytes = 1U << 20U;  // more does not pay

/// Only root may have the kernel read and write files by itself.
bool wants_passthrough(const MountOptions& options) {
    return options.io == IoMode::automatic && ::geteuid() == 0;
}

}  // namespace

Adapter::Adapter(FileSystem& to_serve, const MountOptions& options)
    : file_system(to_serve),
      writable(options.writable),
      init_hook({.passthrough = wants_passthrough(options), .kills_privileges = options.writable}),
      counters(options.counters ? options.counters : std::make_shared<RequestCounters>()),
      modes(backing_files),
      io_(options.io),
      is_on_descriptor_(options.descriptor.has_value()) {}

void Adapter::negotiate(fuse_conn_info& connection) {
    // libfuse's own splicing falls back to copying where a reply does not fit into its pipe, and turns a source that
    // shrinks into a shorter file: see ReplyPipe.
    auto unwanted = static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                          FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
    unsigned wanted = 0;
    if (writable) {
        // Umask and access control lists count where SOURCE lies.
        wanted = FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL;
    } else {
        // Attributes never change under an inode, so that asking for them before each cached read is of no use.
        wanted = FUSE_CAP_CACHE_SYMLINKS;
        unwanted |= FUSE_CAP_AUTO_INVAL_DATA;
        if (is_on_descriptor_) {
            // Has the kernel check permissions, should whoever mounted have left default_permissions out.
            wanted |= FUSE_CAP_POSIX_ACL;
        }
    }
    bool maps_direct = false;
    bool passes_through = false;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    wanted |= static_cast<unsigned>(FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
    if (writable) {
        wanted |= static_cast<unsigned>(FUSE_CAP_HANDLE_KILLPRIV_V2);
    }
    (init_hook.wishes().passthrough ? wanted : unwanted) |= static_cast<unsigned>(FUSE_CAP_PASSTHROUGH);
    connection.max_backing_stack_depth = 0;  // backing files may not lie on a stacked file system
    maps_direct = (connection.capable & FUSE_CAP_DIRECT_IO_ALLOW_MMAP) != 0;
    passes_through = (connection.capable & wanted & FUSE_CAP_PASSTHROUGH) != 0;
#endif
    libfuse_maps_direct_ = maps_direct;
    libfuse_passes_through_ = passes_through;
    connection.want = (connection.want & ~unwanted) | (connection.capable & wanted);
    connection.max_write =
        std::min(connection.max_write, most_request_nbytes());  // max_pages follows it, and reads that
    connection.max_background = max_background;
    connection.congestion_threshold = max_background * 3 / 4;
}

bool Adapter::hands_over() const {
    constexpr bool is_hooked = FUSE_VERSION < FUSE_MAKE_VERSION(3, 17);
    return is_hooked && io_ != IoMode::cached && file_system.hands_over();
}

void Adapter::forget_pages(fuse_ino_t inode) const {
    fuse_lowlevel_notify_inval_inode(session, inode, 0, 0);
}

unsigned Adapter::most_request_nbytes() const {
    return hands_over() ? static_cast<unsigned>(ReplyPipe::most_nbytes) : usual_request_nbytes;
}

bool Adapter::maps_direct() const {
    return libfuse_maps_direct_ || init_hook.direct_mmap_allowed();
}

bool Adapter::passes_through() const {
    return libfuse_passes_through_ || init_hook.passthrough_allowed();
}

bool Adapter::opens_direct(const OpenedFile& opened, int flags) const {
    // A kernel that maps such files also keeps the page cache of others that have the same file open as it is written.
    // What is appended goes where the file ends now, which the kernel does not know if others append too.
    const int access = flags & O_ACCMODE;
    const bool only_writes = access == O_WRONLY;
    const bool appends = access != O_RDONLY && (flags & O_APPEND) != 0;
    const bool reads_direct = io_ == IoMode::direct || (io_ == IoMode::automatic && opened.read_once && maps_direct());
    return opened.is_of_now || reads_direct ||
           (maps_direct() && (appends || (only_writes && io_ == IoMode::automatic)));
}

}  // namespace ckptfs
