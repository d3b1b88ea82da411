// A pickle as a tree of values with identity: parsed, edited and written back, never executed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "util/memory_budget.h"

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
    global,  ///< `items`: module and name as strings where STACK_GLOBAL takes them from the stack, else `text`: module,
             ///< '\n', name; see global_name()
    object,  ///< made by REDUCE, NEWOBJ or NEWOBJ_EX: `items` = callable, arguments[, keyword arguments]; see
             ///< `mutations`
    persistent_id,  ///< `items` = the id
    extension,      ///< a copyreg extension code: `integer`
    buffer,         ///< an out-of-band buffer (protocol 5); `integer`: 1 if it is read-only
};

struct Node;

/// What happened to an object after it was made, in the pickle's order.
struct Mutation {
    enum class Kind : std::uint8_t {
        append_items,  ///< `items`: the appended values
        set_items,     ///< `items`: key, value, key, value …
        build,         ///< `items`: the one state
        call,          ///< `items`: the one call that set the state, its result dropped (a reducer's state setter)
    };
    Kind kind = Kind::build;
    std::vector<const Node*> items;
    std::vector<std::uint32_t> batches;  ///< as in WriteHints
};

/// Where a pickle differs from what Python's C pickler would have written for the same tree. Rare; never affects a
/// value.
struct WriteHints {
    /// How list, dict and set items were batched: entries per batch, or `single` for one without MARK.
    /// Empty, or not fitting the number of items: as the C pickler does.
    std::vector<std::uint32_t> batches;
    /// A recursive object was begun several times, each time while the arguments of the time before were written: all
    /// but the innermost beginning are thrown away. Outermost last.
    struct Detour {
        const Node* thrown_away = nullptr;
        std::size_t mutations = 0;  ///< how many of the object's mutations come before the throwing away
    };
    std::vector<Detour> detours;

    static constexpr std::uint32_t single = UINT32_MAX;
};

/// One value. Immutable once its tree is built; a value that the pickle refers to twice is one node.
/// Nodes form a graph that may be cyclic and, in a hostile file, as deep as it has nodes: walk it without recursion.
struct Node {
    Kind kind = Kind::none;
    bool memoized = false;     ///< the writer gives it a memo slot (in order of writing, as Python's picklers do)
    std::uint8_t opcode = 0;   ///< the opcode that wrote it; 0: the writer chooses as Python's C pickler would
    std::uint32_t number = 0;  ///< among the nodes of its tree, or of its Editor after those of the tree
    std::int64_t integer = 0;  ///< integer, boolean, extension, buffer
    double real = 0;
    std::string text;
    std::vector<const Node*> items;
    std::vector<Mutation> mutations;    ///< of objects (and of subclasses of list and dict, which are objects too)
    const WriteHints* hints = nullptr;  ///< owned by the tree that was parsed
};

/// A parsed pickle. Owns its nodes; immutable, safe for concurrent use.
class Tree {
 public:
    /// Protocols 2 to 5. `damaged` for anything malformed and for nesting beyond 20,000 levels, `unsupported` for what
    /// only protocols 0 and 1 and Python 2 write; both name the byte offset. A byte of a pickle can ask for more than a
    /// hundred of memory: what the tree and the parser hold is counted, and `io` with ENOMEM where `budget` has no
    /// more.
    static Result<std::shared_ptr<const Tree>> parse(std::string_view bytes,
                                                     MemoryBudget& budget = MemoryBudget::of_process());

    /// None and nothing else.
    static std::shared_ptr<const Tree> of_none(int protocol);

    [[nodiscard]] const Node* root() const { return root_; }
    [[nodiscard]] int protocol() const { return protocol_; }
    /// Bytes of memory held.
    [[nodiscard]] std::uint64_t memory_nbytes() const { return memory_nbytes_; }

 private:
    friend class Parser;
    friend class Editor;
    friend class Writer;
    std::deque<Node> nodes_;
    std::deque<WriteHints> hints_;
    const Node* root_ = nullptr;
    int protocol_ = 0;
    std::uint64_t nbytes_ = 0;  // of the pickle
    std::uint64_t memory_nbytes_ = 0;
    MemoryReservation reservation_;
};

