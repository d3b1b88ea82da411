// Walks along paths, with the directories on the way kept as the kernel keeps them.
#include "fs/view_tree.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <list>
#include <mutex>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "util/path.h"

namespace ckptfs {
namespace {

constexpr std::size_t most_directories = 1024;
constexpr unsigned most_links = 40;  // as the kernel has it
constexpr std::chrono::seconds tidying_interval{2};

FileInfo info_of_shown(const Attributes& shown) {
    FileInfo info;
    info.stamp = {0, shown.inode, shown.size, shown.mtime_ns, shown.ctime_ns};
    info.type = shown.type;
    info.mode = shown.mode;
    info.uid = shown.uid;
    info.gid = shown.gid;
    info.nlink = shown.nlink;
    info.device = shown.device;
    info.atime_ns = shown.atime_ns;
    info.blocks = shown.blocks;
    return info;
}

}  // namespace

/// One lookup of an inode, which is given back.
class ViewTree::Reference {
 public:
    Reference(FileSystem& file_system, std::uint64_t inode) : file_system_(file_system), inode_(inode) {}
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;
    ~Reference() {
        if (inode_ != root_inode) {
            file_system_.forget(inode_, 1);
        }
    }

    [[nodiscard]] std::uint64_t inode() const { return inode_; }

 private:
    FileSystem& file_system_;
    std::uint64_t inode_;
};

/// The directories that were looked at last, by their paths without links. One that may no longer be relied on stays
/// until another takes its place: with the last reference to its inode a tag leaves memory.
class ViewTree::Directories {
 public:
    using Shared = std::shared_ptr<const Reference>;

    Shared find(const std::string& path, TimePoint now) {
        const std::lock_guard lock(mutex_);
        const auto known = index_.find(path);
        if (known == index_.end() || known->second->until <= now) {
            return nullptr;
        }
        entries_.splice(entries_.begin(), entries_, known->second);
        return entries_.front().directory;
    }

    void keep(const std::string& path, Shared directory, TimePoint until) {
        Shared released;  // destroyed after the lock
        const std::lock_guard lock(mutex_);
        if (const auto known = index_.find(path); known != index_.end()) {
            known->second->directory.swap(directory);
            known->second->until = until;
            entries_.splice(entries_.begin(), entries_, known->second);
            released = std::move(directory);
            return;
        }
        entries_.push_front({path, std::move(directory), until});
        index_.emplace(path, entries_.begin());
        if (entries_.size() > most_directories) {
            released = std::move(entries_.back().directory);
            index_.erase(entries_.back().path);
            entries_.pop_back();
        }
    }

    void expire() {
        const std::lock_guard lock(mutex_);
        for (Entry& entry : entries_) {
            entry.until = TimePoint::min();
        }
    }

 private:
    struct Entry {
        std::string path;
        Shared directory;
        TimePoint until;
    };

    std::mutex mutex_;
    std::list<Entry> entries_;  // most recently used first
    std::unordered_map<std::string, std::list<Entry>::iterator> index_;
};

/// From the root to one entry.
class ViewTree::Walk {
 public:
    /// `relies_on_entries`: of directories on the way, as long as they last.
    Walk(const ViewTree& tree, bool relies_on_entries)
        : file_system_(*tree.file_system_),
          directories_(*tree.directories_),
          now_(tree.now_()),
          relies_on_entries_(relies_on_entries) {}

    Outcome<Done> go(std::string_view path, LastLink last_link) {
        way_.push_back({"", std::make_shared<const Reference>(file_system_, root_inode)});
        add_in_front(path);
        while (!ahead_.empty()) {
            const std::string name = std::move(ahead_.back());
            ahead_.pop_back();
            auto done = step(name, last_link);
            if (!done.ok()) {
                return done;
            }
        }
        return Done{};
    }

    /// Without symbolic links.
    [[nodiscard]] const std::string& path() const { return way_.back().path; }
    [[nodiscard]] std::uint64_t inode() const { return way_.back().entry->inode(); }
    [[nodiscard]] Outcome<Attributes> attributes() const {
        if (found_) {
            return *found_;
        }
        const auto now = file_system_.getattr(inode());
        return now.ok() ? Outcome(now.value.attributes) : now.failure();
    }
    [[nodiscard]] FileSystem& file_system() const { return file_system_; }

