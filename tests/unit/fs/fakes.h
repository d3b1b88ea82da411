// A source in memory whose stamps, faults and speed a test controls, and tags that know no ZeRO.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "fs/file_system.h"
#include "util/memory_budget.h"

namespace ckptfs::fake {

class MemorySource final : public Source {
 public:
    MemorySource() { put("", FileType::directory, ""); }

    void put_directory(const std::string& path) { put(path, FileType::directory, ""); }
    void put_file(const std::string& path, const std::string& content) { put(path, FileType::regular, content); }
    void put_symlink(const std::string& path, const std::string& target) { put(path, FileType::symlink, target); }
    void put_special(const std::string& path) { put(path, FileType::fifo, ""); }
    /// Another name of the file at `target`.
    void put_link(const std::string& path, const std::string& target) {
        const std::lock_guard lock(mutex_);
        Item& item = items_.at(target);
        item.info.nlink = 2;
        item.info.stamp.ctime_ns += 1;
        items_.insert_or_assign(path, item);
    }
    /// One name of two, of which `other` stays.
    void remove_link(const std::string& path, const std::string& other) {
        const std::lock_guard lock(mutex_);
        items_.erase(path);
        items_.at(other).info.nlink = 1;
        items_.at(other).info.stamp.ctime_ns += 1;
    }
    /// As `cp -p path x && mv x path` does.
    void replace_by_copy(const std::string& path) {
        const std::lock_guard lock(mutex_);
        FileStamp& stamp = items_.at(path).info.stamp;
        stamp.inode = static_cast<std::uint64_t>(++clock_);
        stamp.ctime_ns = 2'000'000'000 + clock_;
    }
    /// As a write does whose time the file has had already.
    void rewrite_under_its_stamp(const std::string& path, const std::string& content) {
        const std::lock_guard lock(mutex_);
        items_.at(path).content = content;
    }
    [[nodiscard]] int refreshes() const { return refreshes_; }
    [[nodiscard]] int releases() const { return releases_; }
    void set_mode(const std::string& path, std::uint32_t mode) {
        const std::lock_guard lock(mutex_);
        items_.at(path).info.mode = mode;
    }
    void remove(const std::string& path) {
        const std::lock_guard lock(mutex_);
        items_.erase(path);
    }
    /// Every operation on `path` fails with `error` until heal().
    void fail(const std::string& path, Error error) {
        const std::lock_guard lock(mutex_);
        faults_.insert_or_assign(path, std::move(error));
    }
    void throw_at(const std::string& path) {
        const std::lock_guard lock(mutex_);
        throws_at_ = path;
    }
    void heal() {
        const std::lock_guard lock(mutex_);
        faults_.clear();
        throws_at_ = "(nowhere)";
    }
    [[nodiscard]] int lists() const { return lists_; }
    [[nodiscard]] int looks() const { return looks_; }
    [[nodiscard]] bool is_current(const std::string& path, const FileStamp& stamp) const {
        const std::lock_guard lock(mutex_);
        const auto place = resolve(path, LastLink::followed);
        const auto at = place.ok() ? items_.find(*place) : items_.end();
        return at != items_.end() && at->second.info.stamp == stamp;
    }

