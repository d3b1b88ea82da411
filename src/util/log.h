// The log: one line an event, to the file, journal or stream that the command line of a mount chose. Without a mount
// there is none: what is to be said is in errors, or goes to whoever asked.
#pragma once

#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs::log {

/// Control characters are escaped: a file name cannot forge a line.
void info(std::string_view message) noexcept;
void warn(std::string_view message) noexcept;
void error(std::string_view message) noexcept;

// Where it goes from now on; to be called while nobody writes. At the start it is lost.

/// To standard error.
void to_stderr();
/// Appends to `path`; made absolute by the caller.
Result<void> to_file(const std::string& path);
/// To syslog(3), which the journal collects where there is one. False where nobody listens: all is lost then.
bool to_syslog();

}  // namespace ckptfs::log
