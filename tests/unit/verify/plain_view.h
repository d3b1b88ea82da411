// A view made of whatever files a test has.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ckptfs/view.h"

namespace ckptfs::verify {

/// Files as a view, each under its own name unless another is given.
class PlainView final : public View {
 public:
    void add(std::shared_ptr<const File> file, const std::string& path = "") {
        paths_.push_back(path.empty() ? file->name() : path);
        files_.push_back(std::move(file));
    }

    [[nodiscard]] std::size_t file_count() const override { return files_.size(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override { return paths_[index]; }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view file_name) const override {
        for (std::size_t index = 0; index < files_.size(); ++index) {
            if (paths_[index] == file_name) {
                return index;
            }
        }
        return std::nullopt;
    }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override { return files_[index]->size(); }
    [[nodiscard]] FileInfo file_info(std::size_t index) const override {
        FileInfo info;
        info.type = FileType::regular;
        info.mode = 0444;
        info.stamp.inode = index + 1;
        return info;
    }
    [[nodiscard]] bool read_once(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override { return files_[index]; }

 private:
    std::vector<std::string> paths_;
    std::vector<std::shared_ptr<const File>> files_;
};

}  // namespace ckptfs::verify
