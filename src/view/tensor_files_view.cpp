// Sizes are computed once, files are built when they are opened.
#include "view/tensor_files_view.h"

#include <utility>

namespace ckptfs::view {

TensorFilesView::TensorFilesView(std::vector<TensorFile> files, std::shared_ptr<const void> owner, FileInfo info,
                                 std::shared_ptr<FileCache> cache)
    : files_(std::move(files)), owner_(std::move(owner)), info_(info), cache_(std::move(cache)), sizes_(files_.size()) {
    for (std::size_t index = 0; index < files_.size(); ++index) {
        by_name_.emplace(files_[index].name, index);
        sizes_[index] = unknown_size;
    }
}

TensorFilesView::~TensorFilesView() {
    cache_->forget(this);
}

std::optional<std::size_t> TensorFilesView::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}

Result<std::uint64_t> TensorFilesView::file_size(std::size_t index) const {
    if (const std::uint64_t known = sizes_[index]; known != unknown_size) {
        return known;
    }
    CKPTFS_ASSIGN(const std::uint64_t size, size_of(files_[index]));
    sizes_[index] = size;
    return size;
}

Result<std::shared_ptr<const File>> TensorFilesView::open(std::size_t index) const {
    if (auto cached = cache_->find(this, index)) {
        return cached;
    }
    CKPTFS_ASSIGN(BuiltFile built, build(files_[index], owner_));
    return cache_->insert(this, index, std::move(built.file), built.memory_nbytes);
}

}  // namespace ckptfs::view
