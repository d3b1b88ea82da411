// One object for each directory of SOURCE that somebody has.
#include "fs/source_tree.h"

#include <algorithm>
#include <utility>

namespace ckptfs {

SourceTree::SourceTree(std::shared_ptr<const Source> source, std::shared_ptr<const TagReader> reader, Clocks clocks,
                       bool allow_other)
    : source_(std::move(source)),
      reader_(std::move(reader)),
      clocks_(std::move(clocks)),
      allow_other_(allow_other),
      known_tags_(*source_) {}

Result<std::vector<Permissions>> SourceTree::passages_to(const std::string& path) const {
    std::vector<Permissions> passages;
    if (allow_other_) {
        CKPTFS_ASSIGN(const auto way, source_->way_to(path));
        for (const FileInfo& directory : way) {
            passages.push_back(passage_through(directory));
        }
    }
    return passages;
}

std::shared_ptr<SourceDirectory> SourceTree::directory(const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (directories_.size() >= purge_at_) {
        std::erase_if(directories_, [](const auto& item) { return item.second.expired(); });
        purge_at_ = std::max<std::size_t>(64, 2 * directories_.size());
    }
    auto& known = directories_[path];
    auto directory = known.lock();
    if (!directory) {
        directory = std::make_shared<SourceDirectory>(shared_from_this(), path);
        known = directory;
    }
    return directory;
}

void SourceTree::expire() {
    std::vector<std::shared_ptr<SourceDirectory>> held;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    for (const auto& [path, known] : directories_) {
        if (auto directory = known.lock()) {
            directory->expire();
            held.push_back(std::move(directory));
        }
    }
}

}  // namespace ckptfs
