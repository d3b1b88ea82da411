// What `inspect` says of a checkpoint, as data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/view.h"
#include "view/view_options.h"
#include "zero/written.h"

namespace ckptfs::report {

struct StateDescription {
    std::string key;
    std::string dtype;
};

/// How a parameter group is cut at one world size.
struct GroupCut {
    std::uint64_t partition_numel = 0;         ///< of every rank, with padding
    std::vector<std::uint64_t> padding_numel;  ///< by rank, as DeepSpeed counts it
    std::vector<std::uint64_t> sub_groups;     ///< stage 3: elements of each sub-group on every rank
};

/// Names and values, in the order of the file.
using HyperParameters = std::vector<std::pair<std::string, nlohmann::ordered_json>>;

struct GroupDescription {
    std::string model_rank;  ///< MM of the files that it is in
    std::size_t index = 0;   ///< among that model-parallel rank's groups
    std::uint64_t parameters = 0;
    std::uint64_t numel = 0;  ///< of all parameters, without padding
    GroupCut cut;
    std::string weights_dtype;  ///< that the engine computes with
    std::string master_dtype;
    std::vector<StateDescription> states;
    HyperParameters hyper_parameters;  ///< numbers, words, flags and lists of them; empty where the files have none
};

/// Names in `module` that no optimizer owns.
struct ModuleDescription {
    std::uint64_t frozen = 0;
    std::uint64_t frozen_numel = 0;
    std::uint64_t tied = 0;
    std::uint64_t buffers = 0;
};

struct CheckpointDescription {
    std::string format;
    int stage = 0;
    std::uint64_t world_size = 0;  ///< all ranks
    std::uint64_t dp_world_size = 0;
    std::uint64_t model_parallel_degree = 1;
    std::uint64_t sequence_parallel_degree = 1;  ///< by mesh: ranks that share one data-parallel rank's files
    std::string deepspeed_version;
    std::optional<std::int64_t> global_step;
    std::uint64_t parameters = 0;  ///< optimized ones
    std::uint64_t numel = 0;       ///< of these
    ModuleDescription module;
    std::vector<GroupDescription> groups;  ///< of all model-parallel ranks
    std::uint64_t files = 0;
    std::uint64_t nbytes = 0;            ///< of these files
    int pickle_protocol = 0;             ///< of the model states
    std::vector<std::string> left_over;  ///< shards of ranks that dp_world_size does not count
};

/// What part of a virtual file comes from which source file.
struct CutPart {
    std::string file;                   ///< a source file's name
    std::optional<std::uint64_t> rank;  ///< whose file it is
    std::uint64_t nbytes = 0;
};

struct CutFile {
    std::string name;
    std::uint64_t nbytes = 0;
    bool original = false;  ///< a source file, shown as it is
    std::vector<CutPart> parts;
};

struct Cuts {
    std::uint64_t world_size = 0;
    std::vector<GroupCut> groups;
    std::uint64_t file_count = 0;
    std::vector<CutFile> files;  ///< the first max_listed_files
};

/// Whether a tag can be shown as a view.
struct ViewAnswer {
    std::string view;                    ///< its name
    std::optional<std::string> problem;  ///< why it cannot be shown
    bool has_place = true;               ///< false where it would stand in place of a directory that is none such
};

/// The files of a view that is no re-cut.
struct ShownView {
    std::string name;
    std::uint64_t file_count = 0;
    std::vector<CutFile> files;  ///< the first max_listed_files
};

struct TagDescription {
    std::string name;
    bool latest = false;
    std::uint64_t world_size = 0;
    std::optional<std::int64_t> global_step;
    std::int64_t mtime_ns = 0;  ///< of its newest file
    bool newest = false;        ///< of the whole ones: that of the largest global step, of equals the newest
    std::optional<std::string> problem;
    std::vector<std::string> warnings;  ///< what to know before resuming from it
    std::vector<ViewAnswer> views;      ///< one for each kind of view
    std::uint64_t degree = 1;           ///< what divides every world size that it can be shown at
    std::vector<ViewAnswer> elsewhere;  ///< the least world size, and one above that of the save, for texts
};

struct Description {
    std::string source;
    std::vector<TagDescription> tags;
    std::string described_tag;  ///< the one that `checkpoint` is about
    std::optional<CheckpointDescription> checkpoint;
    std::optional<Cuts> cuts;
    std::optional<ShownView> shown;
    std::vector<std::string> problems;
    std::vector<std::string> warnings;  ///< what does not follow a change of world size
};

/// How every group of every model-parallel rank is cut at a data-parallel size, in their order.
Result<std::vector<GroupCut>> group_cuts(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                                         const view::ViewOptions& options);

/// `listing`: of the tag directory.
Result<CheckpointDescription> describe(const zero::Written& checkpoint, const std::vector<DirectoryEntry>& listing);

inline constexpr std::size_t max_listed_files = 32;
/// Builds metadata of the listed files; reads no tensors.
Result<Cuts> describe_cuts(const zero::Written& checkpoint, const View& view, std::uint64_t dp_world_size,
                           const view::ViewOptions& options);

/// The same of a view that is no re-cut.
Result<ShownView> describe_shown(const zero::Written& checkpoint, const View& view, const ViewRequest& request);

/// What comes of asking for a view of each kind, in its usual form, of the tag in `directory`. `world_size`: of the
/// tag; 0 where it is unknown.
using Show = std::function<Result<std::shared_ptr<const View>>(const ViewRequest& request)>;
[[nodiscard]] std::vector<ViewAnswer> describe_views(const std::string& directory, std::uint64_t world_size,
                                                     const Show& show);

struct Picture;
/// `picture`: of the re-cut, where there is one. Lines are no longer than `columns`, but where one name is.
[[nodiscard]] std::string as_text(const Description& description, const Picture* picture, std::size_t columns);
/// docs/schemas/inspect.json says what is in it.
[[nodiscard]] std::string as_json(const Description& description);

}  // namespace ckptfs::report
