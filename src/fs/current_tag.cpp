// What names it decides, else the times of the files.
#include "fs/current_tag.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "fs/source_tree.h"
#include "util/path.h"

namespace ckptfs {
namespace {

struct HeldTag {
    std::shared_ptr<SourceDirectory> directory;
    std::shared_ptr<TagGeneration> generation;
};

/// nullopt: there is no tag.
std::optional<HeldTag> tag_at(SourceTree& tree, const std::string& path) {
    auto directory = tree.directory(path);
    const auto snapshot = directory->current();
    if (!snapshot || !(*snapshot)->generation) {
        return std::nullopt;
    }
    return HeldTag{std::move(directory), (*snapshot)->generation};
}

std::int64_t newest_time(const TagGeneration& generation) {
    std::int64_t newest = 0;
    for (const FileStamp& stamp : generation.shards().stamps) {
        newest = std::max(newest, stamp.mtime_ns);
    }
    return newest;
}

/// Those beside each other in `holder`, or that links there lead to, newest first.
std::vector<HeldTag> held_tags(SourceTree& tree, const std::string& holder, const SourceDirectory::Snapshot& snapshot) {
    std::vector<HeldTag> tags;
    std::set<std::string> seen;
    for (const DirectoryEntry& entry : snapshot.entries) {
        if (entry.type != FileType::directory && entry.type != FileType::symlink) {
            continue;
        }
        const auto path = tree.source().resolve(join_path(holder, entry.name));
        if (path && seen.insert(*path).second) {
            if (auto tag = tag_at(tree, *path)) {
                tags.push_back(*std::move(tag));
            }
        }
    }
    std::stable_sort(tags.begin(), tags.end(), [](const HeldTag& left, const HeldTag& right) {
        return newest_time(*left.generation) > newest_time(*right.generation);
    });
    return tags;
}

}  // namespace

std::shared_ptr<const CurrentTag> find_current_tag(SourceTree& tree, const std::string& holder,
                                                   const SourceDirectory::Snapshot& snapshot) {
    auto current = std::make_shared<CurrentTag>();
    const auto name = tree.reader().named_tag(tree.source(), holder);
    if (name && *name) {
        current->named = *name;
        const auto real = tree.source().resolve(**name);
        if (auto tag = real ? tag_at(tree, *real) : std::nullopt) {
            current->directory = std::move(tag->directory);
            current->generation = std::move(tag->generation);
            return current;
        }
        current->problem = Error(ErrorCode::damaged, "'" + tree.source().display(**name) +
                                                         "', which is named as the current tag of '" +
                                                         tree.source().display(holder) + "', is no tag directory");
    } else if (!name) {
        current->problem = name.error();
    }
    auto tags = held_tags(tree, holder, snapshot);
    if (tags.empty()) {
        return nullptr;
    }
    if (current->problem) {
        return current;
    }
    // One that could not be read just now may be whole: an older one must not stand for it.
    const auto whole = std::find_if(tags.begin(), tags.end(), [](const HeldTag& tag) {
        return tag.generation->tag()->problem() == nullptr || tag.generation->worth_another_read();
    });
    const auto chosen = whole == tags.end() ? tags.begin() : whole;
    for (auto at = tags.begin(); at != whole; ++at) {
        current->passed_over.push_back(at->directory);
    }
    current->directory = chosen->directory;
    current->generation = chosen->generation;
    return current;
}

bool is_current_tag_of(SourceDirectory& holder, const TagGeneration& generation) {
    const auto snapshot = holder.current();
    const auto current = snapshot ? holder.current_tag(*snapshot) : nullptr;
    if (!current || current->generation.get() != &generation) {
        return false;
    }
    const auto name = holder.tree().reader().named_tag(holder.tree().source(), holder.path());
    if (!name || *name != current->named) {
        holder.expire();
        return false;
    }
    return true;
}

bool is_still_without_tag(SourceDirectory& holder, const CurrentTag& current) {
    const auto name = holder.tree().reader().named_tag(holder.tree().source(), holder.path());
    const bool is_same = name ? *name && *name == current.named : !current.named;
    if (!is_same) {
        holder.expire();
    }
    return is_same;
}

}  // namespace ckptfs
