// One object for each directory in which somebody has asked for a shard.
#include "fs/writable_tags.h"

#include <utility>
#include <vector>

#include "fs/source_tree.h"

namespace ckptfs {

WritableTags::WritableTags(std::shared_ptr<SourceTree> tree, const ViewRequest& request,
                           std::shared_ptr<const SourceWriter> writer)
    : tree_(std::move(tree)), request_(request), writer_(std::move(writer)) {}

std::shared_ptr<WritableTag> WritableTags::at(const std::string& path) {
    const std::lock_guard lock(mutex_);
    auto& tag = tags_[path];
    if (!tag) {
        tag = std::make_shared<WritableTag>(tree_->directory(path), request_, writer_);
    }
    return tag;
}

std::shared_ptr<WritableTag> WritableTags::find(const std::string& path) {
    const std::lock_guard lock(mutex_);
    const auto at = tags_.find(path);
    return at == tags_.end() ? nullptr : at->second;
}

void WritableTags::follow(const PathMove& move) {
    std::vector<std::shared_ptr<WritableTag>> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    std::map<std::string, std::shared_ptr<WritableTag>> moved;
    for (auto& [path, tag] : tags_) {
        if (const auto to = move.of(path)) {
            tag->move_to(tree_->directory(*to));
            moved.insert_or_assign(*to, std::move(tag));
        } else if (move.replaces(path)) {
            released.push_back(std::move(tag));
        } else {
            moved.emplace(path, std::move(tag));
        }
    }
    tags_ = std::move(moved);
}

void WritableTags::forget(const std::string& path) {
    std::shared_ptr<WritableTag> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    if (const auto at = tags_.find(path); at != tags_.end()) {
        released = std::move(at->second);
        tags_.erase(at);
    }
}

void WritableTags::tidy() {
    std::vector<std::shared_ptr<WritableTag>> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    std::erase_if(tags_, [&](auto& item) {
        const bool is_unused = item.second.use_count() == 1 && !item.second->is_busy();
        if (is_unused) {
            released.push_back(std::move(item.second));
        }
        return is_unused;
    });
}

}  // namespace ckptfs
