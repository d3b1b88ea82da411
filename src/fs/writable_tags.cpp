// One object for each directory in which somebody has asked for a shard.
#include "fs/writable_tags.h"

#include <utility>
#include <vector>

#include "fs/source_tree.h"

namespace ckptfs {

WritableTags::WritableTags(std::shared_ptr<SourceTree> tree, const ViewRequest& request,
                           std::shared_ptr<const SourceWriter> writer)
    : tree_(std::move(tree)), request_(request), writer_(std::move(writer)) {}

std::shared_ptr<WritableTag> WritableTags::at(const Key& key, const std::string& path) {
    const std::lock_guard lock(mutex_);
    auto& tag = tags_[key];
    if (!tag) {
        tag = std::make_shared<WritableTag>(tree_->directory(path), request_, writer_);
    } else if (tag->path() != path) {
        tag->move_to(tree_->directory(path));
    }
    return tag;
}

std::shared_ptr<WritableTag> WritableTags::find(const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto at = tags_.find(key);
    return at == tags_.end() ? nullptr : at->second;
}

void WritableTags::forget(const Key& key) {
    std::shared_ptr<WritableTag> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    if (const auto at = tags_.find(key); at != tags_.end()) {
        released = std::move(at->second);
        tags_.erase(at);
    }
}

void WritableTags::tidy() {
    std::vector<std::shared_ptr<WritableTag>> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    std::erase_if(tags_, [&](auto& item) {
        const bool is_busy = item.second->tidy();
        const bool is_unused = item.second.use_count() == 1 && !is_busy;
        if (is_unused) {
            released.push_back(std::move(item.second));
        }
        return is_unused;
    });
}

}  // namespace ckptfs