/// Edits on top of a shared, immutable tree: costs what it changes, not what it keeps.
/// Every reference to a replaced node, wherever it hangs, is written as its replacement. Not thread-safe.
/// New strings, tuples, lists, dicts, globals and objects get memo slots, as every Python value of their kind does.
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
    const Node* real(double value);
    /// An object of its own, even where another string is equal.
    const Node* string(std::string_view value);
    /// The one object of that text, as a literal in Python is.
    const Node* literal(std::string_view value);
    const Node* tuple(std::vector<const Node*> items);
    const Node* list(std::vector<const Node*> items);
    /// Key, value, key, value …
    const Node* dict(std::vector<const Node*> items);
    /// The one object of that name.
    const Node* global(std::string_view module, std::string_view name);
    /// callable(*arguments) by REDUCE.
    const Node* reduce(const Node* callable, const Node* arguments);
    /// An object of class `type` that was made without arguments and has `state`: type.__new__(type), then BUILD.
    const Node* instance(const Node* type, const Node* state);
    const Node* persistent_id(const Node* id);
    /// An OrderedDict. Key, value, key, value …
    const Node* ordered_dict(std::vector<const Node*> items);
    /// A shallow copy of `node` (resolved) to be changed before anything is written; not yet in anybody's place.
    /// Its `opcode` is left to the writer, except for objects and tuples.
    Node* copy(const Node* node);

    /// Nodes of `tree`, which is kept, may be hung into this tree.
    void take_from(std::shared_ptr<const Tree> tree) { taken_from_.push_back(std::move(tree)); }

    /// `replacement` must not contain `node`, save inside a list, a dict or another value that can hold itself.
    void replace(const Node* node, const Node* replacement);
    /// Replaces the value at `key` of a dict, or of an object that is a dict subclass (OrderedDict), keeping the key's
    /// place. All references to the dict see it. `internal` if the key is absent.
    Result<void> set_item(const Node* dict, std::string_view key, const Node* value);
    /// Replaces the value at `index` of a list or tuple.
    Result<void> set_item(const Node* sequence, std::size_t index, const Node* value);

    /// The whole pickle, in the base's protocol. An unedited tree gives back the bytes that were parsed, if one of
    /// Python's picklers wrote them. `damaged` where tuples or arguments contain themselves without end, `internal` for
    /// a value that the protocol cannot hold.
    [[nodiscard]] Result<std::string> write() const;
    /// The same; `begin` is called with each persistent-id node (resolved) before that is written, each time that it
    /// is, and may replace what it holds. An error of it is returned.
    [[nodiscard]] Result<std::string> write(const std::function<Result<void>(const Node* id)>& begin) const;
    /// Whether anything was replaced.
    [[nodiscard]] bool is_edited() const { return !replaced_.empty(); }
    /// The persistent-id nodes (resolved) in the order in which write() begins them, each reference once per emission:
    /// a pickler asks for the id before it writes what is in it. Errors as write().
    [[nodiscard]] Result<std::vector<const Node*>> persistent_ids() const;

 private:
    friend class Writer;
    Node* add(Node node);
    Node* editable(const Node* node);

    std::shared_ptr<const Tree> base_;
    std::deque<Node> nodes_;
    std::unordered_map<const Node*, Node*> own_;
    std::unordered_map<const Node*, const Node*> replaced_;
    std::unordered_map<std::string, const Node*> literals_;
    std::unordered_map<std::string, const Node*> globals_;  // by module, '\n', name
    std::vector<std::shared_ptr<const Tree>> taken_from_;
};

// Helpers to read a tree; each takes a node that may be nullptr and then answers as for a node of another kind.
// They know nothing of an Editor: what they return may have been replaced there (resolve() tells).

struct GlobalName {
    std::string_view module;
    std::string_view name;

    bool operator==(const GlobalName&) const = default;
};

/// The value at `index` of a list or a tuple, or of what an object is made of (callable, arguments); nullptr where it
/// has none. A file says how long they are: never go into `items` without having counted them.
[[nodiscard]] const Node* item(const Node* node, std::size_t index);

/// What a global names, as views into the tree; nullopt for another node.
[[nodiscard]] std::optional<GlobalName> global_name(const Node* node);
[[nodiscard]] bool is_global(const Node* node, std::string_view module, std::string_view name);
/// An object made by calling module.name, by whichever opcode.
[[nodiscard]] bool is_object_of(const Node* node, std::string_view module, std::string_view name);
/// The (key, value) pairs of a dict, or of an object that is filled like one (OrderedDict), in the pickle's order;
/// empty otherwise. A key that was set twice is there twice: the last one counts.
[[nodiscard]] std::vector<std::pair<const Node*, const Node*>> dict_items(const Node* node);
[[nodiscard]] bool is_dict_like(const Node* node);
/// The value at a string key, or nullptr.
[[nodiscard]] const Node* find(const Node* dict, std::string_view key);
/// The value at an integer key, or nullptr.
[[nodiscard]] const Node* find(const Node* dict, std::int64_t key);
/// A dict's values by key, for looking up many of them: find() goes through all keys each time, and a file says how
/// many there are. Of a key that was set twice it has the last value.
class DictIndex {
 public:
    explicit DictIndex(const Node* dict);

    /// nullptr where the dict has no such key.
    [[nodiscard]] const Node* find(std::string_view key) const;
    [[nodiscard]] const Node* find(std::int64_t key) const;

 private:
    std::unordered_map<std::string_view, const Node*> by_string_;
    std::unordered_map<std::int64_t, const Node*> by_integer_;
};
/// The state that BUILD gave an object, or nullptr.
[[nodiscard]] const Node* state_of(const Node* object);
[[nodiscard]] bool is_string(const Node* node, std::string_view text);

}  // namespace ckptfs::pickle
