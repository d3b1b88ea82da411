// Block by block, with the checksums that were filled in made equal on both sides first.
#include "export/read_back.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "export/checksums.h"
#include "export/file_in_work.h"
#include "export/segment_copier.h"
#include "io/unique_fd.h"
#include "util/checked.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

class WrittenBytes final : public File {
 public:
    WrittenBytes(const WriteCalls& calls, io::UniqueFd fd, std::string name, std::uint64_t size)
        : calls_(calls), fd_(std::move(fd)), name_(std::move(name)), size_(size) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return size_; }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (!fits(offset, out.size(), size_)) {
            return Error(ErrorCode::invalid_argument, in_quotes(name_) + " has " + std::to_string(size_) + " bytes");
        }
        return read_exactly(calls_, fd_.get(), name_, out, offset);
    }

 private:
    const WriteCalls& calls_;
    io::UniqueFd fd_;
    std::string name_;
    std::uint64_t size_;
};

void clear_common(std::uint64_t place, std::uint64_t offset, std::span<std::byte> block) {
    const ByteRange common = ByteRange{place, place + pt::checksum_nbytes}.common({offset, offset + block.size()});
    if (common.nbytes() > 0) {
        std::memset(block.data() + (common.begin - offset), 0, common.nbytes());
    }
}

}  // namespace

Result<std::shared_ptr<ReadBack>> ReadBack::open(std::shared_ptr<const File> shown, const std::string& path,
                                                 const WriteCalls& calls) {
    std::shared_ptr<ReadBack> result(new ReadBack);
    io::UniqueFd fd(calls.open(path, O_RDONLY, 0));
    struct stat status {};
    const int answer = fd.get() < 0 ? fd.get() : calls.stat_descriptor(fd.get(), status);
    if (answer < 0) {
        return writing_failed("opened", path, -answer);
    }
    (void)calls.drop_cache(fd.get());  // where a file system keeps its pages, they are compared all the same
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size != shown->size()) {
        return Error(ErrorCode::verification, in_quotes(path) + " has " + std::to_string(size) + " bytes, the view " +
                                                  std::to_string(shown->size()));
    }
    CKPTFS_ASSIGN(const auto unknown, unknown_checksums_of(*shown));
    for (const pt::UnknownChecksum& record : unknown) {
        result->filled_in_.push_back(record.local_offset);
        result->filled_in_.push_back(record.directory_offset);
    }
    std::sort(result->filled_in_.begin(), result->filled_in_.end());
    result->written_ = std::make_shared<const WrittenBytes>(calls, std::move(fd), path, size);
    CKPTFS_ASSIGN(const bool is_archive, is_made_archive(*shown));
    if (is_archive || !unknown.empty()) {
        auto records = pt::read_directory(*result->written_);
        if (!records && records.error().code() != ErrorCode::io) {
            return Error(ErrorCode::verification,
                         records.error().message() + ": it has not come back as it was written");
        }
        CKPTFS_ASSIGN(result->records_, std::move(records));
        // Those of a file of SOURCE are what they are, but for what was filled in.
        std::erase_if(result->records_, [&](const pt::Record& record) {
            const auto is_of_record = [&](const pt::UnknownChecksum& one) {
                return one.data_offset == record.data_offset;
            };
            return record.nbytes == 0 || (!is_archive && std::none_of(unknown.begin(), unknown.end(), is_of_record));
        });
        for (const pt::Record& record : result->records_) {
            result->summed_.push_back({record.data_offset, record.nbytes, 0, 0});
        }
    }
    result->shown_ = std::move(shown);
    return result;
}

Error ReadBack::differs(std::uint64_t offset) const {
    return {ErrorCode::verification, in_quotes(written_->name()) + " differs from the view at byte " +
                                         std::to_string(offset) + ": it has not come back as it was written"};
}

Result<std::vector<ChecksumPart>> ReadBack::compare(const ByteRange& segment, std::span<std::byte> buffer,
                                                    const std::function<bool()>& stops, Counters& counters) const {
    SegmentChecksums sums(summed_, segment);
    const std::size_t half = buffer.size() / 2;
    for (std::uint64_t at = segment.begin; at < segment.end; at += half) {
        if (stops()) {
            return interrupted();
        }
        const std::size_t nbytes = std::min<std::uint64_t>(half, segment.end - at);
        const std::span<std::byte> truth = buffer.first(nbytes);
        const std::span<std::byte> found = buffer.subspan(half, nbytes);
        CKPTFS_TRY(shown_->read(at, truth));
        CKPTFS_TRY(written_->read(at, found));
        sums.add(at, found);
        auto place = std::lower_bound(filled_in_.begin(), filled_in_.end(), at - std::min(at, pt::checksum_nbytes));
        for (; place != filled_in_.end() && *place < at + nbytes; ++place) {
            clear_common(*place, at, truth);
            clear_common(*place, at, found);
        }
        if (std::memcmp(truth.data(), found.data(), nbytes) != 0) {
            const auto first = std::mismatch(truth.begin(), truth.end(), found.begin()).first;
            return differs(at + static_cast<std::uint64_t>(first - truth.begin()));
        }
        counters.verified += nbytes;
    }
    return sums.parts();
}

Result<void> ReadBack::check_sums(const std::map<std::uint64_t, std::vector<ChecksumPart>>& parts,
                                  const FileSegments& segments) const {
    CKPTFS_ASSIGN(const auto joined, joined_checksums(summed_, parts, segments));
    for (std::size_t i = 0; i < records_.size(); ++i) {
        if (joined[i] != records_[i].crc32) {
            return Error(ErrorCode::verification, in_quotes(written_->name()) + ": the checksum of record " +
                                                      in_quotes(records_[i].name) + " is not that of its bytes");
        }
    }
    return {};
}

}  // namespace ckptfs::exporting
