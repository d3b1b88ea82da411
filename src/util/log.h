// The log: one line an event, to the file, journal or stream that the command line chose.
#pragma once

#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs::log {

/// Control characters are escaped: a file name cannot forge a line.
void info(std::string_view message) noexcept;
void warn(std::string_view message) noexcept;
void error(std::string_view message) noexcept;

/// To standard error (the start).
void to_stderr();
/// Appends to `path`; made absolute by the caller.
Result<void> to_file(const std::string& path);
/// To syslog(3), which the journal collects where there is one. False where nobody listens: all is lost then.
bool to_syslog();

}  // namespace ckptfs::log
