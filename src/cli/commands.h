// The commands. Each does its work through the environment; an error is the sentence for standard error.
#pragma once

#include <functional>
#include <optional>

#include "ckptfs/result.h"
#include "cli/arguments.h"
#include "cli/environment.h"

namespace ckptfs::cli {

/// Finds a whole tag and mounts. Returns when the mount answers or, in the foreground, when it is gone.
StartReport mount(const MountArguments& arguments, const Environment& environment);

/// How a mount ends besides being unmounted.
enum class MountEnds : unsigned char { by_signals, by_own_signals };
/// The daemon's part of mount(): everything but forking. Paths are absolute.
Result<void> serve_mount(const MountArguments& arguments, const Environment& environment, MountEnds ends,
                         const std::function<void()>& ready);
Result<MountArguments> with_absolute_paths(MountArguments arguments, const std::filesystem::path& working_directory);

/// Runs a command with a view that it shares with others who ask for the same. The exit code is the command's.
StartReport run_with_view(const RunArguments& arguments, const Environment& environment);

/// Prints what the checkpoint is.
Result<void> inspect(const InspectArguments& arguments, const Environment& environment);

/// Prints what was verified and a verdict. `verification` when a problem was found.
Result<void> verify(const VerifyArguments& arguments, const Environment& environment);

/// Prints what a config must agree with to resume the checkpoint. `verification` where it does not.
Result<void> check(const CheckArguments& arguments, const Environment& environment);

/// Prints where two checkpoints differ. The exit status says whether they do.
StartReport diff_sources(const DiffArguments& arguments, const Environment& environment, std::optional<Error>& failed);

/// Prints the names in a directory of what a mount would show, or more of each.
Result<void> list(const ListArguments& arguments, const Environment& environment);

/// Prints the bytes of a file of what a mount would show.
Result<void> concatenate(const CatArguments& arguments, const Environment& environment);

/// Prints what a mount says of itself, or sets the level of its log.
Result<void> show_status(const StatusArguments& arguments, const Environment& environment);

/// Prints the mounts of ckptfs that there are.
Result<void> list_mounts(const ListMountsArguments& arguments, const Environment& environment);

/// Unmounts, and returns when the daemon has ended.
Result<void> unmount(const UnmountArguments& arguments, const Environment& environment);

/// Writes the files of a view out.
StartReport export_view(const ExportArguments& arguments, const Environment& environment, std::optional<Error>& failed);

/// Prints a manual page, of the day that SOURCE_DATE_EPOCH says or of today, or a script for a shell.
Result<void> print(const DocumentArguments& arguments, const Environment& environment);

/// What `body` throws, as an error: `io` where the system has no memory or no thread for it, else `internal`.
[[nodiscard]] Result<void> without_exceptions(const std::function<Result<void>()>& body) noexcept;

/// The exit status and the sentence of a result. Every status of the program but a crash's comes from here.
[[nodiscard]] StartReport report_of(const Result<void>& result);

}  // namespace ckptfs::cli
