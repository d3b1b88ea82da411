// Passes everything on, and changes the stamps of what was looked up.
#include "io/without_device.h"

#include <utility>

namespace ckptfs::io {
namespace {

class WithoutDevice final : public Source {
 public:
    WithoutDevice(std::shared_ptr<const Source> inner, std::uint64_t device)
        : inner_(std::move(inner)), device_(device) {}

    [[nodiscard]] std::string display(std::string_view path) const override { return inner_->display(path); }
    void refresh() const override { inner_->refresh(); }
    void release_unused() const override { inner_->release_unused(); }
    void note_rename(const std::string& from, const std::string& to, bool exchanged) const override {
        inner_->note_rename(from, to, exchanged);
    }
    Result<SourceStatistics> statistics() const override { return inner_->statistics(); }
    Result<FileInfo> stat(const std::string& path) const override { return changed(inner_->stat(path)); }
    Result<FileInfo> stat_target(const std::string& path) const override { return changed(inner_->stat_target(path)); }
    Result<std::uint32_t> granted_mode(const std::string& path, const FileInfo& info) const override {
        return inner_->granted_mode(path, info);
    }
    Result<std::vector<FileInfo>> way_to(const std::string& path) const override { return inner_->way_to(path); }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override { return inner_->list(path); }
    Result<std::string> read_link(const std::string& path) const override { return inner_->read_link(path); }
    Result<std::string> resolve(const std::string& path) const override { return inner_->resolve(path); }
    Result<std::shared_ptr<const File>> open(const std::string& path) const override { return inner_->open(path); }

 private:
    [[nodiscard]] Result<FileInfo> changed(Result<FileInfo> info) const {
        if (info && info->stamp.device == device_) {
            info->stamp.device = 0;
        }
        return info;
    }

    std::shared_ptr<const Source> inner_;
    std::uint64_t device_;
};

}  // namespace

Result<std::shared_ptr<const Source>> without_device(std::shared_ptr<const Source> inner) {
    CKPTFS_ASSIGN(const FileInfo root, inner->stat(""));
    return std::shared_ptr<const Source>(std::make_shared<const WithoutDevice>(std::move(inner), root.stamp.device));
}

}  // namespace ckptfs::io