    [[nodiscard]] std::string display(std::string_view path) const override { return "SRC/" + std::string(path); }
    void refresh() const override { ++refreshes_; }
    Result<SourceStatistics> statistics() const override {
        return SourceStatistics{.block_nbytes = 512, .blocks = 7, .max_name_nbytes = 255};
    }
    void release_unused() const override { ++releases_; }
    Result<FileInfo> stat(const std::string& path) const override {
        ++looks_;
        const std::lock_guard lock(mutex_);
        CKPTFS_ASSIGN(const auto* item, find(path, LastLink::kept));
        return item->info;
    }
    Result<FileInfo> stat_target(const std::string& path) const override {
        ++looks_;
        const std::lock_guard lock(mutex_);
        CKPTFS_ASSIGN(const auto* item, find(path, LastLink::followed));
        return item->info;
    }
    Result<std::vector<FileInfo>> way_to(const std::string& path) const override {
        std::vector<FileInfo> way;
        std::string at = path;
        while (!at.empty() && at != "/") {
            const auto slash = at.rfind('/');
            at.resize(slash == std::string::npos ? 0 : std::max<std::size_t>(slash, at.starts_with('/') ? 1 : 0));
            CKPTFS_ASSIGN(const FileInfo info, stat(at == "/" ? "" : at));
            way.push_back(info);
        }
        return way;
    }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override {
        ++lists_;
        const std::lock_guard lock(mutex_);
        CKPTFS_ASSIGN(const auto* directory, find(path, LastLink::followed));
        if (directory->info.type != FileType::directory) {
            return Error(ErrorCode::not_found, display(path) + " is no directory", ENOTDIR);
        }
        std::vector<DirectoryEntry> entries;
        CKPTFS_ASSIGN(const auto place, resolve(path, LastLink::followed));
        const auto prefix = place.empty() ? "" : place + "/";
        for (const auto& [name, item] : items_) {
            if (!name.empty() && name.starts_with(prefix) && name.find('/', prefix.size()) == std::string::npos) {
                entries.push_back({name.substr(prefix.size()), item.info.type});
            }
        }
        return entries;
    }
    Result<std::string> read_link(const std::string& path) const override {
        const std::lock_guard lock(mutex_);
        CKPTFS_ASSIGN(const auto* item, find(path, LastLink::kept));
        if (item->info.type != FileType::symlink) {
            return Error(ErrorCode::io, display(path) + " is no symbolic link", EINVAL);
        }
        return item->content;
    }
    Result<std::string> resolve(const std::string& path) const override {
        const std::lock_guard lock(mutex_);
        CKPTFS_ASSIGN(auto place, resolve(path, LastLink::followed));
        CKPTFS_TRY(find(place, LastLink::kept));
        return place;
    }
    Result<std::shared_ptr<const File>> open(const std::string& path) const override;

    [[nodiscard]] std::string content(const std::string& path) const {
        const std::lock_guard lock(mutex_);
        return items_.at(path).content;
    }

 private:
    struct Item {
        FileInfo info;
        std::string content;
    };

    void put(const std::string& path, FileType type, const std::string& content) {
        const std::lock_guard lock(mutex_);
        ++clock_;
        Item item;
        item.info.type = type;
        item.info.mode = type == FileType::directory ? 0755 : type == FileType::symlink ? 0777 : 0644;
        item.info.uid = 1000;
        item.info.gid = 1001;
        item.info.blocks = 8;
        item.info.atime_ns = 5;
        item.info.stamp = {1, static_cast<std::uint64_t>(clock_), content.size(), 1'000'000'000 + clock_,
                           2'000'000'000 + clock_};
        item.content = content;
        items_.insert_or_assign(path, std::move(item));
    }
    enum class LastLink { kept, followed };

    /// `path` without the symbolic links that lead on; the last component's is one of them only if it is followed. The
    /// tree lies at "/src", and what was put at an absolute path lies outside.
    Result<std::string> resolve(const std::string& path, LastLink last_link) const {
        if (("/" + path + "/").find("/../") != std::string::npos) {
            return Error(ErrorCode::invalid_argument, path + " leaves the tree");
        }
        const auto own = [](const std::filesystem::path& place) {
            const std::string text = place.string();
            return text == "/src" ? "" : text.starts_with("/src/") ? text.substr(5) : text;
        };
        std::string rest = path.starts_with('/') ? path : "/src/" + path;
        std::filesystem::path done = "/";
        int links = 0;
        while (true) {
            rest.erase(0, std::min(rest.find_first_not_of('/'), rest.size()));
            if (rest.empty()) {
                return own(done);
            }
            const auto name = rest.substr(0, rest.find('/'));
            rest.erase(0, name.size());
            if (name == "..") {
                done = done.parent_path();
                continue;
            }
            const auto at = items_.find(own(done / name));
            const bool leads_on = at != items_.end() && at->second.info.type == FileType::symlink &&
                                  (last_link == LastLink::followed || !rest.empty());
            if (!leads_on) {
                done /= name;
                continue;
            }
            if (++links > 40) {
                return Error(ErrorCode::io, display(path) + " leads through too many symbolic links", ELOOP);
            }
            const auto& target = at->second.content;
            done = target.starts_with('/') ? std::filesystem::path("/") : done;
            rest = target + rest;
        }
    }
    Result<const Item*> find(const std::string& path, LastLink last_link) const {
        if (path == throws_at_) {
            throw std::runtime_error("planted");
        }
        if (const auto fault = faults_.find(path); fault != faults_.end()) {
            return fault->second;
        }
        CKPTFS_ASSIGN(const auto place, resolve(path, last_link));
        const auto at = items_.find(place);
        if (at == items_.end()) {
            return Error(ErrorCode::not_found, display(path) + " does not exist");
        }
        return &at->second;
    }

    mutable std::mutex mutex_;
    mutable std::atomic<int> lists_ = 0;
    mutable std::atomic<int> looks_ = 0;
    mutable std::atomic<int> refreshes_ = 0;
    mutable std::atomic<int> releases_ = 0;
    std::map<std::string, Item> items_;
    std::map<std::string, Error> faults_;
    std::string throws_at_ = "(nowhere)";
    std::int64_t clock_ = 0;
};

/// Bytes that are stale once `unchanged` says no.
class MemoryFile final : public File {
 public:
    MemoryFile(std::string name, std::string content, std::function<bool()> unchanged)
        : name_(std::move(name)), content_(std::move(content)), unchanged_(std::move(unchanged)) {}
    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return content_.size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (!unchanged_()) {
            return Error(ErrorCode::stale, name_ + " changed");
        }
        if (offset > content_.size() || out.size() > content_.size() - offset) {
            return Error(ErrorCode::invalid_argument, "past the end");
        }
        content_.copy(reinterpret_cast<char*>(out.data()), out.size(), offset);
        return {};
    }
    Result<bool> hand_over_unchecked(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target,
                                     FilesRead& read) const override {
        read.add(this);
        return target.take(std::as_bytes(std::span(content_)).subspan(offset, nbytes));
    }
    Result<void> check() const override {
        return unchanged_() ? Result<void>() : Error(ErrorCode::stale, name_ + " changed");
    }

