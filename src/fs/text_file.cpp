// Files in memory.
#include "fs/text_file.h"

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "fs/attributes.h"

namespace ckptfs {
namespace {

class TextFile final : public File {
 public:
    explicit TextFile(std::string text) : text_(std::move(text)) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return text_.size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset > text_.size() || out.size() > text_.size() - offset) {
            return Error(ErrorCode::invalid_argument,
                         name_ + " ends before byte " + std::to_string(offset) + " + " + std::to_string(out.size()));
        }
        if (!out.empty()) {
            std::memcpy(out.data(), text_.data() + offset, out.size());
        }
        return {};
    }

 private:
    std::string name_ = "a file of the mount's own";
    std::string text_;
};

class TextNode final : public Node {
 public:
    TextNode(const FileInfo& info, std::string text, std::function<bool()> is_current)
        : info_(info), file_(std::make_shared<const TextFile>(std::move(text))), is_current_(std::move(is_current)) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        return FileAttributes{virtual_attributes(info_, inode, file_->size()), freshness};
    }
    Outcome<OpenedBytes> open() override {
        if (!is_current_()) {
            return Errno{ESTALE};
        }
        return OpenedBytes{.file = file_};
    }

 private:
    FileInfo info_;
    std::shared_ptr<const TextFile> file_;
    std::function<bool()> is_current_;
};

}  // namespace

std::shared_ptr<const File> bytes_of_text(std::string text) {
    return std::make_shared<const TextFile>(std::move(text));
}

Outcome<LookedUpEntry> text_entry(MountTree& mount, IdentityHasher identity, const FileInfo& info, std::string text,
                                  Lifetime lifetime, std::function<bool()> is_current) {
    identity.add(number(NodeKind::text)).add(info.stamp).add(text);
    auto node = std::make_shared<TextNode>(info, std::move(text), std::move(is_current));
    LookedUpEntry entry;
    entry.attributes = node->attributes(unknown_inode).value.attributes;
    entry.attributes.inode = mount.inodes().remember(identity.identity(), std::move(node));
    entry.entry_lifetime = lifetime;
    entry.attributes_lifetime = freshness;
    return entry;
}

}  // namespace ckptfs
