// A new .pt made by editing another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pt/archive_writer.h"

namespace ckptfs::pt {

/// A new .pt made by editing another's tree. Storages that are kept point at their records, new ones at pieces.
/// Not thread-safe; make one per file.
class ArchiveEditor final : public ArchiveWriter {
 public:
    /// `base`: the tree, and the small records around it. `places`: for each of base.storages(), where its bytes lie
    /// instead (another rank's file of the same structure); empty: in base's own file.
    explicit ArchiveEditor(std::shared_ptr<const Archive> base, RecordPlaces places = {});

    using ArchiveWriter::tensor;
    /// A contiguous tensor over elements [offset_numel, …) of a new storage, in the form (parameter, subclass,
    /// requires_grad, hooks) that `like` has. Hooks and attribute dicts are its own, not shared with `like`.
    const pickle::Node* tensor(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel,
                               const std::vector<std::uint64_t>& sizes);
    /// The same with `like`'s sizes and strides, whatever they are.
    const pickle::Node* tensor_view(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel);

    /// Numbers the storages in order of first appearance, writes the pickle, lays everything out as torch.save does.
    /// `file_name`: its stem becomes the archive's root directory, as in torch.save (unless the base's root is
    /// "archive"). Where nothing was edited and no places were given: the base's own file, byte for byte.
    /// `owner` keeps the files behind all pieces alive; the base's own file is kept in any case. Call it once.
    Result<std::shared_ptr<const VirtualFile>> lay_out(const std::string& file_name, std::shared_ptr<const void> owner);

 private:
    const pickle::Node* make_tensor(const TensorRef& like, std::size_t storage, std::uint64_t offset_numel,
                                    const std::vector<std::uint64_t>& sizes, const std::vector<std::int64_t>& strides);
    const pickle::Node* storage_id_like(const TensorRef& like, std::size_t storage);
    const pickle::Node* rewrap(const pickle::Node* object, const pickle::Node* rebuild, const pickle::Node* arguments);
    const pickle::Node* own_copy(const pickle::Node* node);
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> as_base(const std::string& file_name,
                                                                     std::shared_ptr<const void> owner) const;
    [[nodiscard]] Result<bool> is_as_in_base(const Emitted& emitted) const;

    std::shared_ptr<const Archive> base_;
};

}  // namespace ckptfs::pt