 private:
    struct Step {
        std::string path;
        Directories::Shared entry;
    };

    void add_in_front(std::string_view path) {
        const auto names = path_components(path);
        ahead_.insert(ahead_.end(), names.rbegin(), names.rend());
    }

    Outcome<Done> step(const std::string& name, LastLink last_link) {
        found_.reset();
        if (name == "..") {  // of a link's text
            if (way_.size() == 1) {
                return Errno{ENOENT};
            }
            way_.pop_back();
            return Done{};
        }
        const bool is_last = ahead_.empty();
        std::string path = join_path(way_.back().path, name);
        if (!is_last && relies_on_entries_) {
            if (auto known = directories_.find(path, now_)) {
                way_.push_back({std::move(path), std::move(known)});
                return Done{};
            }
        }
        const auto entry = file_system_.lookup(inode(), name);
        if (!entry.ok()) {
            return entry.failure();
        }
        auto reference = std::make_shared<const Reference>(file_system_, entry.value.attributes.inode);
        const FileType type = entry.value.attributes.type;
        if (type == FileType::symlink && (!is_last || last_link == LastLink::followed)) {
            return follow(*reference);
        }
        if (type == FileType::directory) {
            directories_.keep(path, reference,
                              now_ + std::chrono::duration_cast<TimePoint::duration>(entry.value.entry_lifetime));
        } else if (!is_last) {
            return Errno{ENOTDIR};
        }
        way_.push_back({std::move(path), std::move(reference)});
        found_ = entry.value.attributes;
        return Done{};
    }

    Outcome<Done> follow(const Reference& link) {
        if (++links_ > most_links) {
            return Errno{ELOOP};
        }
        const auto text = file_system_.readlink(link.inode());
        if (!text.ok()) {
            return text.failure();
        }
        if (text.value.starts_with('/')) {
            return Errno{ENOENT};  // nothing outside is shown
        }
        add_in_front(text.value);
        return Done{};
    }

