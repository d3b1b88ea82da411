// Sizes first, which cost nothing; where they do not fit, the bytes that have to be on disk.
#include "export/space.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "export/file_in_work.h"
#include "export/spans.h"
#include "export/tree_writer.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

constexpr std::uint64_t stat_block_nbytes = 512;

class SpaceNeed {
 public:
    SpaceNeed(const Source& tree, const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished,
              const std::string& root, const WriteCalls& calls)
        : tree_(tree), plan_(plan), finished_(finished), root_(root), calls_(calls) {}

    Result<void> expect_room() {
        struct statvfs room {};
        if (const int answer = calls_.statistics(root_, room); answer < 0) {
            return writing_failed("asked for its room", root_, -answer);
        }
        block_nbytes_ = std::max<std::uint64_t>(room.f_frsize, 1);
        const std::uint64_t free_nbytes = block_nbytes_ * (::geteuid() == 0 ? room.f_bfree : room.f_bavail);
        CKPTFS_TRY(sum_up([&](std::size_t number) { return Result(plan_.file(number).info.stamp.size); }));
        if (needed_nbytes_ > free_nbytes) {
            CKPTFS_TRY(sum_up([&](std::size_t number) { return bytes_on_disk(number); }));
        }
        if (needed_nbytes_ > free_nbytes) {
            return Error(ErrorCode::io,
                         "the export takes " + human_nbytes(needed_nbytes_) + " more, and where " + in_quotes(root_) +
                             " lies " + human_nbytes(free_nbytes) +
                             " are free: make room, or choose another DEST; nothing has been written",
                         ENOSPC);
        }
        if (room.f_files > 0 && needed_files_ > room.f_favail) {
            return Error(ErrorCode::io,
                         "the export makes " + counted(needed_files_, "file") + " more, and where " + in_quotes(root_) +
                             " lies " + grouped(room.f_favail) +
                             " are free (inodes): choose another DEST; nothing has been written",
                         ENOSPC);
        }
        return {};
    }

 private:
    /// `nbytes_of`: what is to be on disk of a file.
    template <class NbytesOf>
    Result<void> sum_up(NbytesOf&& nbytes_of) {
        needed_nbytes_ = 0;
        needed_files_ = 0;
        for (std::size_t number = 0; number < plan_.files.size(); ++number) {
            const auto known = finished_.find(number);
            if (known != finished_.end() && known->second.is_complete) {
                continue;
            }
            const PlannedEntry& entry = plan_.file(number);
            CKPTFS_ASSIGN(const std::uint64_t nbytes, nbytes_of(number));
            const std::uint64_t on_disk = (nbytes + block_nbytes_ - 1) / block_nbytes_ * block_nbytes_;
            struct stat status {};
            const bool is_there = calls_.stat(place_of(root_, entry), status) == 0;
            const std::uint64_t there = is_there ? static_cast<std::uint64_t>(status.st_blocks) * stat_block_nbytes : 0;
            needed_nbytes_ += on_disk - std::min(on_disk, there);
            needed_files_ += is_there ? 0 : 1;
        }
        return {};
    }

    Result<std::uint64_t> bytes_on_disk(std::size_t number) {
        CKPTFS_ASSIGN(auto file, open_planned(tree_, plan_.file(number)));
        const FileSegments segments = plan_.segments(number);
        const SpanPlanner planner(file, {});
        std::uint64_t nbytes = 0;
        for (std::uint64_t segment = 0; segment < segments.count(); ++segment) {
            CKPTFS_ASSIGN(const auto spans, planner.spans(segments.range(segment)));
            for (const FileSpan& span : spans) {
                nbytes += span.how == FileSpan::How::hole ? 0 : span.range.nbytes();
            }
        }
        return nbytes;
    }

    const Source& tree_;
    const Plan& plan_;
    const std::map<std::uint64_t, FinishedFile>& finished_;
    const std::string& root_;
    const WriteCalls& calls_;
    std::uint64_t block_nbytes_ = 1;
    std::uint64_t needed_nbytes_ = 0;
    std::uint64_t needed_files_ = 0;
};

}  // namespace

Result<void> expect_space(const Source& tree, const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished,
                          const std::string& root, const WriteCalls& calls) {
    return SpaceNeed(tree, plan, finished, root, calls).expect_room();
}

}  // namespace ckptfs::exporting
