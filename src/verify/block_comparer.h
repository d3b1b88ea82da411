// Compares the same elements gathered from two places, a block at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
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

/// Byte for byte, which no hash surpasses, and tells which element differs. Blocks are compared by as many threads as
/// there are processors, up to 16; for each of them it holds two or three buffers of block_nbytes, however large the
/// tensors are. One call at a time.
class BlockComparer {
 public:
    static constexpr std::size_t block_nbytes = std::size_t{2} << 20;

    /// Appends the pieces of elements [from_numel, from_numel + count_numel). Called by several threads at a time.
    using Gather = std::function<void(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out)>;

    /// Elements of one type.
    struct Side {
        model::DType dtype;
        const Gather& gather;
    };

    BlockComparer();

    /// Fails where the source cannot be read.
    Result<Comparison> compare(const Gather& source, const Gather& view, std::uint64_t numel, std::uint64_t itemsize);

    /// The same where the view shows elements of another type than the source's: they must be what convert_plainly()
    /// makes of the source's, except that a NaN may be any NaN. `unsupported` where it cannot make any.
    Result<Comparison> compare_converted(const Side& source, const Side& view, std::uint64_t numel);

    /// The number of bytes that compare() has read of one side.
    [[nodiscard]] std::uint64_t compared_nbytes() const { return compared_nbytes_; }

 private:
    /// Of one block.
    struct Buffers {
        std::vector<std::byte> source = std::vector<std::byte>(block_nbytes);
        std::vector<std::byte> view = std::vector<std::byte>(block_nbytes);
        std::vector<std::byte> converted = {};
    };
    using CheckBlock = std::function<Result<Comparison>(Buffers&, std::uint64_t from_numel, std::uint64_t count_numel)>;

    std::unique_ptr<Buffers> take_buffers();
    Result<Comparison> in_blocks(std::uint64_t numel, std::uint64_t block_numel, const CheckBlock& check);

    const std::size_t threads_;
    std::atomic<std::uint64_t> compared_nbytes_ = 0;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Buffers>> buffers_;  // not in use
};

}  // namespace ckptfs::verify
