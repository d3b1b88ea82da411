// Everything the commands do to the world goes through here, so that tests drive them in process.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "cli/mount_controls.h"
#include "fs/file_system.h"
#include "host/daemon.h"
#include "host/mount_options.h"
#include "io/source_writer.h"
#include "share/job_world_size.h"
#include "torch/torch_loader.h"
#include "util/log.h"

namespace ckptfs::cli {

inline constexpr std::size_t usual_columns = 80;

/// A source, and what changes it.
struct WritableSource {
    std::shared_ptr<const Source> source;
    std::shared_ptr<const SourceWriter> writer;
};

struct Environment {
    std::ostream& out;
    std::ostream& error;
    std::filesystem::path working_directory;  ///< absolute; what relative paths are relative to. Empty: it is gone
    share::Variables variable;
    /// Whether `out` and `error` lead to the same place, so that whoever reads one reads the other too.
    bool streams_are_one = false;
    bool error_is_terminal = false;
    /// Of that terminal, at this moment.
    std::function<std::size_t()> error_columns = [] { return usual_columns; };
    std::size_t columns = usual_columns;  ///< in which texts on `out` are laid out
    /// The signal that asks a long command to end, 0 while none does. nullptr: the command looks for signals of the
    /// process itself.
    std::function<int()> interrupted = nullptr;

    /// Writes a whole file, in the place of any that is there: it appears at `path` whole or not at all.
    std::function<Result<void>(const std::string& path, std::string_view text)> write_file;

    std::function<Result<std::shared_ptr<const Source>>(const std::string& path)> open_source;
    /// TorchModule::read_all_records of the module, which is loaded at the first call.
    std::function<Result<void>(const File& file, const TorchModule::ChunkVisitor& visit)> read_with_torch;

    MountControls mount_controls = {};
    /// Whether this user has not been told of it before: a word for a file name.
    std::function<bool(const std::string& what)> is_first_time = [](const std::string&) { return true; };

    // What mounting takes; nullptr, all of them, where it is not for this process to mount.

    /// `is_held`: for good, whatever its path may name later.
    std::function<Result<WritableSource>(const std::string& path, bool is_held)> open_writable_source = nullptr;
    /// Sends a state to the service manager that waits at NOTIFY_SOCKET.
    std::function<Result<void>(const std::string& socket, std::string_view state)> tell_service_manager = nullptr;
    /// Sends the log to syslog; false where nobody listens.
    std::function<bool(log::Format format)> log_to_syslog = nullptr;
    std::function<Result<void>(const MountOptions& options)> check_mount_point = nullptr;
    std::function<Result<void>(FileSystem& file_system, const MountOptions& options,
                               const std::function<void()>& on_ready)>
        mount_and_serve = nullptr;
    std::function<StartReport(const std::function<StartReport(const std::function<void()>& ready)>& body,
                              StartExitCodes codes, std::optional<int> kept)>
        daemonise = nullptr;
};

/// `path` must not be a file, of which the error says which directory to give, nor lie in a mount over its own source.
Result<void> expect_directory(const Environment& environment, const std::string& path);

/// The error of open_checkpoint() where `path`, an absolute one, names nothing; opens nothing.
Result<void> expect_there(const std::string& path);

/// The source at `path`, as expect_directory() has it.
Result<std::shared_ptr<const Source>> open_checkpoint(const Environment& environment, const std::string& path);
Result<WritableSource> open_writable_checkpoint(const Environment& environment, const std::string& path, bool is_held);

/// `path` made absolute; `invalid_argument` where that takes a working directory that is gone.
Result<std::string> absolute_path(const std::string& path, const std::filesystem::path& working_directory);

/// For texts: what the variable COLUMNS says, else `of_terminal`, else, where that is 0, the usual ones; 40 at least.
[[nodiscard]] std::size_t columns(const share::Variables& variable, std::size_t of_terminal);

/// The real world, but for mounting.
Environment environment_without_mounts(std::ostream& out, std::ostream& error);

}  // namespace ckptfs::cli
