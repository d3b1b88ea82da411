// spdlog behind functions that never throw: a full disk must not take the mount down.
#include "util/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "util/printable.h"
#include "util/repeat_filter.h"

namespace ckptfs::log {
namespace {

constexpr std::size_t kept_lines = 200;
constexpr std::size_t max_shown_nbytes = 200;  // of a line that is told of as held back

constexpr std::array<std::pair<Level, std::string_view>, 4> levels{
    {{Level::debug, "debug"}, {Level::info, "info"}, {Level::warning, "warning"}, {Level::error, "error"}}};

constexpr const char* text_pattern = "%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v";
// The message is a value of JSON already.
constexpr const char* json_pattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":%v})";

/// Where lines go, and how they look. Immutable but for the sink of a file, which can be exchanged.
struct Target {
    std::string file;  ///< "": none
    Format format = Format::text;
    std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks = std::make_shared<spdlog::sinks::dist_sink_mt>();
    std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> last =
        std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(kept_lines);
    spdlog::logger logger{"ckptfs", sinks};
};

/// nullptr: nobody reads it. Not spdlog's default logger, which a program that uses ckptfs as a library may have.
std::shared_ptr<Target>& current_target() {
    static std::shared_ptr<Target> target;
    return target;
}

std::atomic<Level>& current_level() {
    static std::atomic<Level> least = Level::info;
    return least;
}

struct Repeats {
    std::mutex mutex;
    RepeatFilter filter;
};
Repeats& repeats() {
    static Repeats instance;
    return instance;
}

const char* pattern_of(Format format) {
    return format == Format::json ? json_pattern : text_pattern;
}

void install(spdlog::sink_ptr sink, Format format, const char* pattern, std::string file = {}) {
    auto target = std::make_shared<Target>();
    target->file = std::move(file);
    target->format = format;
    sink->set_pattern(pattern);
    target->last->set_pattern(pattern_of(format));
    target->sinks->set_sinks({std::move(sink), target->last});
    target->logger.set_level(spdlog::level::trace);  // which lines there are is said by `current_level()`
    target->logger.flush_on(spdlog::level::trace);
    target->logger.set_error_handler([](const std::string&) {});
    current_target() = std::move(target);
    const std::lock_guard lock(repeats().mutex);
    repeats().filter = {};  // a new log has none of the lines
}

spdlog::level::level_enum as_spdlog_has_it(Level level) {
    switch (level) {
        case Level::debug:
            return spdlog::level::debug;
        case Level::info:
            return spdlog::level::info;
        case Level::warning:
            return spdlog::level::warn;
        case Level::error:
            return spdlog::level::err;
    }
    return spdlog::level::err;
}

void write_line(Target& target, Level level, std::string_view message) {
    if (target.format == Format::json) {
        using nlohmann::json;
        const json value(std::string{message});
        target.logger.log(as_spdlog_has_it(level), "{}", value.dump(-1, ' ', false, json::error_handler_t::replace));
    } else {
        target.logger.log(as_spdlog_has_it(level), "{}", printable(message));
    }
}

void tell_of(Target& target, const std::vector<HeldBack>& held_back) {
    for (const HeldBack& held : held_back) {
        const std::string count = std::to_string(held.count);
        std::string line;
        if (held.text.empty()) {
            line = count + " more warnings and errors of these seconds were held back";
        } else {
            const bool is_long = held.text.size() > max_shown_nbytes;
            line = (held.count == 1 ? "once more, and held back: " : count + " times more, and held back: ") +
                   held.text.substr(0, max_shown_nbytes) + (is_long ? "..." : "");
        }
        write_line(target, Level::warning, line);
    }
}

void write(Level level, std::string_view message) noexcept {
    try {
        const auto target = current_target();
        if (!target || !writes(level)) {
            return;
        }
        if (level >= Level::warning) {
            const auto now = std::chrono::steady_clock::now();
            const std::lock_guard lock(repeats().mutex);
            tell_of(*target, repeats().filter.due(now));
            if (!repeats().filter.admits(message, now)) {
                return;
            }
        }
        write_line(*target, level, message);
    } catch (...) {  // NOLINT(bugprone-empty-catch): a log line that cannot be written is lost, by design
    }
}

/// `take`: which of what was held back is to be told of.
template <class Take>
void tell(Take take) noexcept {
    try {
        if (const auto target = current_target()) {
            const std::lock_guard lock(repeats().mutex);
            tell_of(*target, take(repeats().filter));
        }
    } catch (...) {  // NOLINT(bugprone-empty-catch): a log line that cannot be written is lost, by design
    }
}

}  // namespace

std::string_view name_of(Level level) {
    return levels.at(static_cast<std::size_t>(level)).second;
}

std::optional<Level> level_called(std::string_view name) {
    for (const auto& [level, level_name] : levels) {
        if (level_name == name) {
            return level;
        }
    }
    return std::nullopt;
}

void debug(std::string_view message) noexcept {
    write(Level::debug, message);
}
void info(std::string_view message) noexcept {
    write(Level::info, message);
}
void warn(std::string_view message) noexcept {
    write(Level::warning, message);
}
void error(std::string_view message) noexcept {
    write(Level::error, message);
}

void set_level(Level level) noexcept {
    current_level().store(level, std::memory_order_relaxed);
}

Level level() noexcept {
    return current_level().load(std::memory_order_relaxed);
}

bool writes(Level level) noexcept {
    return level >= log::level();
}

namespace {

/// To open or fill a fifo can take for ever.
bool waits_for_a_reader(const std::string& path) {
    std::error_code absent;
    return std::filesystem::is_fifo(path, absent);
}

}  // namespace

void to_stderr(Format format) {
    install(std::make_shared<spdlog::sinks::stderr_color_sink_mt>(), format, pattern_of(format));
}

Result<void> to_file(const std::string& path, Format format) {
    // spdlog would make missing directories, and a misspelt path would be a log that nobody finds.
    const std::filesystem::path directory = std::filesystem::path(path).parent_path();
    std::error_code ignored;
    if (!directory.empty() && !std::filesystem::is_directory(directory, ignored)) {
        return Error(ErrorCode::invalid_argument, "the log file '" + path + "' cannot be opened for appending: '" +
                                                      directory.string() + "' is not a directory");
    }
    if (waits_for_a_reader(path)) {
        return Error(ErrorCode::invalid_argument, "the log file '" + path +
                                                      "' cannot be opened for appending: it is a fifo, which would "
                                                      "have to be read all the time; name a file");
    }
    try {
        install(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path), format, pattern_of(format), path);
    } catch (const spdlog::spdlog_ex& failure) {
        return Error(ErrorCode::invalid_argument,
                     "the log file '" + path + "' cannot be opened for appending: " + failure.what());
    }
    return {};
}

