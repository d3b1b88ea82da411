// What a directory with tags becomes, and what mounts of it show, by the table of operations alone: no stamps, no
// caches, no files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ckptfs::test {

/// Each operation answers 0 or an errno, as the system call does through the mount of `node`.
class WritingModel {
 public:
    /// Mounts at `world_size`, one for each node.
    WritingModel(std::uint64_t world_size, std::size_t nodes) : world_size_(world_size), nodes_(nodes) {}

    struct File {
        std::string text;
        std::uint64_t version = 0;  ///< another whenever anything about it changes

        bool operator==(const File&) const = default;
    };
    using Directory = std::map<std::string, File>;

    enum class Style { truncate, exclusive, append, read_write, replace, truncate_call };

    void pass(std::int64_t ms) { now_ms_ += ms; }
    /// The daemon of the node is killed, and another is started.
    void restart(std::size_t node) { nodes_[node] = Node(); }

    // In the tree itself, past all mounts.
    void make_in_source(const std::string& path) { directories_[path]; }
    void write_in_source(const std::string& tag, const std::string& name, const std::string& text);
    void remove_in_source(const std::string& tag, const std::string& name) { directories_.at(tag).erase(name); }

    int mkdir(const std::string& path);
    int write(std::size_t node, const std::string& tag, const std::string& name, const std::string& text, Style style);
    int unlink(std::size_t node, const std::string& tag, const std::string& name);
    int rmdir(std::size_t node, const std::string& path);
    int rename_directory(std::size_t node, const std::string& from, const std::string& to);
    int rename_file(std::size_t node, const std::string& tag, const std::string& name, const std::string& new_name);
    /// chmod(2).
    int chmod(std::size_t node, const std::string& tag, const std::string& name);

    /// What the node's mount shows: names and bytes.
    [[nodiscard]] std::map<std::string, std::string> shown(std::size_t node, const std::string& path);
    /// Whether some node is about to remove it.
    [[nodiscard]] bool is_being_removed(const std::string& path) const;
    /// Names of the directories in it.
    [[nodiscard]] std::set<std::string> directories_in(const std::string& path) const;
    [[nodiscard]] const std::map<std::string, Directory>& source() const { return directories_; }

    /// A shard that was opened by write() stays open until close(): its directory is being written.
    class Writer;
    std::shared_ptr<Writer> hold(std::size_t node, const std::string& tag);
    void close(const std::shared_ptr<Writer>& writer);

 private:
    struct Save {
        std::uint64_t world_size = 0;
        std::string id;
    };
    struct Removal {
        Directory at_start;  // the shards
        Save save;
        std::set<std::string> removed;
        std::set<std::string> gone;
        std::int64_t last_ms = 0;
    };
    struct TagState {
        int writers = 0;
        std::optional<std::int64_t> changed_at_ms;
        std::optional<Removal> removal;
    };
    using Node = std::map<std::string, std::shared_ptr<TagState>>;  // by path
    enum class Kind { plain, shown, hidden, removed };
    struct Look {
        std::optional<Save> save;  // of a tag that is shown as a view
        std::set<std::string> removed;
        Directory shards;
    };

    [[nodiscard]] static bool is_shard(std::string_view name) { return name.ends_with(".shard"); }
    [[nodiscard]] static int set_of(std::string_view name);
    [[nodiscard]] static Directory shards_of(const Directory& directory);
    [[nodiscard]] static std::optional<Save> whole_save(const Directory& directory);
    [[nodiscard]] std::set<std::string> view_names() const;
    TagState& state(std::size_t node, const std::string& path);
    [[nodiscard]] Look look(std::size_t node, const std::string& path);
    [[nodiscard]] Kind kind_of(const Look& look, const std::string& name) const;
    void set(const std::string& tag, const std::string& name, const std::string& text);
    void note_change(std::size_t node, const std::string& tag);
    void end_removal(std::size_t node, const std::string& tag);
    void empty(std::size_t node, const std::string& path);
    [[nodiscard]] bool has_something(const std::string& path) const;

    std::uint64_t world_size_;
    std::vector<Node> nodes_;
    std::map<std::string, Directory> directories_{{"", {}}};
    std::uint64_t version_ = 0;
    std::int64_t now_ms_ = 0;
};

class WritingModel::Writer {
    friend class WritingModel;
    std::shared_ptr<TagState> state_;
};

}  // namespace ckptfs::test