 private:
    std::string name_;
    std::string content_;
    std::function<bool()> unchanged_;
};

inline Result<std::shared_ptr<const File>> MemorySource::open(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    CKPTFS_ASSIGN(const auto* item, find(path, LastLink::followed));
    if (item->info.type != FileType::regular) {
        return Error(ErrorCode::unsupported, display(path) + " is not a regular file");
    }
    return std::shared_ptr<const File>(std::make_shared<MemoryFile>(
        path, item->content, [this, path, stamp = item->info.stamp] { return is_current(path, stamp); }));
}

/// `world_size` files rank_0.pt, rank_1.pt ... that say which they are and what the shards held.
class RankView final : public View {
 public:
    RankView(std::uint64_t world_size, std::string text, FileInfo info, std::function<bool()> unchanged)
        : world_size_(world_size), text_(std::move(text)), info_(info), unchanged_(std::move(unchanged)) {}
    [[nodiscard]] std::size_t file_count() const override { return world_size_; }
    [[nodiscard]] std::string file_name(std::size_t index) const override {
        return "rank_" + std::to_string(index) + ".pt";
    }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view file_name) const override {
        for (std::size_t i = 0; i < std::min<std::size_t>(world_size_, 100); ++i) {
            if (this->file_name(i) == file_name) {
                return i;
            }
        }
        return std::nullopt;
    }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override { return content(index).size(); }
    [[nodiscard]] FileInfo file_info(std::size_t /*index*/) const override { return info_; }
    [[nodiscard]] bool read_once(std::size_t index) const override { return index % 2 == 1; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        return std::shared_ptr<const File>(std::make_shared<MemoryFile>(file_name(index), content(index), unchanged_));
    }

 private:
    [[nodiscard]] std::string content(std::size_t index) const {
        return "rank " + std::to_string(index) + " of " + std::to_string(world_size_) + ": " + text_;
    }

    std::uint64_t world_size_;
    std::string text_;
    FileInfo info_;
    std::function<bool()> unchanged_;
};

