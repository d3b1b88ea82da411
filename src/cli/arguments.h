// The command lines of ckptfs, parsed and checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/view_request.h"
#include "cli/description.h"
#include "cli/view_arguments.h"
#include "host/mount_options.h"
#include "util/log.h"
#include "zero/read_options.h"

namespace ckptfs::cli {

/// Which view is meant.
struct TargetArguments {
    std::optional<ViewRequest> request;           ///< --view, --world-size or --dp-size; nullopt: all that there are
    bool of_job = false;                          ///< --world-size=auto: what the job around the process has
    std::string config_file;                      ///< --ds-config; empty: none
    std::optional<std::uint64_t> sub_group_size;  ///< --sub-group-size
    zero::ReadOptions read;                       ///< --accept-mixed, --rank-values-of
    ViewArguments names;

    /// Of a request for one.
    [[nodiscard]] std::optional<std::uint64_t> world_size() const {
        const bool is_asked_for = request && request->kind == ViewKind::world_size;
        return is_asked_for ? std::optional(request->world_size) : std::nullopt;
    }
    /// A request for a view of another kind.
    [[nodiscard]] std::optional<ViewRequest> derived() const { return world_size() ? std::nullopt : request; }
};

struct MountArguments {
    std::string source;
    std::string mount_point;
    TargetArguments target;
    std::string log_file;  ///< empty: syslog, or standard error in the foreground
    log::Format log_format = log::Format::text;
    log::Level log_level = log::Level::info;
    bool foreground = false;
    bool allow_other = false;
    bool allow_empty = false;  ///< mount even while there is no whole checkpoint
    bool writable = false;     ///< with a request for a world size, unless that is the job's
    bool in_place = false;     ///< what is shown stands in the place of SOURCE itself; writable then
    IoMode io = IoMode::automatic;
    std::optional<std::uint64_t> read_ahead_nbytes;  ///< nullopt: as much as usual_read_ahead() says
    std::optional<std::uint64_t> memory_nbytes;      ///< nullopt: MemoryBudget::of_process() as it is
    std::vector<std::string> kernel_options;
    bool source_is_new = false;  ///< no option: `run --in-place` has just made SOURCE
};

struct RunArguments {
    MountArguments mount;  ///< without a mount point
    std::vector<std::string> command;
};

/// What is shown of a source without a mount.
struct ShownArguments {
    std::string source;
    TargetArguments target;
    bool allow_empty = false;  ///< also while there is no whole checkpoint
    bool only_tag = false;     ///< what has no --tag is left out, rather than shown with its current tag
};

struct InspectArguments {
    std::string source;
    TargetArguments target;
    bool json = false;
    bool parameters = false;               ///< --params
    std::optional<std::string> html_file;  ///< --html, with a request for a world size
    std::optional<std::string> svg_file;   ///< --svg, likewise
};

struct VerifyArguments {
    std::string source;
    TargetArguments target;
    std::string tag;  ///< empty: every tag
    bool json = false;
};

struct DiffArguments {
    std::string a;
    std::string b;
    TargetArguments target;  ///< what both are shown as before they are compared; no request: as they are
    bool json = false;
};

struct CheckArguments {
    std::string source;
    TargetArguments target;  ///< with a request for a world size, and a config
    bool json = false;
};

struct ListArguments {
    ShownArguments shown;
    std::string path;  ///< "": the root
    bool is_long = false;
    bool is_recursive = false;
};

struct CatArguments {
    ShownArguments shown;
    std::string path;
};

struct ExportArguments {
    std::string source;
    std::string destination;
    TargetArguments target;           ///< with a request
    std::optional<std::string> tag;   ///< --tag: of all tags this one alone
    std::size_t jobs = 0;             ///< threads
    std::uint64_t buffer_nbytes = 0;  ///< of memory for all of them
    bool verify = false;
    bool quiet = false;
};

struct StatusArguments {
    enum class Shown : std::uint8_t { text, json, metrics, log };

    std::string mount_point;
    Shown shown = Shown::text;
    std::optional<log::Level> log_level;  ///< to set, instead of showing anything
};

struct ListMountsArguments {
    bool json = false;
};

struct UnmountArguments {
    std::string mount_point;
    bool is_lazy = false;
    bool only_stale = false;  ///< success, and nothing done, where the mount is none of ckptfs that is stale
};

/// --help or --version: what to print.
struct Text {
    std::string text;
    CommandDescription described;  ///< of --help: the same
};

/// What `ckptfs help` prints besides texts.
enum class Document : unsigned char { manual, mount_helper_manual, bash_completion, zsh_completion };

struct DocumentArguments {
    Document document;
};

using Arguments = std::variant<MountArguments, RunArguments, InspectArguments, VerifyArguments, CheckArguments,
                               DiffArguments, ListArguments, CatArguments, ExportArguments, StatusArguments,
                               ListMountsArguments, UnmountArguments, DocumentArguments, Text>;

/// `arguments` without the program's name. The command is chosen by the first of them.
/// `invalid_argument` with what is wrong and how to say it right. Paths are as the user gave them.
Result<Arguments> parse_arguments(const std::vector<std::string>& arguments);

/// All commands, in the order in which they are shown: first the one without a name.
[[nodiscard]] std::vector<CommandDescription> describe_commands();
/// mount.ckptfs, the program of that name.
[[nodiscard]] CommandDescription describe_mount_helper();

/// " (did you mean the command `ckptfs inspect`?)", where `word` is nearly one; else nothing.
[[nodiscard]] std::string meant_command(const std::string& word);

/// Options alone that say what is shown; `source` is left empty. The same errors.
Result<ShownArguments> parse_shown_options(const std::vector<std::string>& options);

}  // namespace ckptfs::cli