    FileSystem& file_system_;
    Directories& directories_;
    TimePoint now_;
    bool relies_on_entries_;
    std::vector<std::string> ahead_;   // names, the next one last
    std::vector<Step> way_;            // directories, and at its end what was found
    std::optional<Attributes> found_;  // of the last entry, where it has just been looked up
    unsigned links_ = 0;
};

ViewTree::ViewTree(std::unique_ptr<FileSystem> file_system, std::string name, std::function<TimePoint()> now)
    : file_system_(std::move(file_system)),
      name_(std::move(name)),
      now_(std::move(now)),
      directories_(std::make_unique<Directories>()),
      tidied_at_(now_()) {}

ViewTree::~ViewTree() = default;

template <class Operation>
auto ViewTree::at(const std::string& path, LastLink last_link, const char* action, Operation&& operation) const {
    using Answer = decltype(operation(std::declval<Walk&>()));
    using Value = Result<decltype(Answer::value)>;
    if (leaves_root(path) || path.starts_with('/')) {
        return Value(Error(ErrorCode::invalid_argument, "'" + path + "' does not name anything below '" + name_ +
                                                            "': give a path relative to that, without '..'"));
    }
    const auto answer_of = [&](bool relies_on_entries) -> Answer {
        Walk walk(*this, relies_on_entries);
        const auto arrived = walk.go(path, last_link);
        return arrived.ok() ? operation(walk) : arrived.failure();
    };
    Answer answer = answer_of(true);
    if (answer.error == ESTALE) {
        answer = answer_of(false);
    }
    tidy_if_due();
    return answer.ok() ? Value(std::move(answer.value)) : Value(error_of(path, action, answer.failure()));
}

void ViewTree::tidy_if_due() const {
    const std::unique_lock lock(tidying_, std::try_to_lock);
    if (lock.owns_lock() && now_() - tidied_at_ >= tidying_interval) {
        tidied_at_ = now_();
        file_system_->tidy();
    }
}

Error ViewTree::error_of(const std::string& path, const char* action, const Errno& failure) const {
    const std::string start = "'" + display(path) + "' cannot be " + action;
    if (failure.reason) {
        return failure.reason->within(start);
    }
    if (failure.value == ESTALE) {
        return {ErrorCode::stale, start + ", because it has changed meanwhile: try again"};
    }
    const bool is_missing = failure.value == ENOENT || failure.value == ENOTDIR;
    const std::string why = failure.value == ELOOP ? "it is a symbolic link that leads nowhere, or in a circle"
                                                   : std::generic_category().message(failure.value);
    return {is_missing ? ErrorCode::not_found : ErrorCode::io, start + ": " + why, failure.value};
}

std::string ViewTree::display(std::string_view path) const {
    return path.empty() ? name_ : name_ + "/" + std::string(path);
}

void ViewTree::refresh() const {
    directories_->expire();
    file_system_->refresh();
}

void ViewTree::release_unused() const {
    file_system_->tidy();
}

Result<SourceStatistics> ViewTree::statistics() const {
    const auto found = file_system_->statfs();
    return found.ok() ? Result(found.value) : error_of("", "asked for its file system", found.failure());
}

Result<FileInfo> ViewTree::info(const std::string& path, LastLink last_link) const {
    return at(path, last_link, "looked up", [](const Walk& walk) {
        const auto found = walk.attributes();
        return found.ok() ? Outcome(info_of_shown(found.value)) : found.failure();
    });
}

Result<FileInfo> ViewTree::stat(const std::string& path) const {
    return info(path, LastLink::kept);
}

Result<FileInfo> ViewTree::stat_target(const std::string& path) const {
    return info(path, LastLink::followed);
}

Result<std::vector<DirectoryEntry>> ViewTree::list(const std::string& path) const {
    using Entries = std::vector<DirectoryEntry>;
    return at(path, LastLink::followed, "listed", [](const Walk& walk) -> Outcome<Entries> {
        FileSystem& file_system = walk.file_system();
        const auto handle = file_system.opendir(walk.inode());
        if (!handle.ok()) {
            return handle.failure();
        }
        Entries entries;
        std::vector<std::size_t> untold;
        const auto read = file_system.readdir(handle.value, 0, [&](const ListedEntry& entry) {
            const std::string_view name = entry.name;
            if (name != "." && name != "..") {
                if (!entry.type) {
                    untold.push_back(entries.size());
                }
                entries.push_back({std::string(name), entry.type.value_or(FileType::other)});
            }
            return true;
        });
        file_system.releasedir(handle.value);
        if (!read.ok()) {
            return read.failure();
        }
        for (const std::size_t index : untold) {
            if (const auto entry = file_system.lookup(walk.inode(), entries[index].name); entry.ok()) {
                const Reference given_back(file_system, entry.value.attributes.inode);
                entries[index].type = entry.value.attributes.type;
            }
        }
        std::sort(entries.begin(), entries.end(),
                  [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
        return entries;
    });
}

Result<std::string> ViewTree::read_link(const std::string& path) const {
    return at(path, LastLink::kept, "read as a symbolic link",
              [](const Walk& walk) { return walk.file_system().readlink(walk.inode()); });
}

Result<std::string> ViewTree::resolve(const std::string& path) const {
    return at(path, LastLink::followed, "followed", [](const Walk& walk) { return Outcome(walk.path()); });
}

Result<std::shared_ptr<const File>> ViewTree::open(const std::string& path) const {
    using Opened = std::shared_ptr<const File>;
    return at(path, LastLink::followed, "opened", [](const Walk& walk) -> Outcome<Opened> {
        const auto found = walk.attributes();
        if (!found.ok()) {
            return found.failure();
        }
        if (found.value.type != FileType::regular) {
            const bool is_directory = found.value.type == FileType::directory;
            return Errno{is_directory ? EISDIR : ENXIO,
                         std::make_shared<const Error>(ErrorCode::unsupported,
                                                       is_directory ? "it is a directory" : "it is a special file",
                                                       is_directory ? EISDIR : ENXIO)};
        }
        return walk.file_system().open_file(walk.inode());
    });
}

std::string name_of_view(const Source& source, const std::optional<ViewRequest>& request) {
    return source.display("") + (request ? " (" + request->name() + ")" : " (views)");
}

}  // namespace ckptfs
