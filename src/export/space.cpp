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

    Result<void> expect_room(const std::function<void(const std::string&)>& warn) {
        struct statvfs room {};
        if (const int answer = calls_.statistics(root_, room); answer < 0) {
            return writing_failed("asked for its room", root_, -answer);
        }
        block_nbytes_ = std::max<std::uint64_t>(room.f_frsize, 1);
        const std::uint64_t free_nbytes = block_nbytes_ * (::geteuid() == 0 ? room.f_bfree : room.f_bavail);
        CKPTFS_TRY(sum_up([&](std::size_t number) { return Result(Need{plan_.file(number).info.stamp.size, 0}); }));
        if (needed_.all() > free_nbytes) {
            CKPTFS_TRY(sum_up([&](std::size_t number) { return need_of(number); }));
        }
        if (needed_.all() > free_nbytes) {
            const bool may_share = calls_.may_share_blocks(root_);
            const std::string sentence =
                "the export takes " + human_nbytes(may_share ? needed_.written : needed_.all()) + " more, and where " +
                in_quotes(root_) + " lies " + human_nbytes(free_nbytes) + " are free";
            if (!may_share || needed_.written > free_nbytes) {
                return Error(ErrorCode::io, sentence + ": make room, or choose another DEST; nothing has been written",
                             ENOSPC);
            }
            warn(sentence + "; it fits only if that file system shares the blocks of " + human_nbytes(needed_.copied) +
                 " with those of SOURCE");
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
    /// Bytes that are to be on disk.
    struct Need {
        std::uint64_t written = 0;
        std::uint64_t copied = 0;  // by the system, which may share them

        [[nodiscard]] std::uint64_t all() const { return written + copied; }
    };

    [[nodiscard]] std::uint64_t on_disk(std::uint64_t nbytes) const {
        return (nbytes + block_nbytes_ - 1) / block_nbytes_ * block_nbytes_;
    }

    /// `need_of_file`: what is to be on disk of a file.
    template <class NeedOfFile>
    Result<void> sum_up(NeedOfFile&& need_of_file) {
        needed_ = {};
        needed_files_ = 0;
        for (std::size_t number = 0; number < plan_.files.size(); ++number) {
            const auto known = finished_.find(number);
            if (known != finished_.end() && known->second.is_complete) {
                continue;
            }
            CKPTFS_ASSIGN(const Need need, need_of_file(number));
            struct stat status {};
            const bool is_there = calls_.stat(place_of(root_, plan_.file(number)), status) == 0;
            const std::uint64_t there = is_there ? static_cast<std::uint64_t>(status.st_blocks) * stat_block_nbytes : 0;
            const std::uint64_t all = on_disk(need.all()) - std::min(on_disk(need.all()), there);
            const std::uint64_t written = on_disk(need.written) - std::min(on_disk(need.written), there);
            needed_.written += written;
            needed_.copied += all - std::min(all, written);
            needed_files_ += is_there ? 0 : 1;
        }
        return {};
    }

    Result<Need> need_of(std::size_t number) {
        CKPTFS_ASSIGN(auto file, open_planned(tree_, plan_.file(number)));
        CKPTFS_ASSIGN(const auto records, unknown_checksums_of(*file));
        const FileSegments segments = plan_.segments(number);
        const SpanPlanner planner(file, records);
        Need need;
        for (std::uint64_t segment = 0; segment < segments.count(); ++segment) {
            CKPTFS_ASSIGN(const auto spans, planner.spans(segments.range(segment)));
            for (const FileSpan& span : spans) {
                need.written += span.how == FileSpan::How::read ? span.range.nbytes() : 0;
                need.copied += span.how == FileSpan::How::copied ? span.range.nbytes() : 0;
            }
        }
        return need;
    }

    const Source& tree_;
    const Plan& plan_;
    const std::map<std::uint64_t, FinishedFile>& finished_;
    const std::string& root_;
    const WriteCalls& calls_;
    std::uint64_t block_nbytes_ = 1;
    Need needed_;
    std::uint64_t needed_files_ = 0;
};

}  // namespace

Result<void> expect_space(const Source& tree, const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished,
                          const std::string& root, const WriteCalls& calls,
                          const std::function<void(const std::string&)>& warn) {
    return SpaceNeed(tree, plan, finished, root, calls).expect_room(warn);
}

}  // namespace ckptfs::exporting
