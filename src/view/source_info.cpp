// Gathers what all files of all families have in common.
#include "view/source_info.h"

#include <algorithm>
#include <vector>

#include "util/permissions.h"

namespace ckptfs::view {

FileInfo common_info(const std::vector<zero::Family>& families) {
    std::vector<const FileInfo*> infos;
    for (const zero::Family& family : families) {
        if (family.model_states_of_ranks().empty()) {
            infos.push_back(&family.model_states_info);
        }
        for (const zero::RankFile* file : family.rank_files()) {
            infos.push_back(&file->info);
        }
    }
    if (infos.empty()) {
        return {};
    }
    FileInfo common = *infos.front();
    std::vector<Permissions> permissions;
    permissions.reserve(infos.size());
    for (const FileInfo* info : infos) {
        permissions.push_back(permissions_of(*info));
        common.stamp.mtime_ns = std::max(common.stamp.mtime_ns, info->stamp.mtime_ns);
        common.stamp.ctime_ns = std::max(common.stamp.ctime_ns, info->stamp.ctime_ns);
        common.atime_ns = std::max(common.atime_ns, info->atime_ns);
    }
    return with_permissions(common, common_permissions(permissions));
}

}  // namespace ckptfs::view
