// Elements of one floating-point type as another, as `tensor.to(dtype)` gives them: to the nearest, ties to even. A NaN
// stays a NaN, whose other bits are nobody's promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "model/elements.h"

namespace ckptfs::model {

/// float32, bfloat16, float16 and float64, and the types of eight bits.
[[nodiscard]] bool is_floating_point(DType dtype);

/// Whether convert() knows the way: from float32, bfloat16, float16, float64, whole numbers (the signed ones and uint8)
/// or truth values to one of the first three.
[[nodiscard]] bool is_convertible(DType from, DType to);

enum class Instructions : std::uint8_t {
    portable,  ///< those that every processor of the architecture has
    all,       ///< those that this one has
};

/// All of `in` to `out`, which has room for just as many elements. They do not overlap; is_convertible() holds.
void convert(DType from, std::span<const std::byte> in, DType to, std::span<std::byte> out,
             Instructions instructions = Instructions::all);

/// The bytes of another file, which is a sequence of elements, converted block by block as they are read. Nothing is
/// kept, and a read takes no memory from the heap.
class ConvertedFile final : public File {
 public:
    /// `unsupported` where is_convertible() does not hold, `internal` where the size of `source` is no number of
    /// elements.
    static Result<std::shared_ptr<const ConvertedFile>> create(std::shared_ptr<const File> source, DType from,
                                                               DType to);

    [[nodiscard]] const std::string& name() const override { return source_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] std::vector<std::string> source_names() const override { return source_->source_names(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override;
    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const override;
    Result<void> check() const override { return source_->check(); }
    void add_origins(std::vector<const File*>& out) const override { source_->add_origins(out); }
    /// Zero bytes are zeros of every type.
    Result<FileRun> run_at(std::uint64_t offset) const override;

 private:
    ConvertedFile(std::shared_ptr<const File> source, DType from, DType to);

    std::shared_ptr<const File> source_;
    std::uint64_t size_;
    DType from_;
    DType to_;
};

/// What pieces point to beyond the files of a checkpoint: whoever has the pieces has to keep it.
struct Keepers {
    std::vector<std::shared_ptr<const File>> files;
    std::uint64_t nbytes = 0;  ///< of memory that the files hold
};

/// Appends pieces of `elements` as `dtype`: its own, or those of a ConvertedFile that goes to `keepers`. `name` is the
/// tensor's, for messages. The files behind `elements` have to outlive the pieces.
Result<void> append_as(const Elements& elements, DType dtype, const std::string& name, PieceList& out,
                       Keepers& keepers);

}  // namespace ckptfs::model
