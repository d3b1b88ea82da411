// A tree without some of its entries, and with other text in some files: what is shown of one tag of several.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs::exporting {

struct Trimming {
    std::set<std::string> hidden;        ///< paths of entries that are not listed, nor links that lead to them
    std::set<std::string> without_view;  ///< directories that list no file whose name is_of_view
    std::function<bool(std::string_view name)> is_of_view = nullptr;
    struct Text {
        std::string text;
        std::int64_t mtime_ns = 0;  ///< since the epoch
    };
    std::map<std::string, Text> texts;  ///< by path: the bytes of a file, if it is listed
};

/// For walks from the root: what is hidden is not listed, and is there all the same for who asks for its path. Safe for
/// concurrent use as far as `inner` is.
class TrimmedTree final : public Source {
 public:
    TrimmedTree(std::shared_ptr<const Source> inner, Trimming trimming);

    [[nodiscard]] std::string display(std::string_view path) const override;
    void refresh() const override;
    void release_unused() const override;
    Result<FileInfo> stat(const std::string& path) const override;
    Result<FileInfo> stat_target(const std::string& path) const override;
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override;
    Result<std::string> read_link(const std::string& path) const override;
    Result<std::string> resolve(const std::string& path) const override;
    Result<std::shared_ptr<const File>> open(const std::string& path) const override;

 private:
    [[nodiscard]] bool is_hidden(const std::string& path, FileType type) const;

    std::shared_ptr<const Source> inner_;
    Trimming trimming_;
};

}  // namespace ckptfs::exporting
