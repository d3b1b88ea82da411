// Reads files of a view, once each: libtorch's reading of them is the one whose bytes are compared with the source.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "model/dtype.h"
#include "verify/passed_bytes.h"
#include "verify/problems.h"
#include "verify/second_reader.h"

namespace ckptfs::verify {

/// A tensor of a view, and what it must be equal to.
struct ExpectedElements {
    /// Appends the pieces of elements [from_numel, from_numel + count_numel) of the source. Called by several threads.
    using Gather = std::function<void(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out)>;

    std::string what;  ///< for messages
    std::uint64_t numel = 0;
    model::DType source_dtype = model::DType::uint8;
    model::DType view_dtype = model::DType::uint8;
    Gather source;
};

/// Byte for byte, which no hash surpasses, and tells which element differs. Elements of another dtype than the source's
/// must be what convert_plainly() makes of the source's, except that a NaN may be any NaN. One call at a time.
class ViewReading {
 public:
    /// What is compared at a time.
    static constexpr std::uint64_t block_nbytes = std::uint64_t{1} << 20;

    struct ViewFile {
        std::shared_ptr<const File> file;
        bool by_torch = false;
        /// What came of it: how many records libtorch read.
        Result<std::uint64_t> records = std::uint64_t{0};
    };

    /// `read_with_torch` is referred to. `passed` is told what is read of the source.
    ViewReading(const TorchReader& read_with_torch, PassedBytes passed);
    ViewReading(const ViewReading&) = delete;
    ViewReading& operator=(const ViewReading&) = delete;
    ~ViewReading();

    /// From the next read() on: the elements of `tensor` lie in `view`, whose files are kept alive by the caller until
    /// then. `unsupported` where the one dtype cannot be converted to the other.
    Result<void> expect(ExpectedElements tensor, const PieceList& view);

    /// Reads `files`, and of other files what expect() named, by as many threads as there are processors, up to 16,
    /// each with buffers of a few blocks. Where libtorch reads a file, several at a time, its bytes are compared; what
    /// it does not read, or cannot, is read beside it. Fails where the source cannot be read.
    Result<void> read(std::vector<ViewFile>& files);

    /// Adds to `problems` which tensors differ, in the order of expect(). An error that says nothing of the view is
    /// returned.
    Result<void> report(Problems& problems) const;

    [[nodiscard]] std::uint64_t compared_tensors() const { return tensors_.size(); }
    /// Of each side.
    [[nodiscard]] std::uint64_t compared_nbytes() const { return compared_nbytes_; }

 private:
    /// The first element that decides about a tensor.
    struct Tensor {
        ExpectedElements expected;
        std::uint64_t decided_numel = std::numeric_limits<std::uint64_t>::max();
        std::optional<Error> view_error;  ///< else it differs
    };
    /// Elements of a tensor, side by side in a file of the view.
    struct Segment {
        std::uint64_t offset = 0;  ///< bytes, in the view's file
        std::uint64_t first_numel = 0;
        std::uint64_t numel = 0;
        std::size_t tensor = 0;
    };
    struct FileSegments {
        const File* file = nullptr;       ///< nullptr: zeros
        std::vector<Segment> segments;    ///< by offset
        std::vector<std::uint64_t> ends;  ///< ends[i]: the largest end of segments up to i
    };
    /// Segments within a block of a file.
    struct Block {
        const File* file = nullptr;
        std::vector<Segment> segments;
    };
    struct Item;
    struct Buffers;
    class FileProgress;

    [[nodiscard]] std::uint64_t view_itemsize(const Segment& segment) const;
    [[nodiscard]] std::uint64_t end_of(const Segment& segment) const;
    [[nodiscard]] FileSegments take_segments(const File* file);
    void add_blocks(const File* file, const std::vector<Segment>& segments, std::vector<Block>& out) const;
    Result<void> read_block(const Block& block, Buffers& buffers);
    Result<void> compare(std::span<const Segment> segments, std::uint64_t offset, std::span<const std::byte> view,
                         Buffers& buffers);
    Result<void> gather(std::span<const Segment> segments, std::uint64_t offset, std::span<const std::byte> view,
                        Buffers& buffers) const;
    void compare(const Item& item, Buffers& buffers);
    void decide(std::size_t tensor, std::uint64_t numel, std::optional<Error> view_error);
    std::unique_ptr<Buffers> take_buffers();
    void give_back(std::unique_ptr<Buffers> buffers);

    const TorchReader& read_with_torch_;
    const PassedBytes passed_;
    std::vector<Tensor> tensors_;
    std::unordered_map<const File*, std::vector<Segment>> segments_;
    std::atomic<std::uint64_t> compared_nbytes_ = 0;
    std::mutex mutex_;  // of what is decided, and of buffers_
    std::vector<std::unique_ptr<Buffers>> buffers_;
};

}  // namespace ckptfs::verify
