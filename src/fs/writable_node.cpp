// Attributes are SOURCE's of now.
#include "fs/writable_node.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "fs/attributes.h"
#include "fs/writable_directory.h"
#include "util/path.h"

namespace ckptfs {
namespace {

/// Names of one file that are remembered.
constexpr std::size_t most_names = 8;
/// Names in a path that SOURCE can be asked for.
constexpr std::size_t deepest = PATH_MAX / 2;

}  // namespace

WritableNode::WritableNode(WritableMount& mount, const EntryPlace& place, const FileInfo& info)
    : mount_(mount),
      device_(info.stamp.device),
      source_inode_(info.stamp.inode),
      type_(info.type),
      names_{{place.directory, place.directory_inode, place.name}} {}

WritableNode::WritableNode(WritableMount& mount)
    : mount_(mount), device_(0), source_inode_(0), type_(FileType::directory) {}

bool WritableNode::is_same(const FileInfo& info) const {
    return info.stamp.device == device_ && info.stamp.inode == source_inode_ && info.type == type_;
}

Outcome<EntryPlace> WritableNode::place_of(const Name& name) {
    auto directory = name.directory->path();
    if (!directory.ok()) {
        return directory.failure();
    }
    std::string path = join_path(directory.value, name.name);
    return EntryPlace{name.directory, name.directory_inode, std::move(directory.value), name.name, std::move(path)};
}

std::optional<WritableNode::Name> WritableNode::last_name() const {
    const std::lock_guard lock(mutex_);
    return names_.empty() ? std::nullopt : std::optional(names_.front());
}

Outcome<std::string> WritableNode::path() const {
    std::string path;
    auto name = last_name();
    for (std::size_t depth = 0; name; ++depth) {
        if (depth == deepest) {
            return Errno{ESTALE};
        }
        path = path.empty() ? name->name : join_path(name->name, path);
        name = name->directory->last_name();
    }
    return path;
}

void WritableNode::found_at(const EntryPlace& place) {
    Name name{place.directory, place.directory_inode, place.name};
    const auto is_it = [&](const Name& other) { return other.directory == name.directory && other.name == name.name; };
    std::vector<Name> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    if (is_it(names_.front())) {
        return;
    }
    released = names_;
    std::erase_if(names_, is_it);
    names_.insert(names_.begin(), std::move(name));
    names_.resize(std::min(names_.size(), type_ == FileType::directory ? 1 : most_names));
}

Outcome<WritableNode::Found> WritableNode::locate() {
    std::vector<Name> names;
    {
        const std::lock_guard lock(mutex_);
        names = names_;
    }
    if (is_gone_) {
        return Errno{ESTALE};
    }
    for (const Name& name : names) {
        auto place = place_of(name);
        if (!place.ok()) {
            continue;
        }
        const auto info = mount_.source().stat(place.value.path);
        if (info && is_same(*info)) {
            return Found{std::move(place.value), *info};
        }
        if (!info && info.error().code() != ErrorCode::not_found) {
            return answer_of_source(info.error());
        }
    }
    return Errno{ESTALE};
}

Outcome<FileInfo> WritableNode::info_now() {
    auto found = locate();
    if (found.ok()) {
        return found.value.info;
    }
    for (const auto& handle : handles()) {
        if (auto info = handle->info(); info.ok() && is_same(info.value)) {
            return info;
        }
    }
    return found.failure();
}

Outcome<FileAttributes> WritableNode::attributes(std::uint64_t inode) {
    const auto info = info_now();
    return info.ok() ? Outcome(FileAttributes{writable_attributes(info.value, inode), freshness}) : info.failure();
}

Outcome<FileAttributes> WritableNode::change(std::uint64_t inode, const SourceHandle* handle,
                                             const AttributeChange& change, const Caller& caller) {
    Outcome<Done> changed = Errno{ESTALE};
    if (handle != nullptr) {
        changed = handle->change(change, caller);
    } else if (const auto found = locate(); found.ok()) {
        changed = mount_.writer().change(found.value.place.path, change, caller);
    } else {
        changed = found.failure();
        for (const auto& open : handles()) {
            changed = open->change(change, caller);
            if (changed.ok() || changed.error != EINVAL) {  // EINVAL: its size, where it is open for reading
                break;
            }
        }
    }
    return changed.ok() ? attributes(inode) : changed.failure();
}

Outcome<std::vector<std::byte>> WritableNode::attribute(const std::string& name, const Caller& caller) {
    const auto found = locate();
    return found.ok() ? mount_.writer().attribute(found.value.place.path, name, caller) : found.failure();
}

Outcome<std::vector<std::string>> WritableNode::attribute_names(const Caller& caller) {
    const auto found = locate();
    return found.ok() ? mount_.writer().attributes(found.value.place.path, caller) : found.failure();
}

Outcome<Done> WritableNode::set_attribute(const std::string& name, std::span<const std::byte> value, int flags,
                                          const Caller& caller) {
    const auto found = locate();
    return found.ok() ? mount_.writer().set_attribute(found.value.place.path, name, value, flags, caller)
                      : found.failure();
}

Outcome<Done> WritableNode::remove_attribute(const std::string& name, const Caller& caller) {
    const auto found = locate();
    return found.ok() ? mount_.writer().remove_attribute(found.value.place.path, name, caller) : found.failure();
}

}  // namespace ckptfs
