// A view whose files hold named tensors: weights, states.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/view.h"
#include "view/file_cache.h"
#include "view/tensor_file.h"

namespace ckptfs::view {

/// Its files stand in one directory. Safe for concurrent use.
class TensorFilesView final : public View {
 public:
    /// `owner` keeps the files behind the tensors. `info`: of every file.
    TensorFilesView(std::vector<TensorFile> files, std::shared_ptr<const void> owner, FileInfo info,
                    std::shared_ptr<FileCache> cache);
    ~TensorFilesView() override;

    [[nodiscard]] std::size_t file_count() const override { return files_.size(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override { return files_[index].name; }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const override;
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override;
    [[nodiscard]] FileInfo file_info(std::size_t /*index*/) const override { return info_; }
    [[nodiscard]] bool read_once(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override;

 private:
    static constexpr std::uint64_t unknown_size = ~std::uint64_t{0};

    std::vector<TensorFile> files_;
    std::unordered_map<std::string_view, std::size_t> by_name_;
    std::shared_ptr<const void> owner_;
    FileInfo info_;
    std::shared_ptr<FileCache> cache_;
    mutable std::vector<std::atomic<std::uint64_t>> sizes_;
};

}  // namespace ckptfs::view
