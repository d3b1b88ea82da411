// All but listings and the files with another text is the inner tree's.
#include "export/trimmed_tree.h"

#include <cstring>
#include <utility>

#include "pt/crc32.h"
#include "util/checked.h"
#include "util/path.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

class TextInMemory final : public File {
 public:
    TextInMemory(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return text_.size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (!fits(offset, out.size(), text_.size())) {
            return Error(ErrorCode::invalid_argument, in_quotes(name_) + " has " + counted(text_.size(), "byte"));
        }
        if (!out.empty()) {
            std::memcpy(out.data(), text_.data() + offset, out.size());
        }
        return {};
    }

 private:
    std::string name_;
    std::string text_;
};

}  // namespace

TrimmedTree::TrimmedTree(std::shared_ptr<const Source> inner, Trimming trimming)
    : inner_(std::move(inner)), trimming_(std::move(trimming)) {}

std::string TrimmedTree::display(std::string_view path) const {
    return inner_->display(path);
}

void TrimmedTree::refresh() const {
    inner_->refresh();
}

void TrimmedTree::release_unused() const {
    inner_->release_unused();
}

/// The generation of a text is the text, whatever the file says by now.
Result<FileInfo> TrimmedTree::stat(const std::string& path) const {
    CKPTFS_ASSIGN(FileInfo info, inner_->stat(path));
    if (const auto text = trimming_.texts.find(path); text != trimming_.texts.end()) {
        info.type = FileType::regular;
        info.nlink = 1;
        const auto& [bytes, mtime_ns] = text->second;
        info.stamp = {0, pt::crc32_of(bytes), bytes.size(), mtime_ns, mtime_ns};
    }
    return info;
}

Result<FileInfo> TrimmedTree::stat_target(const std::string& path) const {
    return trimming_.texts.contains(path) ? stat(path) : inner_->stat_target(path);
}

bool TrimmedTree::is_hidden(const std::string& path, FileType type) const {
    if (trimming_.hidden.contains(path)) {
        return true;
    }
    if (type != FileType::symlink) {
        return false;
    }
    const auto target = inner_->resolve(path);  // a link that leads nowhere is shown as such
    return target.ok() && trimming_.hidden.contains(*target);
}

Result<std::vector<DirectoryEntry>> TrimmedTree::list(const std::string& path) const {
    CKPTFS_ASSIGN(auto entries, inner_->list(path));
    std::erase_if(entries,
                  [&](const DirectoryEntry& entry) { return is_hidden(join_path(path, entry.name), entry.type); });
    if (trimming_.is_of_view && trimming_.without_view.contains(path)) {
        std::erase_if(entries, [&](const DirectoryEntry& entry) {
            return entry.type != FileType::directory && trimming_.is_of_view(entry.name);
        });
    }
    return entries;
}

Result<std::string> TrimmedTree::read_link(const std::string& path) const {
    return inner_->read_link(path);
}

Result<std::string> TrimmedTree::resolve(const std::string& path) const {
    return inner_->resolve(path);
}

Result<std::shared_ptr<const File>> TrimmedTree::open(const std::string& path) const {
    const auto text = trimming_.texts.find(path);
    if (text == trimming_.texts.end()) {
        return inner_->open(path);
    }
    return std::shared_ptr<const File>(std::make_shared<const TextInMemory>(display(path), text->second.text));
}

}  // namespace ckptfs::exporting
