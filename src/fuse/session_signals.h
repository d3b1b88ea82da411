// The signals that end a mount, and who sent them.
#pragma once

#include <optional>
#include <string>

struct fuse_session;

namespace ckptfs {

/// While it lives, SIGTERM, SIGINT and SIGHUP end the session's loop; those that are ignored stay so. One at a time.
class SessionSignals {
 public:
    struct Which {
        /// Those of this process and its parent alone; others are noted, and change nothing.
        bool only_own = false;
        /// SIGHUP means something else here, and is left alone.
        bool but_hang_up = false;
    };

    SessionSignals(fuse_session* session, Which which);
    SessionSignals(const SessionSignals&) = delete;
    SessionSignals& operator=(const SessionSignals&) = delete;
    /// The handlers go; where only own signals count they stay, and do nothing.
    ~SessionSignals();

    /// "SIGTERM from process 12 of user 0", of what ended the loop; nullopt: no signal did.
    [[nodiscard]] static std::optional<std::string> ended_by();
    /// A line in the log for those of others that came since the last call.
    static void report_ignored() noexcept;

 private:
    Which which_;
};

}  // namespace ckptfs
