// Inverts stage3.py _create_fp16_sub_groups.
#include "zero/sub_group_sizes.h"

#include <algorithm>
#include <vector>

#include "zero/zero3_partition.h"

namespace ckptfs::zero {
namespace {

std::vector<std::uint64_t> numels_of(const model::Group& group) {
    std::vector<std::uint64_t> numels;
    for (const model::Parameter& parameter : group.parameters) {
        numels.push_back(parameter.numel);
    }
    return numels;
}

// A sub-group ends with the parameter that makes it as long as the size; the last one of a group ends in any case.
void narrow(const Family& family, const model::Rank& rank, std::uint64_t world_size, SubGroupSizes& sizes) {
    for (std::size_t k = 0; k < family.zero3->sub_groups.size(); ++k) {
        const SubGroup& sub_group = family.zero3->sub_groups[k];
        if (sub_group.count == 0) {
            continue;
        }
        const model::Group& group = rank.groups[sub_group.group];
        const model::Parameter& last = group.parameters[sub_group.first + sub_group.count - 1];
        sizes.least = std::max(sizes.least, sub_group.flat_numel - partition_numel(last.numel, world_size) + 1);
        const bool is_last =
            k + 1 == family.zero3->sub_groups.size() || family.zero3->sub_groups[k + 1].group != sub_group.group;
        if (!is_last) {
            sizes.most = std::min(sizes.most, sub_group.flat_numel);
        }
    }
}

}  // namespace

bool explains_cut(const Written& checkpoint, std::uint64_t sub_group_size) {
    for (std::size_t index = 0; index < checkpoint.families.size(); ++index) {
        const Family& family = checkpoint.families[index];
        const model::Rank& rank = checkpoint.content.ranks[index];
        std::vector<SubGroup> cut;
        for (std::size_t g = 0; g < rank.groups.size(); ++g) {
            const auto is_of_group = [g](const SubGroup& sub_group) { return sub_group.group == g; };
            if (std::any_of(family.zero3->sub_groups.begin(), family.zero3->sub_groups.end(), is_of_group)) {
                cut_sub_groups(g, numels_of(rank.groups[g]), checkpoint.dp_world_size, sub_group_size, cut);
            }
        }
        if (cut != family.zero3->sub_groups) {
            return false;
        }
    }
    return true;
}

std::optional<SubGroupSizes> sizes_that_explain(const Written& checkpoint) {
    SubGroupSizes sizes;
    for (std::size_t index = 0; index < checkpoint.families.size(); ++index) {
        narrow(checkpoint.families[index], checkpoint.content.ranks[index], checkpoint.dp_world_size, sizes);
    }
    const bool found = sizes.least <= sizes.most && explains_cut(checkpoint, sizes.least);
    return found ? std::optional(sizes) : std::nullopt;
}

bool sub_group_size_is_stored(const Written& checkpoint) {
    return checkpoint.config.known && explains_cut(checkpoint, checkpoint.config.sub_group_size);
}

std::string sub_group_size_finding(const Written& checkpoint) {
    std::string text = checkpoint.families.front().model_states->file()->name();
    text += checkpoint.config.known
                ? ": its sub-groups are not cut for the zero_optimization.sub_group_size of the stored ds_config, " +
                      std::to_string(checkpoint.config.sub_group_size) + ": "
                : ": the stored ds_config is no dict of settings, so that zero_optimization.sub_group_size is not "
                  "known: ";
    const auto sizes = sizes_that_explain(checkpoint);
    if (!sizes) {
        return text + "the sub-groups in the files are cut for no size at all";
    }
    text += "the sub-groups in the files are cut for one of ";
    return text + (sizes->most == UINT64_MAX
                       ? "at least " + std::to_string(sizes->least) + " elements"
                       : std::to_string(sizes->least) + " to " + std::to_string(sizes->most) + " elements");
}

}  // namespace ckptfs::zero
