// Walking a tree, and saying in a line what an entry of it is.
#include "export/plan.h"

#include <utility>

#include "export/encoding.h"
#include "util/path.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

class PlanWalk {
 public:
    PlanWalk(const Source& tree, std::uint64_t segment_nbytes) : tree_(tree) { plan_.segment_nbytes = segment_nbytes; }

    Result<Plan> run() {
        CKPTFS_TRY(visit(""));
        return std::move(plan_);
    }

 private:
    Result<void> visit(const std::string& path) {
        PlannedEntry entry{path, {}, {}};
        CKPTFS_ASSIGN(entry.info, tree_.stat(path));
        switch (entry.info.type) {
            case FileType::directory:
                plan_.entries.push_back(std::move(entry));
                return visit_children(path);
            case FileType::symlink: {
                CKPTFS_ASSIGN(entry.link, tree_.read_link(path));
                plan_.entries.push_back(std::move(entry));
                return {};
            }
            case FileType::regular:
                CKPTFS_TRY(count(entry));
                plan_.nbytes += entry.info.stamp.size;
                plan_.files.push_back(plan_.entries.size());
                plan_.entries.push_back(std::move(entry));
                return {};
            default:
                plan_.left_out.push_back(path);
                return {};
        }
    }

    Result<void> count(const PlannedEntry& entry) {
        const FileSegments segments{entry.info.stamp.size, plan_.segment_nbytes};
        if (segments.count() > most_segments - segments_) {
            return Error(ErrorCode::unsupported, in_quotes(tree_.display(entry.path)) + " has " +
                                                     grouped(entry.info.stamp.size) +
                                                     " bytes, and with what comes before it more than the " +
                                                     human_nbytes(most_segments * plan_.segment_nbytes) +
                                                     " that an export takes: leave it out of SOURCE");
        }
        segments_ += segments.count();
        return {};
    }

    Result<void> visit_children(const std::string& path) {
        CKPTFS_ASSIGN(const auto listing, tree_.list(path));
        for (const DirectoryEntry& entry : listing) {
            CKPTFS_TRY(visit(join_path(path, entry.name)));
        }
        return {};
    }

    const Source& tree_;
    Plan plan_;
    std::uint64_t segments_ = 0;
};

}  // namespace

Result<Plan> make_plan(const Source& tree, std::uint64_t segment_nbytes) {
    return PlanWalk(tree, segment_nbytes).run();
}

std::string identity_line(const PlannedEntry& entry) {
    switch (entry.info.type) {
        case FileType::directory:
            return "directory " + encoded(entry.path);
        case FileType::symlink:
            return "link " + encoded(entry.path) + " " + encoded(entry.link);
        default:
            break;
    }
    const FileStamp& stamp = entry.info.stamp;
    return "file " + encoded(entry.path) + " " + std::to_string(stamp.size) + " " + std::to_string(stamp.inode) + " " +
           std::to_string(stamp.mtime_ns) + " " + std::to_string(stamp.ctime_ns);
}

}  // namespace ckptfs::exporting
