// Where the elements of a tensor lie: rules that map them to bytes of source files, without reading any.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/source.h"
#include "model/dtype.h"

namespace ckptfs::model {

/// One rank's part of a flat tensor: `numel` elements of `file` from byte `offset` on.
struct Shard {
    const File* file = nullptr;  ///< not owned
    std::uint64_t offset = 0;
    std::uint64_t numel = 0;
};

/// One tensor's place in a flat tensor that is cut over ranks: its element L lies at flat position first_numel + L;
/// flat positions are dealt to the shards in runs of shard_numel, each run starting shard_offset_numel into its shard.
/// One rule for all stages of ZeRO: at 1 and 2 the flat tensor is the group's, at 3 the parameter's own.
struct ElementMap {
    std::span<const Shard> shards;  ///< not owned
    std::uint64_t shard_numel = 0;
    std::uint64_t first_numel = 0;
    std::uint64_t shard_offset_numel = 0;

    /// Appends the pieces of elements [from_numel, from_numel + count_numel). The caller stays inside the tensor.
    void append(std::uint64_t from_numel, std::uint64_t count_numel, std::uint64_t itemsize, PieceList& out) const;
};

/// Contiguous in one file, from byte `offset` on.
struct Contiguous {
    const File* file = nullptr;  ///< not owned
    std::uint64_t offset = 0;
};

struct Zeros {};

struct Joined;
struct Narrowed;

/// The elements of one tensor, in row-major order. A value that is cheap to copy; the files and shards that it points
/// into are kept by whoever made it.
class Elements {
 public:
    using Rule =
        std::variant<Zeros, Contiguous, ElementMap, std::shared_ptr<const Joined>, std::shared_ptr<const Narrowed>>;

    Elements() = default;
    Elements(DType dtype, std::uint64_t numel, Rule rule) : rule_(std::move(rule)), numel_(numel), dtype_(dtype) {}

    [[nodiscard]] DType dtype() const { return dtype_; }
    [[nodiscard]] std::uint64_t numel() const { return numel_; }
    [[nodiscard]] std::uint64_t nbytes() const { return numel_ * itemsize(dtype_); }
    [[nodiscard]] const Rule& rule() const { return rule_; }

    /// Appends the pieces of elements [from_numel, from_numel + count_numel). The caller stays inside the tensor.
    void append(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out) const;
    /// Of all.
    void append(PieceList& out) const { append(0, numel_, out); }

 private:
    Rule rule_;
    std::uint64_t numel_ = 0;
    DType dtype_ = DType::float32;
};

/// Tensors of one dtype side by side along an axis, as tensor parallelism cut them: in each of `rows` (the product of
/// the extents before the axis) first the elements of part 0, then those of part 1, and so on.
struct Joined {
    std::uint64_t rows = 1;
    std::vector<Elements> parts;  ///< the number of elements of each is a multiple of `rows`
};

/// `parts`, at least one, joined along an axis that `rows` rows stand before. The caller has checked that they agree in
/// dtype and in all extents but the axis.
[[nodiscard]] Elements join(std::vector<Elements> parts, std::uint64_t rows);

/// A part of a tensor along an axis: of each row, `row_numel` elements of `whole`, those from `first_numel` on.
struct Narrowed {
    Elements whole;
    std::uint64_t row_numel = 1;
    std::uint64_t first_numel = 0;
    std::uint64_t width_numel = 1;  ///< of a row of the part; first_numel + width_numel is at most row_numel
};

/// Elements [first_numel, first_numel + width_numel) of each of the `rows` rows that `whole` has before an axis.
[[nodiscard]] Elements narrow(Elements whole, std::uint64_t rows, std::uint64_t first_numel, std::uint64_t width_numel);

}  // namespace ckptfs::model