/// Files with these paths, which hold their path and what the shards held.
class TreeView final : public View {
 public:
    TreeView(std::vector<std::string> paths, std::string text, FileInfo info, std::function<bool()> unchanged)
        : paths_(std::move(paths)),
          directories_(paths_),
          text_(std::move(text)),
          info_(info),
          unchanged_(std::move(unchanged)) {}
    [[nodiscard]] std::size_t file_count() const override { return paths_.size(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override { return paths_[index]; }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view path) const override {
        const auto found = std::find(paths_.begin(), paths_.end(), path);
        return found == paths_.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - paths_.begin()));
    }
    [[nodiscard]] const ViewDirectories* directories() const override { return &directories_; }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override { return content(index).size(); }
    [[nodiscard]] FileInfo file_info(std::size_t /*index*/) const override { return info_; }
    [[nodiscard]] bool read_once(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        return std::shared_ptr<const File>(std::make_shared<MemoryFile>(file_name(index), content(index), unchanged_));
    }

 private:
    [[nodiscard]] std::string content(std::size_t index) const { return paths_[index] + ": " + text_; }

    std::vector<std::string> paths_;
    ViewDirectories directories_;
    std::string text_;
    FileInfo info_;
    std::function<bool()> unchanged_;
};

class ShardTag final : public Tag {
 public:
    [[nodiscard]] const Error* problem() const override { return problem_ ? &*problem_ : nullptr; }
    [[nodiscard]] const std::vector<std::string>& warnings() const override { return warnings_; }
    [[nodiscard]] std::vector<ViewRequest> suggestions() const override {
        ++*suggested_;
        return {ViewRequest::at_world_size(names_.size())};
    }
    [[nodiscard]] const std::vector<std::string>& replaced_files() const override { return names_; }
    [[nodiscard]] const std::vector<std::string>& stamped_files() const override { return names_; }
    [[nodiscard]] const std::vector<FileStamp>& stamps() const override { return stamps_; }
    [[nodiscard]] bool is_of_save(std::size_t index) const override { return !names_[index].starts_with("left_over"); }
    [[nodiscard]] Result<std::shared_ptr<const View>> show(const ViewRequest& request) const override {
        if (problem_) {
            return *problem_;
        }
        if (request.world_size == 13) {
            return Error(ErrorCode::unsupported, "thirteen is not supported");
        }
        while_cut_();
        if (request.kind != ViewKind::world_size) {
            return std::shared_ptr<const View>(std::make_shared<TreeView>(paths_, text_, info_, unchanged_));
        }
        return std::shared_ptr<const View>(std::make_shared<RankView>(request.world_size, text_, info_, unchanged_));
    }

    std::shared_ptr<std::atomic<int>> suggested_ = std::make_shared<std::atomic<int>>(0);
    std::optional<Error> problem_;
    std::vector<std::string> warnings_;
    std::vector<std::string> paths_;  // of a view that is of no world size
    std::vector<std::string> names_;
    std::vector<FileStamp> stamps_;
    std::string text_;
    FileInfo info_;
    std::function<bool()> unchanged_;
    std::function<void()> while_cut_;
    MemoryReservation memory_{MemoryBudget::of_process()};
};

