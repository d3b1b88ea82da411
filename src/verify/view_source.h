// A view's files as a Source, so that what the view shows can be read as if it were a checkpoint on disk.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "zero/written.h"

namespace ckptfs::verify {

/// One flat directory: the view's files, and those of `source` that pass through beside them. Safe for concurrent use.
class ViewSource final : public Source {
 public:
    /// `name`: stands before the file names in messages.
    ViewSource(std::shared_ptr<const View> view, const zero::Written& source, std::string name);

    [[nodiscard]] std::string display(std::string_view path) const override;
    Result<FileInfo> stat(const std::string& path) const override;
    Result<FileInfo> stat_target(const std::string& path) const override;
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override;
    Result<std::string> read_link(const std::string& path) const override;
    Result<std::string> resolve(const std::string& path) const override;
    Result<std::shared_ptr<const File>> open(const std::string& path) const override;

 private:
    [[nodiscard]] Error absent(std::string_view path) const;

    std::shared_ptr<const View> view_;
    std::map<std::string, const zero::RankFile*> passed_through_;
    std::string name_;
};

}  // namespace ckptfs::verify
