// Signals that end a mount only when they come from the process that serves it, or from the one that started it.
#pragma once

struct fuse_session;

namespace ckptfs {

/// While it lives, SIGTERM, SIGINT and SIGHUP from this process or its parent end the session's loop; those of others
/// are ignored. Made before libfuse is asked for its handlers, which leave those of others alone. The handlers stay
/// when it is gone, and then do nothing. One at a time.
class OwnSignals {
 public:
    explicit OwnSignals(fuse_session* session);
    OwnSignals(const OwnSignals&) = delete;
    OwnSignals& operator=(const OwnSignals&) = delete;
    ~OwnSignals();
};

}  // namespace ckptfs
