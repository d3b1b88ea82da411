// Reads what was written, and holds it against what is shown.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "export/counters.h"
#include "export/segments.h"
#include "export/write_calls.h"
#include "pt/zip.h"
#include "pt/zip_checksums.h"

namespace ckptfs::exporting {

/// One written file beside the file that it is a copy of. Safe for concurrent use, on different segments.
class ReadBack {
 public:
    /// Drops the pages of `path` from the cache, so that they come from the disk. `verification` where it has another
    /// size, or no directory that can be read.
    static Result<std::shared_ptr<ReadBack>> open(std::shared_ptr<const File> shown, const std::string& path,
                                                  const WriteCalls& calls);

    /// Both through `buffer`, half of it each. `verification` where a byte differs that is no checksum the view leaves
    /// out.
    Result<std::vector<ChecksumPart>> compare(const ByteRange& segment, std::span<std::byte> buffer,
                                              const std::function<bool()>& stops, Counters& counters) const;

    /// Of an archive, given what all segments gave: whether every record has the checksum that its directory says.
    Result<void> check_sums(const std::map<std::uint64_t, std::vector<ChecksumPart>>& parts,
                            const FileSegments& segments) const;

 private:
    ReadBack() = default;
    [[nodiscard]] Error differs(std::uint64_t offset) const;

    std::shared_ptr<const File> shown_;
    std::shared_ptr<const File> written_;
    std::vector<std::uint64_t> filled_in_;     // where checksums were filled in, in ascending order
    std::vector<pt::Record> records_;          // of the written archive
    std::vector<pt::UnknownChecksum> summed_;  // the places of their bytes
};

}  // namespace ckptfs::exporting
