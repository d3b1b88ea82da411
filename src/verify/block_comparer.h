// Compares the same elements gathered from two places, a block at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "model/dtype.h"

namespace ckptfs::verify {

/// What comparing found. `view_error` where the view's side could not be read although the source's could.
struct Comparison {
    std::optional<std::uint64_t> first_difference;  ///< an element's index
    std::optional<Error> view_error;
};

/// Byte for byte, which no hash surpasses, and tells which element differs. It holds two or three buffers of
/// block_nbytes, however large the tensors are.
class BlockComparer {
 public:
    static constexpr std::size_t block_nbytes = std::size_t{4} << 20;

    /// Appends the pieces of elements [from_numel, from_numel + count_numel).
    using Gather = std::function<void(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out)>;

    /// Elements of one type.
    struct Side {
        model::DType dtype;
        const Gather& gather;
    };

    BlockComparer() : source_block_(block_nbytes), view_block_(block_nbytes) {}

    /// Fails where the source cannot be read.
    Result<Comparison> compare(const Gather& source, const Gather& view, std::uint64_t numel, std::uint64_t itemsize);

    /// The same where the view shows elements of another type than the source's: they must be what convert_plainly()
    /// makes of the source's, except that a NaN may be any NaN. `unsupported` where it cannot make any.
    Result<Comparison> compare_converted(const Side& source, const Side& view, std::uint64_t numel);

    /// The number of bytes that compare() has read of one side.
    [[nodiscard]] std::uint64_t compared_nbytes() const { return compared_nbytes_; }

 private:
    Result<std::optional<Error>> read(const Gather& source, std::span<std::byte> source_bytes, const Gather& view,
                                      std::span<std::byte> view_bytes, std::uint64_t from_numel,
                                      std::uint64_t count_numel);

    std::vector<std::byte> source_block_;
    std::vector<std::byte> view_block_;
    std::vector<std::byte> converted_block_;
    std::uint64_t compared_nbytes_ = 0;
};

}  // namespace ckptfs::verify
