// Writes an edited tree as Python's C pickler would (CPython's Modules/_pickle.c), without recursion.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/result.h"
#include "pt/pickle.h"
#include "pt/pickle_batches.h"
#include "pt/pickle_framer.h"
#include "pt/pickle_opcodes.h"

namespace ckptfs::pickle {

/// One run over one Editor, which must not change meanwhile, but for what `begin_id` replaces.
class Writer {
 public:
    enum class For : std::uint8_t { bytes, persistent_ids };
    using BeginId = std::function<Result<void>(const Node* id)>;

    /// `what`: bytes() where they are wanted. Those of many megabytes are not made for the persistent ids alone.
    /// `begin_id`: called before each persistent id is written.
    Writer(const Editor& editor, For what, BeginId begin_id);

    Result<void> run();

    [[nodiscard]] std::string bytes() && { return std::move(framer_).bytes(); }

 private:
    enum class Step : std::uint8_t { parts, items, mutations, opcode, detour };

    /// What is left to do for a value once what lies above it on the stack of tasks is done.
    struct Task {
        Step step;
        const Node* node;
        std::size_t next = 0;  ///< part, item or mutation; of a detour, its number
        std::size_t end = 0;   ///< of the mutations; of the items in this batch
        Op opcode{};
        Fill fill{};
        bool open = false;      ///< in a batch
        bool single = false;    ///< a batch without MARK
        std::size_t batch = 0;  ///< batches begun
        const std::vector<const Node*>* items = nullptr;
        const std::vector<std::uint32_t>* batches = nullptr;
    };

    void save(const Node* reference);
    void create(const Node* node);
    void create_integer(const Node* node);
    void create_text(const Node* node);
    void create_extension(const Node* node);
    void create_long(const Node* node, std::string_view digits);
    void create_container(const Node* node, Op op, Fill fill);
    void create_from_parts(const Node* node);

    void finish_value(const Node* node);

    void advance();
    void advance_items(Task& task);
    void advance_mutations(Task& task);
    void finish_parts(const Node* node);
    bool begin_detour(const Node* node);
    void finish_detour(const Node* node, std::size_t number);
    void push_mutations(const Node* node, std::size_t first, std::size_t end);
    void push_items(const Node* node, Fill fill, const std::vector<const Node*>& items,
                    const std::vector<std::uint32_t>* batches);

    /// What the writer knows of one node.
    struct Place {
        const Node* node = nullptr;
        std::uint32_t memo = not_in_memo;
        std::uint32_t begun = 0;  ///< how often its parts are being written now
    };
    static constexpr std::uint32_t not_in_memo = UINT32_MAX;

    Place& place(const Node* node);
    [[nodiscard]] std::optional<std::uint32_t> slot(const Node* node);
    void put(const Node* node);
    void get(std::uint32_t index);
    void write(Op op) { framer_.write_number(static_cast<std::uint8_t>(op), 1); }
    void write(Op op, std::uint64_t argument, unsigned width);
    void fail(ErrorCode code, const char* message);
    void check_bounds();

    const Editor& editor_;
    const int protocol_;
    Framer framer_;
    std::vector<Task> tasks_;
    std::vector<Place> places_;                              // by Node::number
    std::unordered_map<const Node*, Place> foreign_places_;  // of nodes from other trees whose number is taken
    std::uint32_t memo_count_ = 0;
    std::unordered_map<const Node*, std::size_t> detours_;  // how many of a node's detours have been begun
    BeginId begin_id_;
    bool recursive_ = false;  // whether parts of a value led back to it
    std::size_t height_at_put_ = 0;
    std::size_t max_height_ = 0;
    std::uint64_t max_nbytes_ = 0;
    std::optional<Error> error_;
};

}  // namespace ckptfs::pickle
