// Gathering and comparing blocks.
#include "verify/block_comparer.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "util/parallel.h"
#include "verify/plain_conversion.h"
#include "verify/read_pieces.h"

namespace ckptfs::verify {
namespace {

/// Of more, memory and not the processors would be what there is too little of.
constexpr std::size_t most_threads = 16;

/// The index of the first element that is not the same, where any NaN is the same as any other.
std::optional<std::uint64_t> first_difference(model::DType dtype, std::span<const std::byte> expected,
                                              std::span<const std::byte> found) {
    const std::size_t itemsize = model::itemsize(dtype);
    auto from = expected.begin();
    while (true) {
        from = std::mismatch(from, expected.end(), found.begin() + (from - expected.begin())).first;
        if (from == expected.end()) {
            return std::nullopt;
        }
        const std::size_t index = static_cast<std::size_t>(from - expected.begin()) / itemsize;
        const std::size_t byte = index * itemsize;
        if (!is_nan(dtype, expected.subspan(byte, itemsize)) || !is_nan(dtype, found.subspan(byte, itemsize))) {
            return index;
        }
        from = expected.begin() + static_cast<std::ptrdiff_t>(byte + itemsize);
    }
}

/// An error in the second place: of the view's side.
Result<std::optional<Error>> read(const BlockComparer::Gather& source, std::span<std::byte> source_bytes,
                                  const BlockComparer::Gather& view, std::span<std::byte> view_bytes,
                                  std::uint64_t from_numel, std::uint64_t count_numel) {
    PieceList source_pieces;
    source(from_numel, count_numel, source_pieces);
    CKPTFS_TRY(read_pieces(source_pieces, source_bytes));
    PieceList view_pieces;
    view(from_numel, count_numel, view_pieces);
    if (const auto result = read_pieces(view_pieces, view_bytes); !result) {
        return std::optional(result.error());
    }
    return std::optional<Error>();
}

}  // namespace

BlockComparer::BlockComparer() : threads_(threads_for_processors(most_threads)) {}

std::unique_ptr<BlockComparer::Buffers> BlockComparer::take_buffers() {
    {
        const std::lock_guard lock(mutex_);
        if (!buffers_.empty()) {
            auto taken = std::move(buffers_.back());
            buffers_.pop_back();
            return taken;
        }
    }
    return std::make_unique<Buffers>();
}

/// The first block that is not right, or cannot be read, decides.
Result<Comparison> BlockComparer::in_blocks(std::uint64_t numel, std::uint64_t block_numel, const CheckBlock& check) {
    std::size_t decided = std::numeric_limits<std::size_t>::max();
    Result<Comparison> decision = Comparison{};
    const std::uint64_t blocks = numel / block_numel + (numel % block_numel == 0 ? 0 : 1);
    for_each_in_parallel(blocks, threads_, [&](std::size_t number) {
        const std::uint64_t from = number * block_numel;
        auto buffers = take_buffers();
        auto result = check(*buffers, from, std::min(block_numel, numel - from));
        const bool is_right = result && !result->first_difference && !result->view_error;
        const std::lock_guard lock(mutex_);
        buffers_.push_back(std::move(buffers));
        if (!is_right && number < decided) {
            decided = number;
            decision = std::move(result);
        }
        return is_right;
    });
    return decision;
}

Result<Comparison> BlockComparer::compare(const Gather& source, const Gather& view, std::uint64_t numel,
                                          std::uint64_t itemsize) {
    return in_blocks(numel, block_nbytes / itemsize,
                     [&](Buffers& buffers, std::uint64_t from, std::uint64_t count) -> Result<Comparison> {
                         const auto source_bytes = std::span(buffers.source).first(count * itemsize);
                         const auto view_bytes = std::span(buffers.view).first(count * itemsize);
                         CKPTFS_ASSIGN(const auto view_error,
                                       read(source, source_bytes, view, view_bytes, from, count));
                         if (view_error) {
                             return Comparison{.first_difference = std::nullopt, .view_error = view_error};
                         }
                         compared_nbytes_ += source_bytes.size();
                         const auto [mismatch, in_view] =
                             std::mismatch(source_bytes.begin(), source_bytes.end(), view_bytes.begin());
                         if (mismatch != source_bytes.end()) {
                             const auto byte = static_cast<std::uint64_t>(mismatch - source_bytes.begin());
                             return Comparison{.first_difference = from + byte / itemsize, .view_error = std::nullopt};
                         }
                         return Comparison{};
                     });
}

Result<Comparison> BlockComparer::compare_converted(const Side& source, const Side& view, std::uint64_t numel) {
    if (!is_plainly_convertible(source.dtype, view.dtype)) {
        return Error(ErrorCode::unsupported, "elements of " + std::string(model::name(source.dtype)) +
                                                 " cannot be compared with elements of " +
                                                 std::string(model::name(view.dtype)));
    }
    const std::uint64_t source_itemsize = model::itemsize(source.dtype);
    const std::uint64_t view_itemsize = model::itemsize(view.dtype);
    return in_blocks(numel, block_nbytes / std::max(source_itemsize, view_itemsize),
                     [&](Buffers& buffers, std::uint64_t from, std::uint64_t count) -> Result<Comparison> {
                         buffers.converted.resize(block_nbytes);
                         const auto source_bytes = std::span(buffers.source).first(count * source_itemsize);
                         const auto view_bytes = std::span(buffers.view).first(count * view_itemsize);
                         const auto expected = std::span(buffers.converted).first(count * view_itemsize);
                         CKPTFS_ASSIGN(const auto view_error,
                                       read(source.gather, source_bytes, view.gather, view_bytes, from, count));
                         if (view_error) {
                             return Comparison{.first_difference = std::nullopt, .view_error = view_error};
                         }
                         compared_nbytes_ += source_bytes.size();
                         convert_plainly(source.dtype, source_bytes, view.dtype, expected);
                         if (const auto differs = first_difference(view.dtype, expected, view_bytes)) {
                             return Comparison{.first_difference = from + *differs, .view_error = std::nullopt};
                         }
                         return Comparison{};
                     });
}

}  // namespace ckptfs::verify
