// A new .pt made from nothing.
#include "pt/archive_builder.h"

#include <utility>

namespace ckptfs::pt {
namespace {

constexpr int pickle_protocol = 2;

}  // namespace

ArchiveBuilder::ArchiveBuilder() : ArchiveWriter(pickle::Tree::of_none(pickle_protocol), nullptr, {}) {}

const pickle::Node* ArchiveBuilder::size(const std::vector<std::uint64_t>& sizes) {
    return pickle_.reduce(pickle_.global("torch", "Size"), pickle_.tuple({integers(sizes)}));
}

Result<std::shared_ptr<const VirtualFile>> ArchiveBuilder::lay_out(const pickle::Node* root,
                                                                   const std::string& file_name,
                                                                   std::shared_ptr<const void> owner) {
    CKPTFS_TRY(begin_layout(file_name));
    pickle_.replace(pickle_.root(), root);
    CKPTFS_ASSIGN(const Emitted emitted, emit());
    return lay_out_in(Frame::of_torch_save(), root_name_of(file_name), file_name, emitted, std::move(owner));
}

}  // namespace ckptfs::pt
