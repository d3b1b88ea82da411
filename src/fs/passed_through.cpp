// One generation of an entry of SOURCE is one node.
#include "fs/passed_through.h"

#include <cerrno>
#include <utility>

#include "fs/attributes.h"
#include "fs/mirrored_directory.h"
#include "util/path.h"

namespace ckptfs {
namespace {

/// Anything of SOURCE but a directory.
class PassedThrough : public Node {
 public:
    PassedThrough(std::shared_ptr<SourceDirectory> directory, std::string path, const FileInfo& info)
        : directory_(std::move(directory)), path_(std::move(path)), info_(info) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        return FileAttributes{passed_through_attributes(info_, inode), freshness};
    }
    Outcome<OpenedBytes> open() override {
        if (info_.type != FileType::regular) {
            return Errno{ENXIO};
        }
        // ESTALE makes the kernel look the name up again: an inode of several hard links may have been found by one
        // that is gone.
        const auto gone = [&](const Error& error) {
            directory_->expire();
            return error.code() == ErrorCode::not_found ? Errno{ESTALE} : answer_of_source(error);
        };
        const Source& source = directory_->tree().source();
        auto file = source.open(path_);
        if (!file) {
            return gone(file.error());
        }
        // Had another generation been opened, its bytes would end in the pages of this inode. Asked after opening,
        // since a generation that is there now was there then.
        const auto now = source.stat(path_);
        if (!now) {
            return gone(now.error());
        }
        if (now->stamp != info_.stamp) {
            directory_->expire();
            return Errno{ESTALE};
        }
        return OpenedBytes{.file = std::move(file).value(), .directory = directory_};
    }

 private:
    std::shared_ptr<SourceDirectory> directory_;
    std::string path_;
    FileInfo info_;
};

class BrokenShard final : public PassedThrough {
 public:
    BrokenShard(std::shared_ptr<SourceDirectory> directory, std::string path, const FileInfo& info,
                std::shared_ptr<const TagFiles> files)
        : PassedThrough(std::move(directory), std::move(path), info), files_(std::move(files)) {}

    Outcome<OpenedBytes> open() override { return files_->refuse(); }

 private:
    std::shared_ptr<const TagFiles> files_;
};

class PlainLink final : public PassedThrough {
 public:
    PlainLink(std::shared_ptr<SourceDirectory> directory, std::string path, const FileInfo& info, std::string text)
        : PassedThrough(std::move(directory), std::move(path), info), text_(std::move(text)) {}

    Outcome<OpenedBytes> open() override { return Errno{ELOOP}; }
    Outcome<std::string> read_link() override { return text_; }

 private:
    std::string text_;  // as the mount shows it
};

LookedUpEntry entry_of(const FileInfo& info, std::uint64_t inode) {
    LookedUpEntry entry;
    entry.attributes = passed_through_attributes(info, inode);
    entry.entry_lifetime = freshness;
    entry.attributes_lifetime = freshness;
    return entry;
}

}  // namespace

Outcome<LookedUpEntry> passed_through_entry(MountTree& mount, const MirroredDirectory& directory, std::string_view name,
                                            const std::string& path, const FileInfo& info,
                                            std::shared_ptr<const TagFiles> broken) {
    const auto passages = mount.passages_to(*directory.root());
    if (!passages) {
        return answer(passages.error());
    }
    const FileInfo shown = restricted(info, *passages);
    // Hard links are one file: programs that copy a tree find them by their common inode.
    const bool linked = info.nlink > 1 && !broken;
    const auto identity = mount.identity_of(directory.request(), linked ? "" : join_path(directory.place(), name))
                              .add(number(broken ? NodeKind::broken_shard : NodeKind::passed_through))
                              .add(info.stamp)
                              .add(shown.uid)
                              .add(shown.gid)
                              .add(shown.mode)
                              .identity();
    std::shared_ptr<Node> node;
    if (broken) {
        node = std::make_shared<BrokenShard>(directory.source(), path, shown, std::move(broken));
    } else {
        node = std::make_shared<PassedThrough>(directory.source(), path, shown);
    }
    return entry_of(shown, mount.inodes().remember(identity, std::move(node)));
}

Outcome<LookedUpEntry> plain_link_entry(MountTree& mount, const MirroredDirectory& directory, std::string_view name,
                                        FileInfo info, std::string text) {
    const auto identity = mount.identity_of(directory.request(), join_path(directory.place(), name))
                              .add(number(NodeKind::link))
                              .add(info.stamp)
                              .add(text)
                              .identity();
    info.stamp.size = text.size();
    auto node = std::make_shared<PlainLink>(directory.source(), directory.source()->child(name), info, std::move(text));
    return entry_of(info, mount.inodes().remember(identity, std::move(node)));
}

}  // namespace ckptfs
