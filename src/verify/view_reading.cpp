// By libtorch first, file by file; then, block by block, what it has not read.
#include "verify/view_reading.h"

#include <algorithm>
#include <map>
#include <utility>

#include "util/first_failure.h"
#include "util/parallel.h"
#include "util/text.h"
#include "verify/element_differences.h"
#include "verify/plain_conversion.h"
#include "verify/seen_bytes.h"

namespace ckptfs::verify {
namespace {

/// Of more, memory and not the processors would be what there is too little of.
constexpr std::size_t most_readers = 16;

Error wrong_size(std::uint64_t found, std::uint64_t expected) {
    return {ErrorCode::internal,
            "the pieces of a block hold " + std::to_string(found) + " bytes instead of " + std::to_string(expected)};
}

Error literal_bytes() {
    return {ErrorCode::internal, "elements of a tensor are literal bytes"};
}

}  // namespace

/// Elements that are side by side in the source too.
struct ViewReading::Item {
    const File* file = nullptr;  ///< nullptr: zeros
    std::uint64_t offset = 0;
    std::uint64_t nbytes = 0;
    const std::byte* view = nullptr;
    std::size_t tensor = 0;
    std::uint64_t first_numel = 0;
    std::uint64_t numel = 0;
    std::size_t at = 0;  ///< of its bytes in Buffers::source
};

struct ViewReading::Buffers {
    std::vector<std::byte> source;
    std::vector<std::byte> view;
    std::vector<std::byte> converted;
    std::vector<Item> items;
};

/// Of one file that libtorch reads.
class ViewReading::FileProgress {
 public:
    FileProgress(ViewReading& reading, const FileSegments& of, Buffers& buffers)
        : reading_(reading), of_(of), buffers_(buffers) {}

    /// The file's bytes from `offset` on.
    Result<void> see(std::uint64_t offset, std::span<const std::byte> bytes) {
        seen_.add(offset, offset + bytes.size());
        while (!bytes.empty()) {
            const auto block = bytes.first(std::min<std::size_t>(block_nbytes, bytes.size()));
            if (auto compared = see_block(offset, block); !compared) {
                failure_ = compared;
                return compared;
            }
            offset += block.size();
            bytes = bytes.subspan(block.size());
        }
        return {};
    }

    /// Why the source could not be read.
    [[nodiscard]] const Result<void>& failure() const { return failure_; }

    /// What is to be read yet.
    [[nodiscard]] std::vector<Segment> left() const {
        std::vector<Segment> left = left_;
        for (const Segment& segment : of_.segments) {
            const std::uint64_t itemsize = reading_.view_itemsize(segment);
            seen_.for_each_gap(segment.offset, reading_.end_of(segment), [&](std::uint64_t from, std::uint64_t to) {
                const std::uint64_t first = (from - segment.offset) / itemsize;
                const std::uint64_t end = (to - segment.offset + itemsize - 1) / itemsize;
                left.push_back(part_of(segment, itemsize, first, end - first));
            });
        }
        return left;
    }

    static Segment part_of(const Segment& segment, std::uint64_t itemsize, std::uint64_t first, std::uint64_t numel) {
        return {segment.offset + first * itemsize, segment.first_numel + first, numel, segment.tensor};
    }

 private:
    Result<void> see_block(std::uint64_t offset, std::span<const std::byte> bytes) {
        const std::uint64_t end = offset + bytes.size();
        const auto reaches = std::upper_bound(of_.ends.begin(), of_.ends.end(), offset);
        std::vector<Segment> parts;
        for (auto segment = of_.segments.begin() + (reaches - of_.ends.begin());
             segment != of_.segments.end() && segment->offset < end; ++segment) {
            const std::uint64_t itemsize = reading_.view_itemsize(*segment);
            const std::uint64_t from = std::max(offset, segment->offset) - segment->offset;
            const std::uint64_t to = std::min(end, std::max(offset, reading_.end_of(*segment))) - segment->offset;
            const std::uint64_t first = (from + itemsize - 1) / itemsize;
            if (first < to / itemsize) {
                parts.push_back(part_of(*segment, itemsize, first, to / itemsize - first));
            }
            if (from < to && to % itemsize != 0) {
                left_.push_back(part_of(*segment, itemsize, to / itemsize, 1));  // its end is in the next block
            }
        }
        return reading_.compare(parts, offset, bytes, buffers_);
    }

