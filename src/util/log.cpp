// spdlog behind three functions that never throw: a full disk must not take the mount down.
#include "util/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <system_error>

#include "util/printable.h"

namespace ckptfs::log {
namespace {

constexpr const char* pattern = "%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v";

/// nullptr: nobody reads it. Not spdlog's default one, which a program that uses ckptfs as a library may have.
std::shared_ptr<spdlog::logger>& current_logger() {
    static std::shared_ptr<spdlog::logger> logger;
    return logger;
}

void install(spdlog::sink_ptr sink, const char* format) {
    auto logger = std::make_shared<spdlog::logger>("ckptfs", std::move(sink));
    logger->set_pattern(format);
    logger->flush_on(spdlog::level::info);
    logger->set_error_handler([](const std::string&) {});
    current_logger() = std::move(logger);
}

void write(spdlog::level::level_enum level, std::string_view message) noexcept {
    try {
        if (const auto& logger = current_logger()) {
            logger->log(level, "{}", printable(message));
        }
    } catch (...) {  // NOLINT(bugprone-empty-catch): a log line that cannot be written is lost, by design
    }
}

}  // namespace

void info(std::string_view message) noexcept {
    write(spdlog::level::info, message);
}
void warn(std::string_view message) noexcept {
    write(spdlog::level::warn, message);
}
void error(std::string_view message) noexcept {
    write(spdlog::level::err, message);
}

void to_stderr() {
    install(std::make_shared<spdlog::sinks::stderr_color_sink_mt>(), pattern);
}

Result<void> to_file(const std::string& path) {
    // spdlog would make missing directories, and a misspelt path would be a log that nobody finds.
    const std::filesystem::path directory = std::filesystem::path(path).parent_path();
    std::error_code ignored;
    if (!directory.empty() && !std::filesystem::is_directory(directory, ignored)) {
        return Error(ErrorCode::invalid_argument, "the log file '" + path + "' cannot be opened for appending: '" +
                                                      directory.string() + "' is not a directory");
    }
    try {
        install(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path), pattern);
    } catch (const spdlog::spdlog_ex& failure) {
        return Error(ErrorCode::invalid_argument,
                     "the log file '" + path + "' cannot be opened for appending: " + failure.what());
    }
    return {};
}

bool to_syslog() {
    install(std::make_shared<spdlog::sinks::syslog_sink_mt>("ckptfs", LOG_PID, LOG_DAEMON, false), "%v");
    return ::access("/dev/log", W_OK) == 0;
}

}  // namespace ckptfs::log
