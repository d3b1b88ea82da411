// The log: one line an event, to the file, journal or stream that the command line of a mount chose. Without a mount
// there is none: what is to be said is in errors, or goes to whoever asked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ckptfs/result.h"

namespace ckptfs::log {

enum class Level : std::uint8_t { debug, info, warning, error };
/// How a line looks: for people, or one object of JSON with `time`, `level` and `message`.
enum class Format : std::uint8_t { text, json };

/// The word that options and lines have for it: "debug", "info", "warning", "error".
[[nodiscard]] std::string_view name_of(Level level);
/// The reverse; nullopt for any other word.
[[nodiscard]] std::optional<Level> level_called(std::string_view name);

/// Control characters are escaped: a file name cannot forge a line. A warning or an error that is repeated is held back
/// for a while, and then counted in one line (RepeatFilter).
void debug(std::string_view message) noexcept;
void info(std::string_view message) noexcept;
void warn(std::string_view message) noexcept;
void error(std::string_view message) noexcept;

/// Less grave lines are not written. Safe to call at any time; it is `info` at the start.
void set_level(Level level) noexcept;
[[nodiscard]] Level level() noexcept;
/// Whether such lines are written: for who would have to make one up.
[[nodiscard]] bool writes(Level level) noexcept;

// Where it goes from now on; to be called while nobody writes. At the start it is lost.

/// To standard error.
void to_stderr(Format format = Format::text);
/// Appends to `path`; made absolute by the caller.
Result<void> to_file(const std::string& path, Format format = Format::text);
/// To syslog(3), which the journal collects where there is one. False where nobody listens: what is not among the last
/// lines is lost then.
bool to_syslog(Format format = Format::text);

/// Opens the file anew that the log goes to, so that another one can have been put aside under its name; while others
/// write, too. Where that fails the log goes on in the old one, and says so. No-op where it goes elsewhere.
bool reopen() noexcept;
/// Says what was held back for long enough; to be called every few seconds.
void report_held_back() noexcept;
/// Says all that was held back; before the log ends.
void flush_held_back() noexcept;

/// The last lines that were written, each with its end, wherever they went: the oldest first.
[[nodiscard]] std::string last_lines();
/// Lines that were held back since the start.
[[nodiscard]] std::uint64_t lines_held_back() noexcept;

}  // namespace ckptfs::log
