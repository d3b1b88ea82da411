// What a view puts beside tags, and in the place of the directory that holds one.
#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "fs/attributes.h"
#include "fs/mirrored_directory.h"
#include "fs/source_tree.h"
#include "fs/text_file.h"
#include "util/log.h"
#include "util/path.h"
#include "util/text.h"

namespace ckptfs {
namespace {

/// Of a file that names a tag.
constexpr std::uint64_t max_pointer_nbytes = 4096;

Result<std::string> read_pointer(const Source& source, const std::string& path) {
    CKPTFS_ASSIGN(const auto file, source.open(path));
    std::string text(static_cast<std::size_t>(std::min(file->size(), max_pointer_nbytes)), '\0');
    CKPTFS_TRY(file->read(0, std::as_writable_bytes(std::span(text))));
    return trimmed(text);
}

bool leads_to_directory(const DirectoryEntry* entry) {
    return entry != nullptr && (entry->type == FileType::directory || entry->type == FileType::symlink);
}

}  // namespace

bool MirroredDirectory::is_hidden(const DirectoryEntry& entry) const {
    return entry.type != FileType::directory && placement_.in_holder(entry.name);
}

MirroredDirectory::Found MirroredDirectory::lookup_held(const std::shared_ptr<const Snapshot>& snapshot,
                                                        std::uint64_t inode, std::string_view name) {
    if (!placement_.in_holder || !placement_.in_holder(name)) {
        return std::nullopt;
    }
    const auto current = source_->current_tag(snapshot);
    if (!current) {
        return std::nullopt;
    }
    const auto files = current->generation ? files_of(*current) : nullptr;
    if (files && files->content()->view) {
        StandingView held = standing(files);
        held.is_outside_tag = true;
        held.holder = source_;
        if (auto found = view_entry(mount_, held, name, remaining(snapshot->checked_at, mount_.tree().now()), inode)) {
            return found;
        }
    } else {
        const auto unshown = mount_.reader().names_of_unshown(request_);
        if (std::find(unshown.begin(), unshown.end(), name) != unshown.end()) {
            return unshown_beside(name, current, files);
        }
    }
    const auto* listed = snapshot->find(name);
    return listed != nullptr && is_hidden(*listed) ? Found(Errno{ENOENT}) : std::nullopt;
}

Outcome<LookedUpEntry> MirroredDirectory::unshown_beside(std::string_view name,
                                                         const std::shared_ptr<const CurrentTag>& current,
                                                         const std::shared_ptr<const TagFiles>& files) {
    const auto info = mount_.source().stat(source_->path());
    if (!info) {
        return answer_of_source(info.error());
    }
    const auto refuse = [current, files] {
        if (files) {
            return files->refuse();
        }
        if (!current->reported.exchange(true)) {
            log::error(current->problem->message());
        }
        return Errno{EIO, std::make_shared<const Error>(*current->problem)};
    };
    const auto is_still = [holder = source_, current, files] {
        return files ? is_current(*files) && is_current_tag_of(*holder, files->generation())
                     : is_still_without_tag(*holder, *current);
    };
    return unshown_entry(mount_, request_, join_path(place(), name), *info, files ? files->generation().signature() : 0,
                         {.refuse = refuse, .is_current = is_still});
}

void MirroredDirectory::list_held(const std::shared_ptr<const Snapshot>& snapshot, std::vector<DirectoryEntry>& entries,
                                  Listing& listing) {
    const auto current = placement_.in_holder ? source_->current_tag(snapshot) : nullptr;
    if (!current) {
        return;
    }
    std::erase_if(entries, [&](const DirectoryEntry& entry) { return is_hidden(entry); });
    const auto files = current->generation ? files_of(*current) : nullptr;
    if (files && files->content()->view) {
        list_view(mount_, standing(files), "", entries, listing);
        return;
    }
    for (const std::string& name : mount_.reader().names_of_unshown(request_)) {
        entries.push_back({name, FileType::regular});
    }
}

std::shared_ptr<const TagFiles> MirroredDirectory::files_of_tag(std::string_view name) const {
    const auto path = mount_.source().resolve(source_->child(name));
    if (!path) {
        return nullptr;
    }
    const auto directory = mount_.tree().directory(*path);
    const auto tag = directory->current();
    return tag && (*tag)->generation ? (*tag)->generation->files_for(request_, directory) : nullptr;
}

MirroredDirectory::Found MirroredDirectory::lookup_beside(const Snapshot& snapshot, std::uint64_t inode,
                                                          std::string_view name) {
    const std::string& suffix = placement_.beside_suffix;
    if (suffix.empty() || !name.ends_with(suffix)) {
        return std::nullopt;
    }
    const std::string_view stem = name.substr(0, name.size() - suffix.size());
    const auto* listed = snapshot.find(stem);
    if (listed != nullptr && !placement_.pointer.empty() && stem == placement_.pointer &&
        listed->type != FileType::directory) {
        return pointer_entry(snapshot, name);
    }
    if (!leads_to_directory(listed)) {
        return std::nullopt;
    }
    const auto files = files_of_tag(stem);
    if (!files || (leads_to_directory(snapshot.find(name)) && !files->content()->view)) {
        return std::nullopt;
    }
    StandingView beside = standing(files);
    beside.place = join_path(place(), name);
    beside.is_outside_tag = true;
    return view_directory_entry(mount_, beside, "", remaining(snapshot.checked_at, mount_.tree().now()), inode);
}

Outcome<LookedUpEntry> MirroredDirectory::pointer_entry(const Snapshot& snapshot, std::string_view name) {
    const std::string path = source_->child(placement_.pointer);
    const auto info = mount_.source().stat_target(path);
    const auto text = info ? read_pointer(mount_.source(), path) : Result<std::string>(info.error());
    if (!text) {
        return answer_of_source(text.error());
    }
    const auto granted = mount_.as_granted(path, *info);
    if (!granted) {
        return answer(granted.error());
    }
    const auto passages = mount_.passages_to(*root_);
    if (!passages) {
        return answer(passages.error());
    }
    const auto is_current = [source = source_, path, stamp = info->stamp] {
        return stamp_of(source->tree().source(), path) == stamp;
    };
    return text_entry(mount_, mount_.identity_of(request_, join_path(place(), name)), restricted(*granted, *passages),
                      *text + placement_.beside_suffix, remaining(snapshot.checked_at, mount_.tree().now()),
                      is_current);
}

void MirroredDirectory::list_beside(const Snapshot& snapshot, std::vector<DirectoryEntry>& entries) const {
    const std::string& suffix = placement_.beside_suffix;
    if (suffix.empty()) {
        return;
    }
    std::vector<DirectoryEntry> added;
    for (const DirectoryEntry& entry : snapshot.entries) {
        if (entry.name == placement_.pointer && entry.type != FileType::directory) {
            added.push_back({entry.name + suffix, FileType::regular});
        } else if (leads_to_directory(&entry)) {
            const std::string name = entry.name + suffix;
            if (leads_to_directory(snapshot.find(name))) {
                const auto files = files_of_tag(entry.name);
                if (files && files->content()->view) {
                    added.push_back({name, FileType::directory});
                }
                continue;
            }
            const auto path = mount_.source().resolve(source_->child(entry.name));
            const auto listing = path ? mount_.source().list(*path) : Result<std::vector<DirectoryEntry>>(path.error());
            if (listing && mount_.reader().recognises(*listing)) {
                added.push_back({name, FileType::directory});
            }
        }
    }
    std::erase_if(entries, [&](const DirectoryEntry& entry) {
        return std::any_of(added.begin(), added.end(),
                           [&](const DirectoryEntry& other) { return other.name == entry.name; });
    });
    entries.insert(entries.end(), added.begin(), added.end());
}

std::shared_ptr<const TagFiles> MirroredDirectory::in_place_of(const std::string& path) const {
    const std::string& held = placement_.in_place_of_holder_of;
    if (held.empty()) {
        return nullptr;
    }
    const auto holder = mount_.tree().directory(path);
    const auto snapshot = holder->current();
    const auto* listed = snapshot ? (*snapshot)->find(held) : nullptr;
    if (listed == nullptr || listed->type != FileType::directory) {
        return nullptr;
    }
    const auto directory = mount_.tree().directory(holder->child(held));
    const auto tag = directory->current();
    return tag && (*tag)->generation ? (*tag)->generation->files_for(request_, directory) : nullptr;
}

bool MirroredDirectory::is_one_file() const {
    return !root_->outer && source_->path() == root_->path && in_place_of(source_->path()) != nullptr;
}

MirroredDirectory::Found MirroredDirectory::lookup_in_place(const std::string& path, std::string_view name) {
    const auto files = in_place_of(path);
    if (!files) {
        return std::nullopt;
    }
    const auto content = files->content();
    if (content->view && content->view->file_count() > 0) {
        StandingView file = standing(files);
        file.is_outside_tag = true;
        return view_file_entry(mount_, file, 0, name, freshness);
    }
    const auto info = mount_.source().stat(path);
    if (!info) {
        return answer_of_source(info.error());
    }
    return unshown_entry(mount_, request_, join_path(place(), name), *info, files->generation().signature(),
                         unshown(files));
}

}  // namespace ckptfs