bool to_syslog(Format format) {
    // Whoever collects these lines knows when they came.
    install(std::make_shared<spdlog::sinks::syslog_sink_mt>("ckptfs", LOG_PID, LOG_DAEMON, false), format,
            format == Format::json ? json_pattern : "%v");
    return ::access("/dev/log", W_OK) == 0;
}

bool reopen() noexcept {
    const auto target = current_target();
    if (!target || target->file.empty()) {
        return false;
    }
    try {
        // A directory that is gone would be made by spdlog; who moved it wants his log where it is now.
        if (!std::filesystem::is_directory(std::filesystem::path(target->file).parent_path())) {
            throw spdlog::spdlog_ex("its directory is gone");
        }
        if (waits_for_a_reader(target->file)) {
            throw spdlog::spdlog_ex("it is a fifo by now");
        }
        auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(target->file);
        sink->set_pattern(pattern_of(target->format));
        target->sinks->set_sinks({std::move(sink), target->last});
        return true;
    } catch (const std::exception& failure) {
        error(std::string("the log file cannot be opened again, and the log goes on in the old one: ") +
              failure.what());
        return false;
    }
}

void report_held_back() noexcept {
    tell([](RepeatFilter& filter) { return filter.due(std::chrono::steady_clock::now()); });
}

void flush_held_back() noexcept {
    tell([](RepeatFilter& filter) { return filter.all(); });
}

std::string last_lines() {
    std::string text;
    if (const auto target = current_target()) {
        for (const std::string& line : target->last->last_formatted()) {
            text += line;
        }
    }
    return text;
}

std::uint64_t lines_held_back() noexcept {
    const std::lock_guard lock(repeats().mutex);
    return repeats().filter.held_back();
}

}  // namespace ckptfs::log