    ViewReading& reading_;
    const FileSegments& of_;
    Buffers& buffers_;
    SeenBytes seen_;
    std::vector<Segment> left_;
    Result<void> failure_;
};

ViewReading::ViewReading(const TorchReader& read_with_torch, PassedBytes passed)
    : read_with_torch_(read_with_torch), passed_(std::move(passed)) {}

ViewReading::~ViewReading() = default;

std::uint64_t ViewReading::view_itemsize(const Segment& segment) const {
    return model::itemsize(tensors_[segment.tensor].expected.view_dtype);
}

std::uint64_t ViewReading::end_of(const Segment& segment) const {
    return segment.offset + segment.numel * view_itemsize(segment);
}

std::unique_ptr<ViewReading::Buffers> ViewReading::take_buffers() {
    const std::lock_guard lock(mutex_);
    if (buffers_.empty()) {
        return std::make_unique<Buffers>();
    }
    auto taken = std::move(buffers_.back());
    buffers_.pop_back();
    return taken;
}

void ViewReading::give_back(std::unique_ptr<Buffers> buffers) {
    const std::lock_guard lock(mutex_);
    buffers_.push_back(std::move(buffers));
}

Result<void> ViewReading::expect(ExpectedElements tensor, const PieceList& view) {
    if (tensor.source_dtype != tensor.view_dtype && !is_plainly_convertible(tensor.source_dtype, tensor.view_dtype)) {
        return Error(ErrorCode::unsupported, "elements of " + std::string(model::name(tensor.source_dtype)) +
                                                 " cannot be compared with elements of " +
                                                 std::string(model::name(tensor.view_dtype)));
    }
    const std::uint64_t itemsize = model::itemsize(tensor.view_dtype);
    const std::uint64_t nbytes = tensor.numel * itemsize;
    const std::size_t index = tensors_.size();
    tensors_.emplace_back().expected = std::move(tensor);
    if (view.nbytes() != nbytes) {
        decide(index, 0, wrong_size(view.nbytes(), nbytes));
        return {};
    }
    std::uint64_t numel = 0;
    for (const Piece piece : view.pieces()) {
        if (piece.kind == Piece::Kind::literal || piece.length % itemsize != 0) {
            decide(index, numel, literal_bytes());
            return {};
        }
        const bool is_zeros = piece.kind == Piece::Kind::zeros;
        std::vector<Segment>& segments = segments_[is_zeros ? nullptr : piece.file];
        // Zeros lie nowhere: one behind the other.
        const std::uint64_t offset = !is_zeros ? piece.offset : segments.empty() ? 0 : end_of(segments.back());
        segments.push_back({offset, numel, piece.length / itemsize, index});
        numel += piece.length / itemsize;
    }
    return {};
}

ViewReading::FileSegments ViewReading::take_segments(const File* file) {
    FileSegments of{file, {}, {}};
    if (const auto known = segments_.find(file); known != segments_.end()) {
        of.segments = std::move(known->second);
        segments_.erase(known);
    }
    std::stable_sort(of.segments.begin(), of.segments.end(),
                     [](const Segment& a, const Segment& b) { return a.offset < b.offset; });
    std::uint64_t end = 0;
    of.ends.reserve(of.segments.size());
    for (const Segment& segment : of.segments) {
        end = std::max(end, end_of(segment));
        of.ends.push_back(end);
    }
    return of;
}

Result<void> ViewReading::read(std::vector<ViewFile>& files) {
    const std::size_t threads = threads_for_processors(most_readers);
    std::vector<FileSegments> all;
    std::vector<std::size_t> by_torch;
    for (std::size_t index = 0; index < files.size(); ++index) {
        all.push_back(take_segments(files[index].file.get()));
        if (files[index].by_torch) {
            by_torch.push_back(index);
        }
    }
    while (!segments_.empty()) {
        all.push_back(take_segments(segments_.begin()->first));
    }
    std::vector<std::optional<std::vector<Segment>>> left(all.size());
    FirstFailure failure;
    for_each_in_parallel(by_torch.size(), threads, [&](std::size_t number) {
        const std::size_t index = by_torch[number];
        auto buffers = take_buffers();
        FileProgress progress(*this, all[index], *buffers);
        files[index].records =
            SecondReader(read_with_torch_).check(*files[index].file, [&](std::uint64_t offset, const auto& bytes) {
                return progress.see(offset, bytes);
            });
        left[index] = progress.left();
        give_back(std::move(buffers));
        const auto& records = files[index].records;
        const bool is_of_world = !records && is_of_the_world(records.error());
        return failure.note(index, progress.failure()) &&
               failure.note(index, is_of_world ? Result<void>(records.error()) : Result<void>());
    });
    CKPTFS_TRY(failure.result());
    std::vector<Block> blocks;
    for (std::size_t index = 0; index < all.size(); ++index) {
        add_blocks(all[index].file, left[index] ? *left[index] : all[index].segments, blocks);
    }
    for_each_in_parallel(blocks.size(), threads, [&](std::size_t index) {
        auto buffers = take_buffers();
        const auto result = read_block(blocks[index], *buffers);
        give_back(std::move(buffers));
        return failure.note(index, result);
    });
    return failure.result();
}

/// Cut at the same places of the file, so that segments of the same bytes come into the same block.
void ViewReading::add_blocks(const File* file, const std::vector<Segment>& segments, std::vector<Block>& out) const {
    std::map<std::uint64_t, std::vector<Segment>> by_number;
    for (const Segment& segment : segments) {
        const std::uint64_t itemsize = view_itemsize(segment);
        for (std::uint64_t done = 0; done < segment.numel;) {
            const std::uint64_t offset = segment.offset + done * itemsize;
            const std::uint64_t number = offset / block_nbytes;
            const std::uint64_t fitting = ((number + 1) * block_nbytes - offset) / itemsize;
            const std::uint64_t numel = std::min(segment.numel - done, std::max<std::uint64_t>(1, fitting));
            by_number[number].push_back(FileProgress::part_of(segment, itemsize, done, numel));
            done += numel;
        }
    }
    for (auto& [number, parts] : by_number) {
        std::stable_sort(parts.begin(), parts.end(),
                         [](const Segment& a, const Segment& b) { return a.offset < b.offset; });
        out.push_back({file, std::move(parts)});
    }
}

Result<void> ViewReading::read_block(const Block& block, Buffers& buffers) {
    const std::vector<Segment>& segments = block.segments;
    const std::uint64_t begin = segments.front().offset;
    std::uint64_t end = begin;
    for (const Segment& segment : segments) {
        end = std::max(end, end_of(segment));
    }
    buffers.view.assign(end - begin, std::byte{0});
    const auto read_run = [&](std::uint64_t from, std::uint64_t to) -> Result<void> {
        return block.file == nullptr ? Result<void>()
                                     : block.file->read(from, std::span(buffers.view).subspan(from - begin, to - from));
    };
    const auto read_all = [&]() -> Result<void> {
        for (std::size_t first = 0; first < segments.size();) {
            std::uint64_t run_end = end_of(segments[first]);
            std::size_t next = first + 1;
            for (; next < segments.size() && segments[next].offset <= run_end; ++next) {
                run_end = std::max(run_end, end_of(segments[next]));
            }
            CKPTFS_TRY(read_run(segments[first].offset, run_end));
            first = next;
        }
        return {};
    };
    if (read_all()) {
        return compare(segments, begin, buffers.view, buffers);
    }
    // Which ones cannot be read is seen one by one.
    std::vector<Segment> readable;
    for (const Segment& segment : segments) {
        auto result = read_run(segment.offset, end_of(segment));
        if (result) {
            readable.push_back(segment);
        } else if (is_of_the_world(result.error())) {
            return result;
        } else {
            decide(segment.tensor, segment.first_numel, result.error());
        }
    }
    return compare(readable, begin, buffers.view, buffers);
}

/// `view`: the file's bytes from `offset` on, in which `segments` lie.
Result<void> ViewReading::gather(std::span<const Segment> segments, std::uint64_t offset,
                                 std::span<const std::byte> view, Buffers& buffers) const {
    buffers.items.clear();
    for (const Segment& segment : segments) {
        const ExpectedElements& expected = tensors_[segment.tensor].expected;
        const std::uint64_t itemsize = model::itemsize(expected.source_dtype);
        PieceList pieces;
        expected.source(segment.first_numel, segment.numel, pieces);
        if (pieces.nbytes() != segment.numel * itemsize) {
            return wrong_size(pieces.nbytes(), segment.numel * itemsize);
        }
        const std::byte* at = view.data() + (segment.offset - offset);
        std::uint64_t first_numel = segment.first_numel;
        for (const Piece piece : pieces.pieces()) {
            if (piece.kind == Piece::Kind::literal || piece.length % itemsize != 0) {
                return literal_bytes();
            }
            const std::uint64_t numel = piece.length / itemsize;
            const bool is_zeros = piece.kind == Piece::Kind::zeros;
            buffers.items.push_back({.file = is_zeros ? nullptr : piece.file,
                                     .offset = is_zeros ? 0 : piece.offset,
                                     .nbytes = piece.length,
                                     .view = at,
                                     .tensor = segment.tensor,
                                     .first_numel = first_numel,
                                     .numel = numel});
            at += numel * model::itemsize(expected.view_dtype);
            first_numel += numel;
        }
    }
    return {};
}

/// What lies side by side in the source is read at once, and what several tensors need once.
Result<void> ViewReading::compare(std::span<const Segment> segments, std::uint64_t offset,
                                  std::span<const std::byte> view, Buffers& buffers) {
    CKPTFS_TRY(gather(segments, offset, view, buffers));
    std::vector<Item>& items = buffers.items;
    std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
        return a.file != b.file ? std::less<>()(a.file, b.file) : a.offset < b.offset;
    });
    struct Run {
        const File* file;
        std::uint64_t offset;
        std::uint64_t nbytes;
        std::size_t at;
    };
    std::vector<Run> runs;
    std::size_t used = 0;
    for (Item& item : items) {
        const bool goes_on =
            !runs.empty() && runs.back().file == item.file && item.offset <= runs.back().offset + runs.back().nbytes;
        if (!goes_on) {
            runs.push_back({item.file, item.offset, 0, used});
        }
        Run& run = runs.back();
        item.at = run.at + (item.offset - run.offset);
        run.nbytes = std::max(run.nbytes, item.offset + item.nbytes - run.offset);
        used = run.at + run.nbytes;
    }
    if (buffers.source.size() < used) {
        buffers.source.resize(used);
    }
    for (const Run& run : runs) {
        const auto bytes = std::span(buffers.source).subspan(run.at, run.nbytes);
        if (run.file == nullptr) {
            std::fill(bytes.begin(), bytes.end(), std::byte{0});
            continue;
        }
        CKPTFS_TRY(run.file->read(run.offset, bytes));
        if (passed_) {
            passed_(*run.file, run.offset, bytes);
        }
    }
    for (const Item& item : items) {
        compare(item, buffers);
    }
    return {};
}

