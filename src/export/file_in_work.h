// One file of the plan while it is written.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/plan.h"
#include "export/recorder.h"
#include "export/segment_copier.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

/// Opens what `entry` was planned from. `stale` where it is another generation by now, or gone.
Result<std::shared_ptr<const File>> open_planned(const Source& tree, const PlannedEntry& entry);

/// Whether it is an archive made of pieces, rather than a file of the source as it is.
Result<bool> is_made_archive(const File& file);

/// Of such an archive, and of one that SOURCE has as it is, where that is a mount of ckptfs; none of any other file.
Result<std::vector<pt::UnknownChecksum>> unknown_checksums_of(const File& file);

/// Safe for concurrent use, on different segments.
class FileInWork {
 public:
    /// Makes the file at `path`, or opens it where an earlier run has `finished` a part of it: of the same size then.
    static Result<std::shared_ptr<FileInWork>> open(const Source& tree, const Plan& plan, std::size_t number,
                                                    std::string path, const FinishedFile& finished,
                                                    const WriteCalls& calls);

    Result<std::vector<ChecksumPart>> copy(std::uint64_t segment, SegmentCopier& copier);
    /// Once all segments are there: fills in the checksums and sets the attributes.
    Result<void> complete();

    [[nodiscard]] const std::shared_ptr<const WrittenFile>& written() const { return written_; }

 private:
    FileInWork(std::shared_ptr<const File> file, std::vector<pt::UnknownChecksum> records, FileInfo info,
               FileSegments segments, const WriteCalls& calls);
    Result<void> open_target(std::string path, const FinishedFile& finished);
    Result<bool> make_hole(const ByteRange& range);
    Result<void> fill_in(std::uint64_t offset, std::uint32_t crc32) const;

    const std::shared_ptr<const File> file_;
    const std::vector<pt::UnknownChecksum> records_;
    const SpanPlanner planner_;
    const FileInfo info_;
    const FileSegments segments_;
    const WriteCalls& calls_;
    std::shared_ptr<const WrittenFile> written_;
    bool is_new_ = true;  // nothing was written before
    std::atomic<bool> system_copies_ = true;

    std::mutex mutex_;
    std::map<std::uint64_t, std::vector<ChecksumPart>> parts_;
};

}  // namespace ckptfs::exporting
