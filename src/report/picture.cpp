// From a checkpoint and its cut at another world size to the numbers of a picture.
#include "report/picture.h"

#include <algorithm>
#include <utility>

#include "view/world_size_kind.h"
#include "view/zero12_files.h"
#include "view/zero3_files.h"

namespace ckptfs::report {
namespace {

constexpr std::uint64_t most_drawable_numel = std::uint64_t{1} << 53;  // as a double counts without gaps

/// Shares of each parameter for itself, one behind another.
std::vector<Dealt> dealt_by_itself(const model::Group& group, std::uint64_t ranks) {
    std::vector<Dealt> result;
    std::uint64_t start = 0;
    for (const model::Parameter& parameter : group.parameters) {
        const std::uint64_t share = zero::partition_numel(parameter.numel, ranks);
        result.push_back({0, std::max<std::uint64_t>(share, 1), start});
        start += share;
    }
    return result;
}

std::vector<Dealt> dealt_as_one(const zero::FlatLayout& layout) {
    std::vector<Dealt> result(layout.slots.size());
    for (const zero::Slot& slot : layout.slots) {
        result[slot.parameter] = {slot.offset_numel, std::max<std::uint64_t>(layout.partition_numel, 1), 0};
    }
    return result;
}

/// As the files of the source have it. At stage 3 a map says where a share is in its sub-group.
std::vector<Dealt> dealt_in_source(const model::Group& group, const std::vector<std::uint64_t>& sub_groups,
                                   const zero::Zero3Family* zero3, std::size_t index) {
    std::vector<Dealt> result;
    for (const model::Parameter& parameter : group.parameters) {
        const auto& map = std::get<model::ElementMap>(parameter.master->rule());
        result.push_back({map.first_numel, std::max<std::uint64_t>(map.shard_numel, 1), map.shard_offset_numel});
    }
    if (zero3 == nullptr) {
        return result;
    }
    std::uint64_t start = 0;
    std::size_t number = 0;
    for (const zero::SubGroup& sub_group : zero3->sub_groups) {
        if (sub_group.group != index) {
            continue;
        }
        for (std::size_t p = sub_group.first; p < sub_group.first + sub_group.count; ++p) {
            result[p].start_numel += start;
        }
        start += sub_groups[number++];
    }
    return result;
}

DrawnGroup draw_parameters(const model::Group& group) {
    DrawnGroup result;
    for (const model::Parameter& parameter : group.parameters) {
        result.parameters.push_back({parameter.name, parameter.shape, parameter.numel});
        result.numel += parameter.numel;
    }
    return result;
}

Partitions partitions(GroupCut cut, std::uint64_t ranks, bool is_flat, std::vector<Dealt> dealt) {
    return {.ranks = ranks,
            .partition_numel = cut.partition_numel,
            .is_flat = is_flat,
            .dealt = std::move(dealt),
            .sub_groups = std::move(cut.sub_groups),
            .states = {}};
}

Result<void> check_drawable(const Partitions& side) {
    if (side.ranks > 0 && side.partition_numel > most_drawable_numel / side.ranks) {
        return Error(ErrorCode::unsupported,
                     "a parameter group has more elements than a picture can have (2^53): take the text, or --json");
    }
    return {};
}

}  // namespace

PartitionPlace Partitions::place(std::size_t parameter, std::uint64_t element) const {
    const Dealt& of = dealt[parameter];
    const std::uint64_t place = of.first_numel + element;
    return {place / of.share_numel, of.start_numel + place % of.share_numel};
}

std::uint64_t Partitions::left_on_rank(std::size_t parameter, std::uint64_t element) const {
    const Dealt& of = dealt[parameter];
    return of.share_numel - (of.first_numel + element) % of.share_numel;
}

void for_each_stretch(const DrawnGroup& group, std::size_t parameter, const std::function<void(const Stretch&)>& take) {
    const std::uint64_t numel = group.parameters[parameter].numel;
    for (std::uint64_t element = 0; element < numel;) {
        const std::uint64_t count = std::min({numel - element, group.before.left_on_rank(parameter, element),
                                              group.after.left_on_rank(parameter, element)});
        take(
            {parameter, element, count, group.before.place(parameter, element), group.after.place(parameter, element)});
        element += count;
    }
}

Result<Picture> make_picture(const zero::Written& checkpoint, std::uint64_t dp_world_size,
                             const view::ViewOptions& options) {
    Picture result;
    result.world_size_before = checkpoint.world_size();
    result.world_size_after = dp_world_size * checkpoint.degree();
    if (checkpoint.format == zero::Format::stage0) {
        return result;
    }
    const bool is_flat = checkpoint.format != zero::Format::zero3;
    view::TargetLayout target;
    if (is_flat) {
        CKPTFS_ASSIGN(target, view::target_layout(checkpoint, dp_world_size, options.target));
    }
    CKPTFS_ASSIGN(std::vector<GroupCut> before, group_cuts(checkpoint, checkpoint.dp_world_size, {}));
    CKPTFS_ASSIGN(std::vector<GroupCut> after, group_cuts(checkpoint, dp_world_size, options));
    for (std::size_t family = 0; family < checkpoint.families.size(); ++family) {
        const model::Rank& content = checkpoint.content.ranks[family];
        const auto& zero3 = checkpoint.families[family].zero3;
        for (std::size_t index = 0; index < content.groups.size(); ++index) {
            const std::size_t number = result.groups.size();
            const model::Group& group = content.groups[index];
            DrawnGroup drawn = draw_parameters(group);
            drawn.model_rank = content.name;
            drawn.index = index;
            auto in_source = dealt_in_source(group, before[number].sub_groups, zero3 ? &*zero3 : nullptr, index);
            drawn.before =
                partitions(std::move(before[number]), checkpoint.dp_world_size, is_flat, std::move(in_source));
            drawn.after = partitions(
                std::move(after[number]), dp_world_size, is_flat,
                is_flat ? dealt_as_one(target.families[family][index]) : dealt_by_itself(group, dp_world_size));
            CKPTFS_TRY(check_drawable(drawn.before));
            CKPTFS_TRY(check_drawable(drawn.after));
            result.groups.push_back(std::move(drawn));
        }
    }
    return result;
}

}  // namespace ckptfs::report
