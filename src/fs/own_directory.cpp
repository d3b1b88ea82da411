// Files whose size is said to be 0, as in /proc: what they hold is not known before they are opened.
#include "fs/own_directory.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <span>
#include <string>
#include <utility>

#include "fs/text_file.h"

namespace ckptfs {
namespace {

class OwnFileNode final : public Node {
 public:
    OwnFileNode(const OwnDirectory& directory, const OwnFile& file) : directory_(directory), file_(file) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        return FileAttributes{directory_.attributes_of(&file_, inode), Lifetime{0}};
    }
    Outcome<OpenedBytes> open() override {
        return OpenedBytes{.file = bytes_of_text(directory_.text_of(file_)), .is_of_now = true};
    }

 private:
    const OwnDirectory& directory_;
    const OwnFile& file_;
};

class OwnDirectoryNode final : public Node {
 public:
    explicit OwnDirectoryNode(const OwnDirectory& directory) : directory_(directory) {}

    Outcome<FileAttributes> attributes(std::uint64_t inode) override {
        return FileAttributes{directory_.attributes_of(nullptr, inode), freshness};
    }
    Outcome<LookedUpEntry> lookup(std::uint64_t /*inode*/, std::string_view name) override {
        for (const OwnFile& file : directory_.files().files) {
            if (file.name == name) {
                const auto identity = IdentityHasher().add(number(NodeKind::own_file)).add(name).identity();
                const auto inode =
                    directory_.mount().inodes().remember(identity, std::make_shared<OwnFileNode>(directory_, file));
                return LookedUpEntry{directory_.attributes_of(&file, inode), freshness, Lifetime{0}};
            }
        }
        return Errno{ENOENT};
    }
    Outcome<Listing> list() override {
        auto entries = std::make_shared<std::vector<DirectoryEntry>>();
        for (const OwnFile& file : directory_.files().files) {
            entries->push_back({file.name, FileType::regular});
        }
        return Listing{.entries = std::move(entries)};
    }

 private:
    const OwnDirectory& directory_;
};

}  // namespace

std::string text_of_generation(std::uint64_t signature) {
    std::array<char, 17> text{};
    (void)std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(signature));
    return text.data();
}

std::vector<std::byte> to_bytes(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

OwnDirectory::OwnDirectory(MountTree& mount, OwnFiles files, std::function<FileSystemState()> state)
    : mount_(mount), files_(std::move(files)), state_(std::move(state)) {}

Attributes OwnDirectory::attributes_of(const OwnFile* file, std::uint64_t inode) const {
    constexpr std::uint32_t directory_mode = 0555;
    constexpr std::uint32_t mode_for_all = 0444;
    constexpr std::uint32_t mode_for_owner = 0400;
    Attributes attributes;
    attributes.inode = inode;
    attributes.type = file == nullptr ? FileType::directory : FileType::regular;
    attributes.mode = file == nullptr ? directory_mode : file->is_for_all ? mode_for_all : mode_for_owner;
    attributes.nlink = file == nullptr ? 2 : 1;
    attributes.uid = files_.uid;
    attributes.gid = files_.gid;
    attributes.mtime_ns = mount_.tree().clocks().wall_now_ns();
    attributes.ctime_ns = attributes.mtime_ns;
    attributes.atime_ns = attributes.mtime_ns;
    return attributes;
}

LookedUpEntry OwnDirectory::entry() {
    const auto identity = IdentityHasher().add(number(NodeKind::own_file)).identity();
    const auto inode = mount_.inodes().remember(identity, std::make_shared<OwnDirectoryNode>(*this));
    return LookedUpEntry{attributes_of(nullptr, inode), freshness, freshness};
}

std::optional<Outcome<std::vector<std::byte>>> OwnDirectory::attribute(std::string_view name, const Caller& caller) {
    if (!name.starts_with(own_attributes)) {
        return std::nullopt;
    }
    name.remove_prefix(own_attributes.size());
    for (const OwnFile& file : files_.files) {
        if (file.name == name) {
            if (!file.is_for_all && caller.uid() != 0 && caller.uid() != files_.uid) {
                return Outcome<std::vector<std::byte>>(Errno{EACCES});
            }
            const std::string text = text_of(file);
            return text.size() > max_attribute_nbytes ? Outcome<std::vector<std::byte>>(Errno{E2BIG})
                                                      : Outcome(to_bytes(text));
        }
    }
    return std::nullopt;
}

}  // namespace ckptfs