/// A directory with files *.shard is a tag, broken if one of them reads "broken", unreadable if "unreadable". Shards
/// that start with "=" must be equal.
class ShardReader final : public TagReader {
 public:
    [[nodiscard]] bool recognises(const std::vector<DirectoryEntry>& listing) const override {
        return !shard_files(listing).empty();
    }
    [[nodiscard]] std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) const override {
        std::vector<std::string> names;
        for (const auto& entry : listing) {
            if (entry.name.ends_with(".shard")) {
                names.push_back(entry.name);
            }
        }
        return names;
    }
    [[nodiscard]] std::shared_ptr<const Tag> read(const Source& source, const std::string& directory) const override {
        {
            std::unique_lock lock(mutex_);
            ++reads_;
            changed_.notify_all();
            changed_.wait(lock, [this] { return !held_; });
        }
        const auto& memory = dynamic_cast<const MemorySource&>(source);
        auto tag = std::make_shared<ShardTag>();
        std::vector<std::pair<std::string, FileStamp>> shards;
        std::vector<std::string> contents;
        for (const auto& name : shard_files(source.list(directory).value())) {
            const auto path = directory.empty() ? name : directory + "/" + name;
            std::string content;
            do {  // a stamp and the bytes under it
                tag->info_ = source.stat(path).value();
                content = memory.content(path);
            } while (source.stat(path).value().stamp != tag->info_.stamp);
            tag->names_.push_back(name);
            tag->stamps_.push_back(tag->info_.stamp);
            tag->text_ += content;
            contents.push_back(std::move(content));
            shards.emplace_back(path, tag->info_.stamp);
        }
        if (tag->text_.find("broken") != std::string::npos) {
            tag->problem_ = Error(ErrorCode::damaged, "a shard is broken");
        }
        if (tag->text_.find("unreadable") != std::string::npos) {
            tag->problem_ = Error(ErrorCode::io, "a shard cannot be read", EIO);
        }
        for (const auto& text : contents) {
            if (text.starts_with('=') && tag->text_.find_first_not_of(text) != std::string::npos) {
                tag->problem_ = Error(ErrorCode::inconsistent, "the shards belong to different saves");
            }
        }
        if (!tag->memory_.resize(memory_of_a_tag_)) {
            tag->problem_ = Error(ErrorCode::io, "no memory for the shards", ENOMEM);
        }
        tag->while_cut_ = while_cut_;
        tag->suggested_ = suggested_;
        tag->paths_ = paths_;
        tag->unchanged_ = [&memory, shards] {
            for (const auto& [path, stamp] : shards) {
                if (!memory.is_current(path, stamp)) {
                    return false;
                }
            }
            return true;
        };
        const std::lock_guard lock(mutex_);
        last_ = tag;
        return tag;
    }
    [[nodiscard]] Placement placement(const ViewRequest& request) const override {
        return request.kind == ViewKind::world_size ? Placement{.in_tag = true} : placement_;
    }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& request) const override {
        return request.kind == ViewKind::world_size ? std::vector<std::string>() : unshown_;
    }
    /// The file `latest` of the directory does.
    [[nodiscard]] Result<std::optional<std::string>> named_tag(const Source& source,
                                                               const std::string& holder) const override {
        const std::string path = holder.empty() ? "latest" : holder + "/latest";
        if (!source.stat(path)) {
            return std::optional<std::string>();
        }
        const auto name = dynamic_cast<const MemorySource&>(source).content(path);
        return std::optional(holder.empty() ? name : holder + "/" + name);
    }
    /// How often tags were asked for suggestions.
    [[nodiscard]] int suggested() const { return *suggested_; }
    /// Of all requests but those for a world size, of the tags read from now on.
    void show_at(Placement placement, std::vector<std::string> paths, std::vector<std::string> unshown = {}) {
        placement_ = std::move(placement);
        paths_ = std::move(paths);
        unshown_ = std::move(unshown);
    }
    /// Whether anybody has the tag that was read last.
    [[nodiscard]] bool is_last_held() const {
        const std::lock_guard lock(mutex_);
        return !last_.expired();
    }

    [[nodiscard]] int reads() const {
        const std::lock_guard lock(mutex_);
        return reads_;
    }
    /// Counted while a tag is in memory, bytes; its problem where there is no room.
    void set_memory_of_a_tag(std::uint64_t nbytes) { memory_of_a_tag_ = nbytes; }
    /// Of the tags read from now on.
    void while_cut(std::function<void()> action) { while_cut_ = std::move(action); }
    /// While held, read() does not come back.
    void hold(bool held) {
        const std::lock_guard lock(mutex_);
        held_ = held;
        changed_.notify_all();
    }
    void wait_for_reads(int count) const {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return reads_ >= count; });
    }

 private:
    std::shared_ptr<std::atomic<int>> suggested_ = std::make_shared<std::atomic<int>>(0);
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    mutable int reads_ = 0;
    mutable std::weak_ptr<const Tag> last_;
    bool held_ = false;
    Placement placement_;
    std::vector<std::string> paths_;
    std::vector<std::string> unshown_;
    std::uint64_t memory_of_a_tag_ = 0;
    std::function<void()> while_cut_ = [] {};
};

}  // namespace ckptfs::fake
