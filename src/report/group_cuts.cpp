// How parameter groups are cut, in the numbers that a person asks for.
#include "report/description.h"
#include "view/world_size_kind.h"
#include "view/zero12_files.h"
#include "view/zero3_files.h"

namespace ckptfs::report {
namespace {

GroupCut cut_of(const zero::FlatLayout& layout, zero::Format format) {
    GroupCut result;
    result.partition_numel = layout.partition_numel;
    for (std::uint64_t rank = 0; rank < layout.world_size; ++rank) {
        result.padding_numel.push_back(format == zero::Format::bf16_optimizer
                                           ? zero::group_padding_bf16_optimizer(layout, rank)
                                           : zero::group_padding(layout, rank));
    }
    return result;
}

// Each parameter fills the first ranks' shares; the padding begins on one rank, and later ranks hold nothing else.
GroupCut cut_of(const model::Group& group, std::uint64_t dp_world_size) {
    GroupCut result;
    result.padding_numel.resize(dp_world_size);
    std::vector<std::uint64_t> from_rank_on(dp_world_size + 1);
    for (const model::Parameter& parameter : group.parameters) {
        const std::uint64_t share = zero::partition_numel(parameter.numel, dp_world_size);
        result.partition_numel += share;
        const std::uint64_t last = share == 0 ? dp_world_size : parameter.numel / share;
        if (last < dp_world_size) {
            result.padding_numel[last] += share - parameter.numel % share;
            from_rank_on[last + 1] += share;
        }
    }
    std::uint64_t whole_shares = 0;
    for (std::uint64_t rank = 0; rank < dp_world_size; ++rank) {
        whole_shares += from_rank_on[rank];
        result.padding_numel[rank] += whole_shares;
    }
    return result;
}

std::vector<GroupCut> zero3_cuts(const model::Rank& content, const std::vector<zero::SubGroup>& sub_groups,
                                 std::uint64_t dp_world_size) {
    std::vector<GroupCut> cuts;
    for (const model::Group& group : content.groups) {
        cuts.push_back(cut_of(group, dp_world_size));
    }
    for (const zero::SubGroup& sub_group : sub_groups) {
        cuts[sub_group.group].sub_groups.push_back(sub_group.flat_numel);
    }
    return cuts;
}

}  // namespace

Result<std::vector<GroupCut>> group_cuts(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                                         const view::ViewOptions& options) {
    std::vector<GroupCut> cuts;
    if (checkpoint.format == zero::Format::zero3) {
        CKPTFS_ASSIGN(const auto target,
                      view::zero3_target(checkpoint, dp_world_size, view::target_sub_group_size(options)));
        for (std::size_t rank = 0; rank < target.families.size(); ++rank) {
            const model::Rank& content = checkpoint.content.ranks[rank];
            for (GroupCut& cut : zero3_cuts(content, target.families[rank], dp_world_size)) {
                cuts.push_back(std::move(cut));
            }
        }
        return cuts;
    }
    CKPTFS_ASSIGN(const auto target, view::target_layout(checkpoint, dp_world_size, options.target));
    for (const auto& family : target.families) {
        for (const zero::FlatLayout& group : family) {
            cuts.push_back(cut_of(group, checkpoint.format));
        }
    }
    return cuts;
}

}  // namespace ckptfs::report
