// What there is to draw of a re-cut: where each parameter lies in the partitions of either side, as plain numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/view.h"
#include "report/description.h"
#include "view/view_options.h"
#include "zero/written.h"

namespace ckptfs::report {

/// How the elements of one parameter are dealt to the ranks: element L is at place first_numel + L; places go to the
/// ranks in shares of share_numel, each of which begins start_numel into its rank's partition.
struct Dealt {
    std::uint64_t first_numel = 0;
    std::uint64_t share_numel = 1;
    std::uint64_t start_numel = 0;

    bool operator==(const Dealt&) const = default;
};

/// A place in the partitions of a group.
struct PartitionPlace {
    std::uint64_t rank = 0;   ///< data-parallel
    std::uint64_t numel = 0;  ///< into the rank's partition

    bool operator==(const PartitionPlace&) const = default;
};

/// Where the files of one side keep a state of a group.
struct StatePlaces {
    std::string key;  ///< "fp32", "exp_avg"
    std::string dtype;
    std::uint64_t itemsize = 1;
    /// By sub-group, of which there is one where a group is not cut into any, then by rank: the byte of the rank's
    /// optimizer file at which the first element of its part is, or would be. nullopt where the file has no element of
    /// it, or keeps it in another order than the partition's.
    std::vector<std::vector<std::optional<std::uint64_t>>> offsets;
};

/// One side of a group's re-cut.
struct Partitions {
    std::uint64_t ranks = 1;
    std::uint64_t partition_numel = 0;      ///< of every rank, with padding
    bool is_flat = true;                    ///< dealt as one buffer; false: each parameter by itself (stage 3)
    std::vector<Dealt> dealt;               ///< by parameter
    std::vector<std::uint64_t> sub_groups;  ///< stage 3: elements of each on every rank, in their order
    std::vector<StatePlaces> states;        ///< empty until place_files()

    /// `element`: less than the parameter's numel.
    [[nodiscard]] PartitionPlace place(std::size_t parameter, std::uint64_t element) const;
    /// Elements from `element` on that lie on the same rank behind one another, be they the parameter's or padding.
    [[nodiscard]] std::uint64_t left_on_rank(std::size_t parameter, std::uint64_t element) const;
};

struct DrawnParameter {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;
};

struct DrawnGroup {
    std::string model_rank;  ///< MM of the files that it is in
    std::size_t index = 0;   ///< among that model-parallel rank's groups
    std::vector<DrawnParameter> parameters;
    std::uint64_t numel = 0;  ///< of all parameters
    Partitions before;
    Partitions after;
};

/// A file of the source or of the view.
struct DrawnFile {
    CutFile file;
    std::string model_rank;
    std::optional<std::uint64_t> optimizer_rank;  ///< of an optimizer file: data-parallel
};

struct Picture {
    std::uint64_t world_size_before = 0;  ///< all ranks
    std::uint64_t world_size_after = 0;
    std::vector<DrawnGroup> groups;  ///< of all model-parallel ranks
    /// Empty until place_files(): files of the source, without parts, and those of the view.
    std::vector<DrawnFile> files_before;
    std::vector<DrawnFile> files_after;
    std::uint64_t unlisted_files_after = 0;  ///< that were too many to look into
};

/// Elements of one parameter that stay together: behind one another on one rank before, and on one rank after.
struct Stretch {
    std::size_t parameter = 0;
    std::uint64_t element = 0;  ///< the first one, in the parameter
    std::uint64_t numel = 0;
    PartitionPlace before;
    PartitionPlace after;
};

/// Every element of `parameter` once, in order.
void for_each_stretch(const DrawnGroup& group, std::size_t parameter, const std::function<void(const Stretch&)>& take);

/// Elements that go from some ranks to some ranks.
struct Flow {
    std::uint64_t before = 0;  ///< a bundle of ranks, by its number
    std::uint64_t after = 0;
    std::uint64_t numel = 0;

    bool operator==(const Flow&) const = default;
};

/// How many bundles of `bundle` ranks there are; the last one may have fewer ranks.
[[nodiscard]] std::uint64_t bundle_count(const Partitions& side, std::uint64_t bundle);

/// All elements of the group, by bundles of so many ranks of either side; sorted by `after`, then by `before`.
[[nodiscard]] std::vector<Flow> flows(const DrawnGroup& group, std::uint64_t bundle_before, std::uint64_t bundle_after);

/// Elements of each bundle of `side`'s partitions that no parameter fills, given what each of them holds.
[[nodiscard]] std::vector<std::uint64_t> bundle_padding(const Partitions& side, std::uint64_t bundle,
                                                        const std::vector<Flow>& flows, std::uint64_t Flow::*number);

/// The group's cut, without files. `unsupported` where counts are greater than a picture can have (2^53).
Result<Picture> make_picture(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                             const view::ViewOptions& options);

/// More files of a view than this are not looked into, since the metadata of each has to be built.
inline constexpr std::size_t max_drawn_files = 4096;

/// Adds the files of `picture`, which make_picture() made of `checkpoint`, and where in them the states lie. `view`: at
/// the same world size. Builds metadata of the files; reads no tensors.
Result<void> place_files(const zero::Written& checkpoint, const View& view, Picture& picture);

}  // namespace ckptfs::report
