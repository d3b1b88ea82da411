// Compares the same elements gathered from two places, a block at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"

namespace ckptfs::verify {

/// What comparing found. `view_error` where the view's side could not be read although the source's could.
struct Comparison {
    std::optional<std::uint64_t> first_difference;  ///< an element's index
    std::optional<Error> view_error;
};

/// Byte for byte, which no hash surpasses, and tells which element differs. Two buffers of block_nbytes, whatever is
/// compared.
class BlockComparer {
 public:
    static constexpr std::size_t block_nbytes = std::size_t{4} << 20;

    /// Appends the pieces of elements [from_numel, from_numel + count_numel).
    using Gather = std::function<void(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out)>;

    BlockComparer() : source_block_(block_nbytes), view_block_(block_nbytes) {}

    /// Fails where the source cannot be read.
    Result<Comparison> compare(const Gather& source, const Gather& view, std::uint64_t numel, std::uint64_t itemsize);

    /// The number of bytes that compare() has read of one side.
    [[nodiscard]] std::uint64_t compared_nbytes() const { return compared_nbytes_; }

 private:
    std::vector<std::byte> source_block_;
    std::vector<std::byte> view_block_;
    std::uint64_t compared_nbytes_ = 0;
};

}  // namespace ckptfs::verify
