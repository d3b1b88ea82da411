// The file that is shown on one side, the file that is written on the other.
#include "export/file_in_work.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "ckptfs/extent.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

constexpr mode_t permission_bits = 0777;  // no program is to run as the owner of a copy

}  // namespace

Result<std::shared_ptr<const File>> open_planned(const Source& tree, const PlannedEntry& entry) {
    constexpr const char* advice = ": give the same command again once nobody writes there";
    auto file = tree.open(entry.path);
    const auto now = file ? tree.stat(entry.path) : file.error();
    if (!now) {
        const bool is_gone = now.error().code() == ErrorCode::not_found;
        return is_gone ? Error(ErrorCode::stale,
                               now.error().message() + ", and it was there when the export began" + advice)
                       : now.error();
    }
    if (now->stamp != entry.info.stamp || (*file)->size() != entry.info.stamp.size) {
        return Error(ErrorCode::stale,
                     in_quotes(tree.display(entry.path)) + " has changed since the export began" + advice);
    }
    return file;
}

Result<bool> is_made_archive(const File& file) {
    return dynamic_cast<const VirtualFile*>(&file) == nullptr ? false : pt::is_archive(file);
}

Result<std::vector<pt::UnknownChecksum>> unknown_checksums_of(const File& file) {
    CKPTFS_ASSIGN(const bool is_archive, pt::is_archive(file));
    if (!is_archive) {
        return std::vector<pt::UnknownChecksum>();
    }
    auto unknown = pt::unknown_checksums(file);
    if (unknown || unknown.error().code() == ErrorCode::io || unknown.error().code() == ErrorCode::stale ||
        dynamic_cast<const VirtualFile*>(&file) != nullptr) {
        return unknown;
    }
    return std::vector<pt::UnknownChecksum>();  // compressed, or no archive after all: copied as it is
}

FileInWork::FileInWork(std::shared_ptr<const File> file, std::vector<pt::UnknownChecksum> records, FileInfo info,
                       FileSegments segments, const WriteCalls& calls)
    : file_(std::move(file)),
      records_(std::move(records)),
      planner_(file_, records_),
      info_(info),
      segments_(segments),
      calls_(calls) {}

Result<std::shared_ptr<FileInWork>> FileInWork::open(const Source& tree, const Plan& plan, std::size_t number,
                                                     std::string path, const FinishedFile& finished,
                                                     const WriteCalls& calls) {
    const PlannedEntry& entry = plan.file(number);
    CKPTFS_ASSIGN(auto file, open_planned(tree, entry));
    CKPTFS_ASSIGN(auto records, unknown_checksums_of(*file));
    std::shared_ptr<FileInWork> work(
        new FileInWork(std::move(file), std::move(records), entry.info, plan.segments(number), calls));
    CKPTFS_TRY(work->open_target(std::move(path), finished));
    return work;
}

Result<void> FileInWork::open_target(std::string path, const FinishedFile& finished) {
    is_new_ = finished.segments.empty();
    parts_ = finished.segments;
    const int fd = calls_.open(path, O_RDWR | (is_new_ ? O_CREAT | O_TRUNC : 0), 0600);
    if (fd < 0) {
        return writing_failed("made", path, -fd);
    }
    const auto written = std::make_shared<WrittenFile>();
    written->fd = io::UniqueFd(fd);
    written->name = std::move(path);
    written_ = written;
    const int answer = is_new_ ? calls_.resize(fd, file_->size()) : 0;
    return answer < 0 ? Result<void>(writing_failed("made", written_->name, -answer)) : Result<void>();
}

/// A crash of the machine may have left anything where nothing was recorded. False where the file system makes none.
Result<bool> FileInWork::make_hole(const ByteRange& range) {
    if (is_new_) {
        return true;
    }
    const int answer = calls_.punch(written_->fd.get(), range.begin, range.nbytes());
    if (answer < 0 && answer != -EOPNOTSUPP && answer != -ENOSYS) {
        return writing_failed("emptied", written_->name, -answer);
    }
    return answer == 0;
}

Result<std::vector<ChecksumPart>> FileInWork::copy(std::uint64_t segment, SegmentCopier& copier) {
    const ByteRange range = segments_.range(segment);
    CKPTFS_ASSIGN(const bool is_hole, make_hole(range));
    const CopyTarget target{written_->fd.get(), written_->name, is_hole, system_copies_};
    CKPTFS_ASSIGN(auto parts, copier.copy(*file_, planner_, records_, range, target));
    const std::lock_guard lock(mutex_);
    parts_[segment] = parts;
    return parts;
}

Result<void> FileInWork::fill_in(std::uint64_t offset, std::uint32_t crc32) const {
    std::array<std::byte, pt::checksum_nbytes> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes.at(i) = static_cast<std::byte>(crc32 >> (8 * i));
    }
    return write_all(calls_, written_->fd.get(), written_->name, bytes, offset);
}

Result<void> FileInWork::complete() {
    const std::lock_guard lock(mutex_);
    CKPTFS_ASSIGN(const auto joined, joined_checksums(records_, parts_, segments_));
    for (std::size_t i = 0; i < records_.size(); ++i) {
        CKPTFS_TRY(fill_in(records_[i].local_offset, joined[i]));
        CKPTFS_TRY(fill_in(records_[i].directory_offset, joined[i]));
    }
    const mode_t mode = (info_.mode & permission_bits) | S_IRUSR | S_IWUSR;
    const int answer = calls_.set_attributes(written_->fd.get(), mode, info_.atime_ns, info_.stamp.mtime_ns);
    return answer < 0 ? Result<void>(writing_failed("given its mode and times", written_->name, -answer))
                      : Result<void>();
}

}  // namespace ckptfs::exporting
