// How a ZeRO-3 checkpoint is cut at the target world size, and its files for WorldSizeView.
#include <utility>

#include "view/zero3_files.h"
#include "zero/sub_group_sizes.h"

namespace ckptfs::view {
namespace {

// Apart from 0 itself.
std::uint64_t first_of_as_many_digits(std::uint64_t rank) {
    std::uint64_t first = 1;
    while (rank / first >= 10) {
        first *= 10;
    }
    return first;
}

class Zero3Recut final : public Recut {
 public:
    Zero3Recut(std::shared_ptr<const zero::Written> checkpoint, Zero3Target target)
        : checkpoint_(std::move(checkpoint)), target_(std::move(target)) {}

    [[nodiscard]] bool same_as_source() const override { return target_.same_as_source; }
    [[nodiscard]] std::uint64_t model_states_count() const override { return target_.dp_world_size; }
    // Every rank's share is as long as any other's: what makes files differ in size is the tree that they are edited
    // from, the digits of the rank in the names of their records, and the tied names that only rank 0 lists.
    [[nodiscard]] std::uint64_t sized_like(std::size_t family, bool optimizer, std::uint64_t rank) const override {
        const zero::Family& files = checkpoint_->families[family];
        const std::vector<zero::RankFile>& ranks = optimizer ? files.optimizer : files.model_states_of_ranks();
        const auto structure = [&](std::uint64_t r) {
            return ranks[optimizer ? checkpoint_->optimizer_template(r) : r % ranks.size()].structure;
        };
        if (rank == 0 || structure(rank) == nullptr) {
            return rank;
        }
        std::uint64_t like = first_of_as_many_digits(rank);
        while (structure(like) != structure(rank)) {
            ++like;
        }
        return like;
    }
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> model_states(std::size_t family, std::uint64_t rank,
                                                                          const std::string& name) const override {
        return recut_model_states_shard(checkpoint_, target_, family, rank, name);
    }
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> optimizer(std::size_t family, std::uint64_t rank,
                                                                       const std::string& name) const override {
        return recut_zero3_optimizer_file(checkpoint_, target_, family, rank, name);
    }

 private:
    std::shared_ptr<const zero::Written> checkpoint_;
    Zero3Target target_;
};

using Cut = std::vector<std::vector<zero::SubGroup>>;  // by model-parallel rank

Result<std::vector<zero::SubGroup>> cut_family(const zero::Family& family, const model::Rank& content,
                                               std::uint64_t dp_world_size, std::uint64_t sub_group_size) {
    std::vector<zero::SubGroup> sub_groups;
    auto source = family.zero3->sub_groups.begin();
    for (std::size_t g = 0; g < family.groups.size(); ++g) {
        if (source == family.zero3->sub_groups.end() || source->group != g) {
            continue;  // a group without parameters
        }
        while (source != family.zero3->sub_groups.end() && source->group == g) {
            ++source;
        }
        std::vector<std::uint64_t> numels;
        for (const model::Parameter& parameter : content.groups[g].parameters) {
            numels.push_back(parameter.numel);
        }
        CKPTFS_TRY(zero::check_numels(numels, dp_world_size));
        zero::cut_sub_groups(g, numels, dp_world_size, sub_group_size, sub_groups);
    }
    for (const zero::FrozenFragments& frozen : family.zero3->frozen) {
        CKPTFS_TRY(zero::check_numels({&frozen.parameter.numel, 1}, dp_world_size));
    }
    return sub_groups;
}

Result<Cut> cut_for(const zero::Written& checkpoint, std::uint64_t dp_world_size, std::uint64_t sub_group_size) {
    Cut cut;
    for (std::size_t family = 0; family < checkpoint.families.size(); ++family) {
        CKPTFS_ASSIGN(
            std::vector<zero::SubGroup> sub_groups,
            cut_family(checkpoint.families[family], checkpoint.content.ranks[family], dp_world_size, sub_group_size));
        cut.push_back(std::move(sub_groups));
    }
    return cut;
}

Cut cut_of_source(const zero::Written& checkpoint) {
    Cut cut;
    for (const zero::Family& family : checkpoint.families) {
        cut.push_back(family.zero3->sub_groups);
    }
    return cut;
}

// Of a checkpoint that does not store the size: what all those give that it shows.
Result<Cut> cut_as_source_shows(const zero::Written& checkpoint, std::uint64_t dp_world_size) {
    if (const auto sizes = zero::sizes_that_explain(checkpoint)) {
        CKPTFS_ASSIGN(Cut of_least, cut_for(checkpoint, dp_world_size, sizes->least));
        CKPTFS_ASSIGN(const Cut of_most, cut_for(checkpoint, dp_world_size, sizes->most));
        if (of_least == of_most) {
            return of_least;
        }
    }
    return Error(ErrorCode::invalid_argument,
                 zero::sub_group_size_finding(checkpoint) + ", which does not say how to cut them over " +
                     std::to_string(dp_world_size) +
                     " data-parallel ranks; give --ds-config, or the size with --sub-group-size");
}

}  // namespace

Result<Zero3Target> zero3_target(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                                 std::optional<std::uint64_t> sub_group_size) {
    Zero3Target target;
    target.dp_world_size = dp_world_size;
    const bool same_ranks = dp_world_size == checkpoint.dp_world_size;
    if (!sub_group_size && same_ranks) {
        target.families = cut_of_source(checkpoint);
        target.same_as_source = true;
        return target;
    }
    if (!sub_group_size && !zero::sub_group_size_is_stored(checkpoint)) {
        CKPTFS_ASSIGN(target.families, cut_as_source_shows(checkpoint, dp_world_size));
        return target;
    }
    target.sub_group_size = sub_group_size.value_or(checkpoint.config.sub_group_size);
    CKPTFS_ASSIGN(target.families, cut_for(checkpoint, dp_world_size, *target.sub_group_size));
    const bool stores_it = !checkpoint.config.known || checkpoint.config.sub_group_size == *target.sub_group_size;
    target.same_as_source = same_ranks && stores_it && target.families == cut_of_source(checkpoint);
    return target;
}

Result<std::unique_ptr<const Recut>> zero3_recut(std::shared_ptr<const zero::Written> checkpoint,
                                                 std::uint64_t dp_world_size,
                                                 std::optional<std::uint64_t> sub_group_size) {
    CKPTFS_ASSIGN(Zero3Target target, zero3_target(*checkpoint, dp_world_size, sub_group_size));
    return std::unique_ptr<const Recut>(std::make_unique<Zero3Recut>(std::move(checkpoint), std::move(target)));
}

}  // namespace ckptfs::view
