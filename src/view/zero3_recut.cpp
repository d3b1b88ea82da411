// How a ZeRO-3 checkpoint is cut at the target world size, and its files for WorldSizeView.
#include <utility>

#include "view/zero3_files.h"

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
    Zero3Recut(std::shared_ptr<const zero::Checkpoint> checkpoint, Zero3Target target)
        : checkpoint_(std::move(checkpoint)), target_(std::move(target)) {}

    [[nodiscard]] bool same_as_source() const override { return target_.same_as_source; }
    [[nodiscard]] std::uint64_t model_states_count() const override { return target_.dp_world_size; }
    // Every rank's share is as long as any other's: what makes files differ in size is the tree that they are edited
    // from, the digits of the rank in the names of their records, and the tied names that only rank 0 lists.
    [[nodiscard]] std::uint64_t sized_like(std::size_t family, bool optimizer, std::uint64_t rank) const override {
        const zero::ModelParallelRank& files = checkpoint_->model_parallel[family];
        const std::vector<zero::RankFile>& ranks = optimizer ? files.optimizer : files.model_states_shards;
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
    std::shared_ptr<const zero::Checkpoint> checkpoint_;
    Zero3Target target_;
};

Result<std::vector<zero::SubGroup>> cut_family(const zero::ModelParallelRank& family, const Zero3Target& target) {
    std::vector<zero::SubGroup> sub_groups;
    auto source = family.sub_groups.begin();
    for (std::size_t g = 0; g < family.groups.size(); ++g) {
        if (source == family.sub_groups.end() || source->group != g) {
            continue;  // a group without parameters
        }
        while (source != family.sub_groups.end() && source->group == g) {
            ++source;
        }
        std::vector<std::uint64_t> numels;
        for (const zero::Parameter& parameter : family.groups[g].parameters) {
            numels.push_back(parameter.numel);
        }
        CKPTFS_TRY(zero::check_numels(numels, target.dp_world_size));
        zero::cut_sub_groups(g, numels, target.dp_world_size, target.sub_group_size, sub_groups);
    }
    for (const zero::FrozenParameter& frozen : family.frozen) {
        CKPTFS_TRY(zero::check_numels({&frozen.parameter.numel, 1}, target.dp_world_size));
    }
    return sub_groups;
}

}  // namespace

Result<Zero3Target> zero3_target(const zero::Checkpoint& checkpoint, std::uint64_t dp_world_size,
                                 std::optional<std::uint64_t> sub_group_size) {
    Zero3Target target;
    target.dp_world_size = dp_world_size;
    target.sub_group_size = sub_group_size.value_or(checkpoint.config.sub_group_size);
    target.same_as_source =
        dp_world_size == checkpoint.dp_world_size && target.sub_group_size == checkpoint.config.sub_group_size;
    for (const zero::ModelParallelRank& family : checkpoint.model_parallel) {
        CKPTFS_ASSIGN(std::vector<zero::SubGroup> sub_groups, cut_family(family, target));
        // Where the files are not cut as the stored config says, only who says how wants them cut anew.
        target.same_as_source &= !sub_group_size || sub_groups == family.sub_groups;
        target.families.push_back(std::move(sub_groups));
    }
    return target;
}

Result<std::unique_ptr<const Recut>> zero3_recut(std::shared_ptr<const zero::Checkpoint> checkpoint,
                                                 std::uint64_t dp_world_size,
                                                 std::optional<std::uint64_t> sub_group_size) {
    CKPTFS_ASSIGN(Zero3Target target, zero3_target(*checkpoint, dp_world_size, sub_group_size));
    return std::unique_ptr<const Recut>(std::make_unique<Zero3Recut>(std::move(checkpoint), std::move(target)));
}

}  // namespace ckptfs::view
