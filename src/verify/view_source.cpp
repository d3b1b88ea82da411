// View to Source.
#include "verify/view_source.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "util/text.h"

namespace ckptfs::verify {

ViewSource::ViewSource(std::shared_ptr<const View> view, const zero::Written& source, std::string name)
    : view_(std::move(view)), name_(std::move(name)) {
    for (const zero::Family& family : source.families) {
        for (const zero::RankFile& layer : family.layers.files) {
            passed_through_.emplace(layer.name, &layer);
        }
    }
}

std::string ViewSource::display(std::string_view path) const {
    return path.empty() ? name_ : name_ + "/" + std::string(path);
}

Error ViewSource::absent(std::string_view path) const {
    return {ErrorCode::not_found, in_quotes(display(path)) + ": there is no such file in the view"};
}

Result<FileInfo> ViewSource::stat(const std::string& path) const {
    if (path.empty()) {
        FileInfo directory;
        directory.type = FileType::directory;
        directory.mode = 0555;
        return directory;
    }
    if (const auto layer = passed_through_.find(path); layer != passed_through_.end()) {
        return layer->second->info;
    }
    const auto index = view_->find(path);
    if (!index) {
        return absent(path);
    }
    FileInfo info = view_->file_info(*index);
    CKPTFS_ASSIGN(info.stamp.size, view_->file_size(*index));
    return info;
}

Result<FileInfo> ViewSource::stat_target(const std::string& path) const {
    return stat(path);
}

Result<std::vector<DirectoryEntry>> ViewSource::list(const std::string& path) const {
    if (!path.empty()) {
        return absent(path);
    }
    std::vector<DirectoryEntry> entries;
    entries.reserve(view_->file_count());
    for (std::size_t index = 0; index < view_->file_count(); ++index) {
        entries.push_back({view_->file_name(index), FileType::regular});
    }
    for (const auto& [layer, file] : passed_through_) {
        entries.push_back({layer, FileType::regular});
    }
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return entries;
}

Result<std::string> ViewSource::read_link(const std::string& path) const {
    CKPTFS_TRY(stat(path));
    return Error(ErrorCode::io, in_quotes(display(path)) + " is not a symbolic link", EINVAL);
}

Result<std::string> ViewSource::resolve(const std::string& path) const {
    CKPTFS_TRY(stat(path));
    return path;  // there are no links
}

Result<std::shared_ptr<const File>> ViewSource::open(const std::string& path) const {
    if (path.empty()) {
        return Error(ErrorCode::unsupported, in_quotes(name_) + " is a directory, not a regular file");
    }
    if (const auto layer = passed_through_.find(path); layer != passed_through_.end()) {
        return layer->second->file;
    }
    const auto index = view_->find(path);
    return index ? view_->open(*index) : absent(path);
}

}  // namespace ckptfs::verify
