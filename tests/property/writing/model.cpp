// The table, row by row.
#include "writing/model.h"

#include <algorithm>
#include <cerrno>
#include <sstream>

namespace ckptfs::test {
namespace {

constexpr std::int64_t settled_ms = 2'000;
constexpr std::int64_t removal_ms = 60'000;

std::string shard_of(std::uint64_t rank) {
    return "rank_" + std::to_string(rank) + ".shard";
}

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool is_below(const std::string& path, const std::string& directory) {
    return path.starts_with(directory + "/");
}

}  // namespace

int WritingModel::set_of(std::string_view name) {
    return name == "model.shard" ? 0 : name.starts_with("rank_") ? 1 : -1;
}

WritingModel::Directory WritingModel::shards_of(const Directory& directory) {
    Directory shards;
    for (const auto& [name, file] : directory) {
        if (is_shard(name)) {
            shards.emplace(name, file);
        }
    }
    return shards;
}

std::optional<WritingModel::Save> WritingModel::whole_save(const Directory& directory) {
    const auto text_of = [&](const std::string& name) {
        const auto at = directory.find(name);
        return at == directory.end() ? "" : at->second.text;
    };
    Save save;
    std::istringstream model(text_of("model.shard"));
    if (!(model >> save.world_size >> save.id)) {
        return std::nullopt;
    }
    const std::string text = std::to_string(save.world_size) + " " + save.id + " ";
    bool is_whole = text_of("model.shard") == text + "model";
    for (std::uint64_t rank = 0; is_whole && rank < save.world_size; ++rank) {
        is_whole = text_of(shard_of(rank)) == text + "rank " + std::to_string(rank);
    }
    return is_whole ? std::optional(save) : std::nullopt;
}

std::set<std::string> WritingModel::view_names() const {
    std::set<std::string> names{"model.shard"};
    for (std::uint64_t rank = 0; rank < world_size_; ++rank) {
        names.insert(shard_of(rank));
    }
    return names;
}

WritingModel::TagState& WritingModel::state(std::size_t node, const std::string& path) {
    auto& state = nodes_[node][path];
    if (!state) {
        state = std::make_shared<TagState>();
    }
    return *state;
}

WritingModel::Look WritingModel::look(std::size_t node, const std::string& path) {
    TagState& tag = state(node, path);
    if (tag.writers > 0 || (tag.changed_at_ms && now_ms_ - *tag.changed_at_ms < settled_ms)) {
        return {};
    }
    const Directory shards = shards_of(directories_.at(path));
    if (tag.removal) {
        Directory rest = tag.removal->at_start;
        std::erase_if(rest, [&](const auto& item) { return tag.removal->gone.contains(item.first); });
        if (now_ms_ - tag.removal->last_ms < removal_ms && rest == shards) {
            return {tag.removal->save, tag.removal->removed, tag.removal->at_start};
        }
        tag.removal.reset();
    }
    auto save = whole_save(shards);
    if (save && save->world_size != world_size_) {
        return {std::move(save), {}, shards};
    }
    return {};
}

WritingModel::Kind WritingModel::kind_of(const Look& look, const std::string& name) const {
    if (!look.save) {
        return Kind::plain;
    }
    if (look.removed.contains(name)) {
        return Kind::removed;
    }
    if (view_names().contains(name)) {
        return Kind::shown;
    }
    return look.shards.contains(name) && !name.starts_with("layer_") ? Kind::hidden : Kind::plain;
}

void WritingModel::set(const std::string& tag, const std::string& name, const std::string& text) {
    directories_.at(tag).insert_or_assign(name, File{text, ++version_});
}

void WritingModel::write_in_source(const std::string& tag, const std::string& name, const std::string& text) {
    set(tag, name, text);
}

void WritingModel::note_change(std::size_t node, const std::string& tag) {
    state(node, tag).changed_at_ms = now_ms_;
    state(node, tag).removal.reset();
}

void WritingModel::end_removal(std::size_t node, const std::string& tag) {
    const Look now = look(node, tag);
    if (now.removed.empty()) {
        return;
    }
    for (const std::string& name : now.removed) {
        if (now.shards.contains(name)) {
            directories_.at(tag).erase(name);
        }
    }
    note_change(node, tag);
}

int WritingModel::mkdir(const std::string& path) {
    if (!directories_.contains(parent_of(path))) {
        return ENOENT;
    }
    return directories_.try_emplace(path).second ? 0 : EEXIST;
}

int WritingModel::write(std::size_t node, const std::string& tag, const std::string& name, const std::string& text,
                        Style style) {
    if (!directories_.contains(tag)) {
        return ENOENT;
    }
    const bool counts = is_shard(name);
    const Kind kind = counts ? kind_of(look(node, tag), name) : Kind::plain;
    const auto& files = directories_.at(tag);
    const bool is_in_source = files.contains(name);
    const bool is_seen = kind == Kind::shown || (kind == Kind::plain && is_in_source);
    switch (style) {
        case Style::exclusive:
            if (is_seen || kind == Kind::hidden) {
                return EEXIST;
            }
            break;
        case Style::read_write:
            if (!is_seen || kind == Kind::shown) {
                return is_seen ? EROFS : ENOENT;
            }
            break;
        case Style::truncate_call:
            if (!is_seen) {
                return ENOENT;
            }
            break;
        case Style::truncate:
        case Style::append:
        case Style::replace:
            break;
    }
    if (counts) {
        end_removal(node, tag);
    }
    const std::string before = files.contains(name) ? files.at(name).text : "";
    switch (style) {
        case Style::append:
            set(tag, name, before + text);
            break;
        case Style::read_write:
            set(tag, name, text + before.substr(std::min(text.size(), before.size())));
            break;
        case Style::truncate_call:
            set(tag, name, "");
            break;
        case Style::truncate:
        case Style::exclusive:
        case Style::replace:
            set(tag, name, text);
            break;
    }
    if (counts) {
        note_change(node, tag);
    }
    return 0;
}

int WritingModel::unlink(std::size_t node, const std::string& tag, const std::string& name) {
    if (!directories_.contains(tag)) {
        return ENOENT;
    }
    auto& files = directories_.at(tag);
    if (!is_shard(name)) {
        return files.erase(name) == 1 ? 0 : ENOENT;
    }
    const Look now = look(node, tag);
    const Kind kind = kind_of(now, name);
    if (kind == Kind::hidden || kind == Kind::removed || (kind == Kind::plain && !files.contains(name))) {
        return ENOENT;
    }
    if (!now.save) {
        files.erase(name);
        note_change(node, tag);
        return 0;
    }
    TagState& of_tag = state(node, tag);
    if (!of_tag.removal) {
        of_tag.removal = Removal{now.shards, *now.save, {}, {}, 0};
    }
    Removal& removal = *of_tag.removal;
    removal.last_ms = now_ms_;
    if (kind == Kind::plain) {
        files.erase(name);
        removal.gone.insert(name);
        return 0;
    }
    removal.removed.insert(name);
    const auto names = view_names();
    const bool is_last = std::all_of(names.begin(), names.end(), [&](const std::string& other) {
        return set_of(other) != set_of(name) || removal.removed.contains(other);
    });
    for (const auto& [shard, file] : removal.at_start) {
        if (is_last && set_of(shard) == set_of(name)) {
            files.erase(shard);
            removal.gone.insert(shard);
        }
    }
    return 0;
}

bool WritingModel::has_something(const std::string& path) const {
    return !directories_.at(path).empty() || !directories_in(path).empty();
}

void WritingModel::empty(std::size_t node, const std::string& path) {
    const Look now = look(node, path);
    auto& files = directories_.at(path);
    const auto names = view_names();
    const bool is_seen_empty =
        !now.removed.empty() && directories_in(path).empty() &&
        std::all_of(names.begin(), names.end(), [&](const auto& name) { return now.removed.contains(name); }) &&
        std::all_of(files.begin(), files.end(), [&](const auto& item) {
            return now.shards.contains(item.first) && !item.first.starts_with("layer_");
        });
    if (is_seen_empty) {
        for (const auto& [name, file] : files) {
            state(node, path).removal->gone.insert(name);
        }
        files.clear();
        state(node, path).removal->last_ms = now_ms_;
    }
}

int WritingModel::rmdir(std::size_t node, const std::string& path) {
    if (!directories_.contains(path)) {
        return ENOENT;
    }
    empty(node, path);
    if (has_something(path)) {
        return ENOTEMPTY;
    }
    directories_.erase(path);
    for (Node& each : nodes_) {
        each.erase(path);
    }
    return 0;
}

int WritingModel::rename_directory(std::size_t node, const std::string& from, const std::string& to) {
    if (!directories_.contains(from) || !directories_.contains(parent_of(to))) {
        return ENOENT;
    }
    if (from == to) {
        return 0;
    }
    if (is_below(to, from)) {
        return EINVAL;
    }
    if (directories_.contains(to)) {
        if (!is_below(from, to)) {
            empty(node, to);
        }
        if (has_something(to)) {
            return ENOTEMPTY;
        }
    }
    const auto moved = [&](auto& by_path) {
        std::remove_reference_t<decltype(by_path)> all;
        for (auto& [path, value] : by_path) {
            if (path == from || is_below(path, from)) {
                all.insert_or_assign(to + path.substr(from.size()), std::move(value));
            } else if (path != to) {
                all.emplace(path, std::move(value));
            }
        }
        by_path = std::move(all);
    };
    moved(directories_);
    for (Node& each : nodes_) {
        moved(each);
    }
    return 0;
}

int WritingModel::rename_file(std::size_t node, const std::string& tag, const std::string& name,
                              const std::string& new_name) {
    if (!directories_.contains(tag)) {
        return ENOENT;
    }
    auto& files = directories_.at(tag);
    const Kind kind = is_shard(name) ? kind_of(look(node, tag), name) : Kind::plain;
    if (kind == Kind::hidden || kind == Kind::removed || (kind == Kind::plain && !files.contains(name))) {
        return ENOENT;
    }
    if (name == new_name) {
        return 0;
    }
    if (kind == Kind::shown) {
        return EROFS;
    }
    if (is_shard(name) || is_shard(new_name)) {
        end_removal(node, tag);
    }
    set(tag, new_name, files.at(name).text);
    files.erase(name);
    if (is_shard(name) || is_shard(new_name)) {
        note_change(node, tag);
    }
    return 0;
}

int WritingModel::chmod(std::size_t node, const std::string& tag, const std::string& name) {
    if (!directories_.contains(tag)) {
        return ENOENT;
    }
    auto& files = directories_.at(tag);
    const Look now = is_shard(name) ? look(node, tag) : Look();
    const Kind kind = kind_of(now, name);
    if (kind == Kind::hidden || kind == Kind::removed || (kind == Kind::plain && !files.contains(name))) {
        return ENOENT;
    }
    for (auto& [other, file] : files) {
        if (other == name || (kind == Kind::shown && now.shards.contains(other) && set_of(other) == set_of(name))) {
            file.version = ++version_;
        }
    }
    return 0;
}

bool WritingModel::is_being_removed(const std::string& path) const {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
        const auto at = node.find(path);
        return at != node.end() && at->second->removal.has_value();
    });
}

