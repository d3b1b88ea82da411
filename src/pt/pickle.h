// A pickle as a tree of values with identity: parsed, edited and written back, never executed.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::pickle {

enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,      ///< fits in int64: `integer`
    big_integer,  ///< `text`: little-endian two's complement, as LONG1/LONG4 store it
    real,
    string,  ///< `text`: UTF-8 (surrogates as Python's "surrogatepass" writes them)
    bytes,
    bytearray,
    tuple,
    list,
    dict,  ///< `items`: key, value, key, value …
    set,
    frozenset,
    global,         ///< `text`: module, '\n', name
    object,         ///< made by REDUCE, NEWOBJ or NEWOBJ_EX: `items` = callable, arguments[, keyword arguments]; see `mutations`
    persistent_id,  ///< `items` = the id
    extension,      ///< a copyreg extension code: `integer`
    buffer,         ///< an out-of-band buffer (protocol 5)
};

struct Node;

/// What happened to an object after it was made, in the pickle's order.
struct Mutation {
    enum class Kind : std::uint8_t { append_items, set_items, build };
    Kind kind;
    std::vector<const Node*> items;  ///< appended values; key, value …; or the one state
    std::vector<std::uint32_t> batches;
};

/// One value. Immutable once its tree is built; a value that the pickle refers to twice is one node.
struct Node {
    Kind kind = Kind::none;
    bool memoized = false;     ///< the writer gives it a memo slot (in order of writing, as Python's picklers do)
    std::uint8_t opcode = 0;   ///< the opcode that wrote it; 0: the writer chooses as Python's pickler would
    std::int64_t integer = 0;  ///< integer, boolean, extension
    double real = 0;
    std::string text;
    std::vector<const Node*> items;
    std::vector<Mutation> mutations;      ///< of objects (and of subclasses of list and dict, which are objects too)
    std::vector<std::uint32_t> batches;   ///< how list, dict and set items were batched; ignored when the count differs
};

/// A parsed pickle. Owns its nodes; immutable, safe for concurrent use.
class Tree {
   public:
    /// Protocols 2 to 5. `damaged` for anything malformed, naming the byte offset. Memory is bounded by bytes.size().
    static Result<std::shared_ptr<const Tree>> parse(std::string_view bytes);

    [[nodiscard]] const Node* root() const { return root_; }
    [[nodiscard]] int protocol() const { return protocol_; }
    /// Bytes of memory held.
    [[nodiscard]] std::uint64_t memory_nbytes() const { return memory_nbytes_; }

   private:
    friend class Parser;
    std::deque<Node> nodes_;
    const Node* root_ = nullptr;
    int protocol_ = 0;
    std::uint64_t memory_nbytes_ = 0;
};

/// Edits on top of a shared, immutable tree: costs what it changes, not what it keeps.
/// Every reference to a replaced node, wherever it hangs, is written as its replacement. Not thread-safe.
class Editor {
   public:
    explicit Editor(std::shared_ptr<const Tree> base);

    [[nodiscard]] const Tree& base() const { return *base_; }
    [[nodiscard]] const Node* root() const { return resolve(base_->root()); }
    /// The node that stands in `node`'s place now (itself if it was not replaced).
    [[nodiscard]] const Node* resolve(const Node* node) const;

    const Node* none();
    const Node* boolean(bool value);
    const Node* integer(std::int64_t value);
    const Node* string(std::string_view value);
    const Node* tuple(std::vector<const Node*> items);
    const Node* list(std::vector<const Node*> items);
    /// Key, value, key, value …
    const Node* dict(std::vector<const Node*> items);
    const Node* global(std::string_view module, std::string_view name);
    /// callable(*arguments) by REDUCE.
    const Node* reduce(const Node* callable, const Node* arguments);
    const Node* persistent_id(const Node* id);
    /// A copy of `node` (resolved) to be changed before anything is written; not yet in anybody's place.
    Node* copy(const Node* node);

    void replace(const Node* node, const Node* replacement);
    /// Replaces the value at `key` of a dict, or of an object that is a dict subclass (OrderedDict), keeping the key's place.
    /// `internal` if the key is absent.
    Result<void> set_item(const Node* dict, std::string_view key, const Node* value);
    /// Replaces the value at `index` of a list or tuple.
    Result<void> set_item(const Node* sequence, std::size_t index, const Node* value);

    /// The whole pickle, in the base's protocol. An unedited tree gives back the bytes that were parsed.
    [[nodiscard]] std::string write() const;
    /// The persistent-id nodes (resolved) in the order in which write() emits them, each reference once per emission.
    [[nodiscard]] std::vector<const Node*> persistent_ids() const;

   private:
    Node* add(Node node);

    std::shared_ptr<const Tree> base_;
    std::deque<Node> nodes_;
    std::unordered_map<const Node*, const Node*> replaced_;
};

/// Helpers to read a tree; each takes a node that may be nullptr and then answers as for a node of another kind.
[[nodiscard]] bool is_global(const Node* node, std::string_view module, std::string_view name);
/// An object made by calling module.name, by whichever opcode.
[[nodiscard]] bool is_object_of(const Node* node, std::string_view module, std::string_view name);
/// The (key, value) pairs of a dict, or of an object that is filled like one (OrderedDict); empty otherwise.
[[nodiscard]] std::vector<std::pair<const Node*, const Node*>> dict_items(const Node* node);
[[nodiscard]] bool is_dict_like(const Node* node);
/// The value at a string key, or nullptr.
[[nodiscard]] const Node* find(const Node* dict, std::string_view key);
/// The value at an integer key, or nullptr.
[[nodiscard]] const Node* find(const Node* dict, std::int64_t key);
/// The state that BUILD gave an object, or nullptr.
[[nodiscard]] const Node* state_of(const Node* object);
[[nodiscard]] bool is_string(const Node* node, std::string_view text);

}  // namespace ckptfs::pickle