void ViewReading::compare(const Item& item, Buffers& buffers) {
    const ExpectedElements& of = tensors_[item.tensor].expected;
    const std::uint64_t itemsize = model::itemsize(of.view_dtype);
    const auto source = std::span<const std::byte>(buffers.source).subspan(item.at, item.nbytes);
    const std::span<const std::byte> view(item.view, item.numel * itemsize);
    std::optional<std::uint64_t> differs;
    if (of.source_dtype == of.view_dtype) {
        differs = first_unequal(itemsize, source, view);
    } else {
        buffers.converted.resize(std::max(buffers.converted.size(), view.size()));
        const auto expected = std::span(buffers.converted).first(view.size());
        convert_plainly(of.source_dtype, source, of.view_dtype, expected);
        differs = first_difference(of.view_dtype, expected, view);
    }
    compared_nbytes_ += source.size();
    if (differs) {
        decide(item.tensor, item.first_numel + *differs, std::nullopt);
    }
}

/// The first element that is not right, or cannot be read, decides.
void ViewReading::decide(std::size_t tensor, std::uint64_t numel, std::optional<Error> view_error) {
    const std::lock_guard lock(mutex_);
    Tensor& of = tensors_[tensor];
    if (numel < of.decided_numel) {
        of.decided_numel = numel;
        of.view_error = std::move(view_error);
    }
}

Result<void> ViewReading::report(Problems& problems) const {
    for (const Tensor& tensor : tensors_) {
        if (tensor.view_error) {
            if (is_of_the_world(*tensor.view_error)) {
                return *tensor.view_error;
            }
            problems.add(tensor.expected.what + ": the view cannot be read: " + tensor.view_error->message());
        } else if (tensor.decided_numel != std::numeric_limits<std::uint64_t>::max()) {
            problems.add(tensor.expected.what + ": differs from the source from element " +
                         grouped(tensor.decided_numel) + " of " + grouped(tensor.expected.numel) + " on");
        }
    }
    return {};
}

}  // namespace ckptfs::verify
