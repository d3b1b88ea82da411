// Attributes are SOURCE's of now.
#include "fs/writable_node.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/attributes.h"

namespace ckptfs {
namespace {

/// Names of one file that are remembered.
constexpr std::size_t most_paths = 8;

}  // namespace

WritableNode::WritableNode(WritableMount& mount, std::string path, const FileInfo& info)
    : mount_(mount),
      device_(info.stamp.device),
      source_inode_(info.stamp.inode),
      type_(info.type),
      paths_{std::move(path)} {}

bool WritableNode::is_same(const FileInfo& info) const {
    return info.stamp.device == device_ && info.stamp.inode == source_inode_ && info.type == type_;
}

std::string WritableNode::last_path() const {
    const std::lock_guard lock(mutex_);
    return paths_.front();
}

Outcome<WritableNode::Place> WritableNode::locate() {
    std::vector<std::string> paths;
    {
        const std::lock_guard lock(mutex_);
        paths = paths_;
    }
    for (std::string& path : paths) {
        const auto info = mount_.source().stat(path);
        if (info && is_same(*info)) {
            return Place{std::move(path), *info};
        }
        if (!info && info.error().code() != ErrorCode::not_found) {
            return answer_of_source(info.error());
        }
    }
    return Errno{ESTALE};
}

Outcome<FileInfo> WritableNode::info_now() {
    auto place = locate();
    if (place.ok()) {
        return place.value.info;
    }
    for (const auto& handle : handles()) {
        if (auto info = handle->info(); info.ok() && is_same(info.value)) {
            return info;
        }
    }
    return Errno{place.error};
}

Outcome<FileAttributes> WritableNode::attributes(std::uint64_t inode) {
    const auto info = info_now();
    return info.ok() ? Outcome(FileAttributes{writable_attributes(info.value, inode), freshness}) : Errno{info.error};
}

Outcome<FileAttributes> WritableNode::change(std::uint64_t inode, const SourceHandle* handle,
                                             const AttributeChange& change, const Caller& caller) {
    Outcome<Done> changed = Errno{ESTALE};
    if (handle != nullptr) {
        changed = handle->change(change, caller);
    } else if (const auto place = locate(); place.ok()) {
        changed = mount_.writer().change(place.value.path, change, caller);
    } else {
        changed = Errno{place.error};
        for (const auto& open : handles()) {
            changed = open->change(change, caller);
            if (changed.ok() || changed.error != EINVAL) {  // EINVAL: its size, where it is open for reading
                break;
            }
        }
    }
    return changed.ok() ? attributes(inode) : Errno{changed.error};
}

Outcome<std::vector<std::byte>> WritableNode::attribute(const std::string& name, const Caller& caller) {
    const auto place = locate();
    return place.ok() ? mount_.writer().attribute(place.value.path, name, caller) : Errno{place.error};
}

Outcome<std::vector<std::string>> WritableNode::attribute_names(const Caller& caller) {
    const auto place = locate();
    return place.ok() ? mount_.writer().attributes(place.value.path, caller) : Errno{place.error};
}

Outcome<Done> WritableNode::set_attribute(const std::string& name, std::span<const std::byte> value, int flags,
                                          const Caller& caller) {
    const auto place = locate();
    return place.ok() ? mount_.writer().set_attribute(place.value.path, name, value, flags, caller)
                      : Errno{place.error};
}

Outcome<Done> WritableNode::remove_attribute(const std::string& name, const Caller& caller) {
    const auto place = locate();
    return place.ok() ? mount_.writer().remove_attribute(place.value.path, name, caller) : Errno{place.error};
}

void WritableNode::found_at(const std::string& path, std::uint64_t /*parent*/) {
    const std::lock_guard lock(mutex_);
    if (paths_.front() == path) {
        return;
    }
    std::erase(paths_, path);
    paths_.insert(paths_.begin(), path);
    if (type_ == FileType::directory) {
        paths_.resize(1);
    } else if (paths_.size() > most_paths) {
        paths_.pop_back();
    }
}

void WritableNode::follow(const PathMove& move) {
    const std::lock_guard lock(mutex_);
    for (std::string& path : paths_) {
        if (auto to = move.of(path)) {
            path = *std::move(to);
        }
    }
}

}  // namespace ckptfs