std::map<std::string, std::string> WritingModel::shown(std::size_t node, const std::string& path) {
    const Look now = look(node, path);
    std::map<std::string, std::string> files;
    for (const auto& [name, file] : directories_.at(path)) {
        if (!is_shard(name) || kind_of(now, name) == Kind::plain) {
            files.emplace(name, file.text);
        }
    }
    for (const std::string& name : view_names()) {
        if (kind_of(now, name) == Kind::shown) {
            files.emplace(name, name + " of " + std::to_string(world_size_) + " from " +
                                    std::to_string(now.save->world_size) + " " + now.save->id);
        }
    }
    return files;
}

std::set<std::string> WritingModel::directories_in(const std::string& path) const {
    std::set<std::string> names;
    for (const auto& [other, files] : directories_) {
        if (!other.empty() && parent_of(other) == path) {
            names.insert(other.substr(path.empty() ? 0 : path.size() + 1));
        }
    }
    return names;
}

std::shared_ptr<WritingModel::Writer> WritingModel::hold(std::size_t node, const std::string& tag) {
    auto writer = std::make_shared<Writer>();
    ++state(node, tag).writers;
    writer->state_ = nodes_[node].at(tag);
    return writer;
}

void WritingModel::close(const std::shared_ptr<Writer>& writer) {
    --writer->state_->writers;
    writer->state_->changed_at_ms = now_ms_;
    writer->state_->removal.reset();
}

}  // namespace ckptfs::test
