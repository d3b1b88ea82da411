// The pickle machine with nodes on its stack: what each opcode does, executing and importing nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/result.h"
#include "pt/pickle.h"
#include "pt/pickle_batches.h"
#include "pt/pickle_opcodes.h"
#include "pt/pickle_reader.h"

namespace ckptfs::pickle {

/// What these hold beside themselves.
[[nodiscard]] inline std::uint64_t held_by(const std::string& text) {
    return text.capacity() > std::string().capacity() ? text.capacity() : 0;
}
template <class T>
[[nodiscard]] std::uint64_t held_by(const std::vector<T>& vector) {
    return std::span<const T>(vector.data(), vector.capacity()).size_bytes();
}

/// One run over one pickle.
class Parser {
 public:
    Parser(std::string_view bytes, MemoryBudget& budget)
        : bytes_(bytes), reader_(bytes), tree_(std::make_shared<Tree>()), budget_(budget), reservation_(budget) {}

    Result<std::shared_ptr<const Tree>> run();

 private:
    struct Entry {
        Node* node;
        std::uint32_t depth;  // levels of nesting; what comes from the memo counts as one
    };
    using Bytes = std::optional<std::string_view>;
    using Number = std::optional<std::uint64_t>;

    bool fail(const std::string& message, ErrorCode code = ErrorCode::damaged);
    bool cut_short() { return fail("reaches past the end of the pickle or of its frame"); }

    bool header();
    bool step(Op op);
    bool finish();

    Node& push(Kind kind, std::uint32_t depth = 1);
    bool push_flag(Kind kind, std::int64_t value);
    bool push_integer(Number value, unsigned bits);
    bool push_long(Bytes digits);
    bool push_real(Number bits);
    bool push_text(Kind kind, Bytes text);
    bool push_global();
    bool push_stack_global();
    bool push_extension(Number code);
    bool push_composed(Kind kind, std::size_t count);
    bool push_marked(Kind kind);
    bool compose(Kind kind, std::size_t first);

    [[nodiscard]] std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
    bool need(std::size_t count);
    bool need_mark();
    bool adopt(std::size_t first, std::uint32_t& depth);

    bool fill_one(Fill fill);
    bool fill_marked(Fill fill);
    bool extend(Fill fill, std::size_t first, std::uint32_t batch);
    bool build();
    void add_mutation(Node& node, Mutation::Kind kind, const Node* item);

    bool put(Number index);
    bool get(Number index);
    bool pop();
    bool pop_mark();
    [[nodiscard]] bool is_state_setter(const Node* call) const;
    void note_detour(Node* target);
    WriteHints& hints_of(Node* node);

    /// A vector that grows holds its old memory too while it moves.
    static constexpr std::uint64_t growth = 2;
    bool reserve(std::uint64_t more_nbytes = 0);
    [[nodiscard]] std::uint64_t memory_nbytes() const;

    std::string_view bytes_;
    Reader reader_;
    std::shared_ptr<Tree> tree_;
    MemoryBudget& budget_;
    MemoryReservation reservation_;
    std::uint64_t reserved_nbytes_ = 0;
    std::uint64_t nodes_nbytes_ = 0;  // what nodes and hints hold beside themselves
    std::vector<Entry> stack_;
    std::vector<std::size_t> marks_;  // heights of the stack
    std::vector<Node*> memo_;
    std::uint64_t memo_count_ = 0;
    std::vector<Node*> popped_;  // by the POPs just before this opcode
    std::unordered_map<const Node*, WriteHints*> hints_;
    std::size_t opcode_position_ = 0;
    std::uint8_t opcode_ = 0;
    std::optional<Error> error_;
};

}  // namespace ckptfs::pickle
