// What the opcodes of a pickle do to the parser's stack and memo.
#include <algorithm>
#include <bit>

#include "pt/pickle_integer.h"
#include "pt/pickle_parser.h"
#include "pt/pickle_utf8.h"

namespace ckptfs::pickle {

namespace {

constexpr std::uint32_t max_nesting = 20'000;
/// Of malloc, beside what was asked for.
constexpr std::uint64_t malloc_overhead_nbytes = 16;
/// The entry of the map from nodes to hints, and the hints themselves.
constexpr std::uint64_t hints_nbytes = sizeof(WriteHints) + 64;

/// Whether the machine knows nothing of what the value is, so that anything may be done to it.
bool is_opaque(Kind kind) {
    return kind == Kind::object || kind == Kind::global || kind == Kind::extension || kind == Kind::persistent_id;
}

/// Whether a first batch is all that the C pickler would write for as many entries.
bool is_default_start(Fill fill, std::uint64_t before, std::uint32_t batch) {
    const std::uint64_t count = batch_count(batch);
    return before == 0 && default_batch(fill, count, 0, 0) == batch && !default_batch(fill, count, count, 1);
}

/// `batches` are those of the first `before` entries; empty: the default ones.
void record_batch(Fill fill, std::vector<std::uint32_t>& batches, std::uint64_t before, std::uint32_t batch) {
    if (batches.empty()) {
        batches = default_batches(fill, before);
    }
    batches.push_back(batch);
}

}  // namespace

Node& Parser::push(Kind kind, std::uint32_t depth) {
    Node& node = tree_->nodes_.emplace_back();
    node.kind = kind;
    node.opcode = opcode_;
    node.number = static_cast<std::uint32_t>(tree_->nodes_.size() - 1);
    stack_.push_back({&node, depth});
    return node;
}

bool Parser::push_flag(Kind kind, std::int64_t value) {
    push(kind).integer = value;
    return true;
}

bool Parser::push_integer(Number value, unsigned bits) {
    if (!value) {
        return cut_short();
    }
    push(Kind::integer).integer = bits == 32 ? static_cast<std::int32_t>(*value) : static_cast<std::int64_t>(*value);
    return true;
}

bool Parser::push_long(Bytes digits) {
    if (!digits) {
        return cut_short();
    }
    const std::string_view shortest = shortest_long(*digits);
    if (shortest.size() <= sizeof(std::int64_t)) {
        push(Kind::integer).integer = decode_long(shortest);
    } else {
        Node& node = push(Kind::big_integer);
        node.text = shortest;
        nodes_nbytes_ += held_by(node.text) + malloc_overhead_nbytes;
    }
    return true;
}

bool Parser::push_real(Number bits) {
    if (!bits) {
        return cut_short();
    }
    push(Kind::real).real = std::bit_cast<double>(__builtin_bswap64(*bits));  // BINFLOAT is big-endian
    return true;
}

bool Parser::push_text(Kind kind, Bytes text) {
    if (!text) {
        return cut_short();
    }
    if (kind == Kind::string && !is_utf8(*text)) {
        return fail("a string that is not UTF-8");
    }
    Node& node = push(kind);
    node.text = *text;
    nodes_nbytes_ += held_by(node.text) + malloc_overhead_nbytes;
    return true;
}

bool Parser::push_global() {
    const Bytes module = reader_.line();
    const Bytes name = module ? reader_.line() : std::nullopt;
    if (!name) {
        return cut_short();
    }
    if (!is_utf8(*module) || !is_utf8(*name)) {
        return fail("a name that is not UTF-8");
    }
    Node& node = push(Kind::global);
    node.text = std::string(*module) + '\n' + std::string(*name);
    nodes_nbytes_ += held_by(node.text) + malloc_overhead_nbytes;
    return true;
}

bool Parser::push_stack_global() {
    if (!need(2)) {
        return false;
    }
    const Node* module = stack_[stack_.size() - 2].node;
    const Node* name = stack_.back().node;
    if (module->kind != Kind::string || name->kind != Kind::string) {
        return fail("a module or name that is not a string");
    }
    return push_composed(Kind::global, 2);
}

bool Parser::push_extension(Number code) {
    if (!code) {
        return cut_short();
    }
    if (*code == 0 || *code > INT32_MAX) {
        return fail("an extension code that is not positive");
    }
    push(Kind::extension).integer = static_cast<std::int64_t>(*code);
    return true;
}

bool Parser::push_composed(Kind kind, std::size_t count) {
    return need(count) && compose(kind, stack_.size() - count);
}

bool Parser::push_marked(Kind kind) {
    if (!need_mark()) {
        return false;
    }
    const std::size_t first = marks_.back();
    marks_.pop_back();
    return compose(kind, first);
}

// The values from `first` on become the items of a new node.
bool Parser::compose(Kind kind, std::size_t first) {
    std::uint32_t depth = 1;
    if (!adopt(first, depth)) {
        return false;
    }
    std::vector<const Node*> items;
    items.reserve(stack_.size() - first);
    for (std::size_t i = first; i < stack_.size(); ++i) {
        items.push_back(stack_[i].node);
    }
    stack_.resize(first);
    nodes_nbytes_ += items.empty() ? 0 : held_by(items) + malloc_overhead_nbytes;
    push(kind, depth).items = std::move(items);
    return true;
}

bool Parser::need(std::size_t count) {
    return stack_.size() - floor() >= count ||
           fail("takes " + std::to_string(count) + " values, but the stack has fewer");
}

bool Parser::need_mark() {
    return !marks_.empty() || fail("no mark on the stack");
}

// Raises `depth` to hold the values from `first` on.
bool Parser::adopt(std::size_t first, std::uint32_t& depth) {
    for (std::size_t i = first; i < stack_.size(); ++i) {
        depth = std::max(depth, stack_[i].depth + 1);
    }
    return depth <= max_nesting || fail("nested deeper than " + std::to_string(max_nesting) + " levels");
}

bool Parser::fill_one(Fill fill) {
    const std::size_t count = items_per_entry(fill);
    return need(count + 1) && extend(fill, stack_.size() - count, WriteHints::single);
}

bool Parser::fill_marked(Fill fill) {
    if (!need_mark()) {
        return false;
    }
    const std::size_t first = marks_.back();
    marks_.pop_back();
    if (first == floor()) {
        return fail("nothing to fill below the mark");
    }
    const std::size_t count = stack_.size() - first;
    if (count % items_per_entry(fill) != 0) {
        return fail("a key without a value");
    }
    return extend(fill, first, static_cast<std::uint32_t>(count / items_per_entry(fill)));
}

// Adds the values from `first` on to the one below them.
bool Parser::extend(Fill fill, std::size_t first, std::uint32_t batch) {
    Entry& target = stack_[first - 1];
    Node* node = target.node;
    if (!adopt(first, target.depth)) {
        return false;
    }
    const bool own = (fill == Fill::list && node->kind == Kind::list) ||
                     (fill == Fill::dict && node->kind == Kind::dict) || (fill == Fill::set && node->kind == Kind::set);
    if (!own && (fill == Fill::set || !is_opaque(node->kind))) {
        return fail("fills a value that cannot be filled so");
    }
    std::vector<const Node*>* items = &node->items;
    if (own) {
        const auto known = hints_.find(node);
        const std::uint64_t before = items->size() / items_per_entry(fill);
        if (known != hints_.end() || !is_default_start(fill, before, batch)) {
            std::vector<std::uint32_t>& batches = hints_of(node).batches;
            const std::uint64_t held = held_by(batches);
            record_batch(fill, batches, before, batch);
            nodes_nbytes_ += held_by(batches) - held;
        }
    } else {
        const bool pairs = fill == Fill::dict;
        const auto kind = pairs ? Mutation::Kind::set_items : Mutation::Kind::append_items;
        const bool detoured = node->hints != nullptr && !node->hints->detours.empty() &&
                              node->hints->detours.back().mutations == node->mutations.size();
        if (node->mutations.empty() || node->mutations.back().kind != kind || detoured) {
            const std::uint64_t held = held_by(node->mutations);
            node->mutations.push_back({kind, {}, {}});
            nodes_nbytes_ += held_by(node->mutations) - held;
        }
        Mutation& mutation = node->mutations.back();
        items = &mutation.items;
        const Fill object_fill = pairs ? Fill::object_pairs : Fill::object_list;
        const std::uint64_t before = items->size() / items_per_entry(fill);
        if (!mutation.batches.empty() || !is_default_start(object_fill, before, batch)) {
            const std::uint64_t held = held_by(mutation.batches);
            record_batch(object_fill, mutation.batches, before, batch);
            nodes_nbytes_ += held_by(mutation.batches) - held;
        }
    }
    const std::uint64_t held = held_by(*items);
    if (items->empty()) {
        items->reserve(stack_.size() - first);
        nodes_nbytes_ += malloc_overhead_nbytes;
    }
    for (std::size_t i = first; i < stack_.size(); ++i) {
        items->push_back(stack_[i].node);
    }
    nodes_nbytes_ += held_by(*items) - held;
    stack_.resize(first);
    return true;
}

bool Parser::build() {
    if (!need(2)) {
        return false;
    }
    Entry& target = stack_[stack_.size() - 2];
    const Kind kind = target.node->kind;
    if (!is_opaque(kind) && kind != Kind::list && kind != Kind::dict && kind != Kind::set) {
        return fail("gives a state to a value that can have none");
    }
    if (!adopt(stack_.size() - 1, target.depth)) {
        return false;
    }
    add_mutation(*target.node, Mutation::Kind::build, stack_.back().node);
    stack_.pop_back();
    return true;
}

void Parser::add_mutation(Node& node, Mutation::Kind kind, const Node* item) {
    const std::uint64_t held = held_by(node.mutations);
    node.mutations.push_back({kind, {item}, {}});
    nodes_nbytes_ += held_by(node.mutations) - held + held_by(node.mutations.back().items) + malloc_overhead_nbytes;
}

bool Parser::put(Number index) {
    if (!index) {
        return cut_short();
    }
    if (!need(1)) {
        return false;
    }
    if (*index >= bytes_.size()) {
        return fail("memo slot " + std::to_string(*index) + " in a pickle of " + std::to_string(bytes_.size()) +
                    " bytes");
    }
    if (*index >= memo_.size()) {
        if (!reserve(growth * (*index + 1) * sizeof(std::uintptr_t))) {
            return false;
        }
        memo_.resize(*index + 1);
    }
    Node*& slot = memo_[*index];
    memo_count_ += slot == nullptr ? 1 : 0;
    slot = stack_.back().node;
    slot->memoized = true;
    return true;
}

bool Parser::get(Number index) {
    if (!index) {
        return cut_short();
    }
    if (*index >= memo_.size() || memo_[*index] == nullptr) {
        return fail("memo slot " + std::to_string(*index) + " is empty");
    }
    Node* node = memo_[*index];
    note_detour(node);
    stack_.push_back({node, 1});
    return true;
}

// Picklers throw a value away for two reasons: a recursive value has been reached and made while its parts were
// written, so that a GET follows; or a state setter has returned.
bool Parser::pop() {
    if (!need(1)) {
        return false;
    }
    Node* top = stack_.back().node;
    stack_.pop_back();
    if (is_state_setter(top)) {
        add_mutation(*stack_.back().node, Mutation::Kind::call, top);
    } else {
        popped_.push_back(top);
    }
    return true;
}

bool Parser::pop_mark() {
    if (!need_mark()) {
        return false;
    }
    stack_.resize(marks_.back());
    marks_.pop_back();
    popped_.clear();
    return true;
}

// REDUCE of (object, state), with the object just below it.
bool Parser::is_state_setter(const Node* call) const {
    if (call->kind != Kind::object || call->memoized || stack_.size() == floor() ||
        !is_opaque(stack_.back().node->kind)) {
        return false;
    }
    const Node* arguments = call->items[1];
    return arguments->kind == Kind::tuple && !arguments->memoized && arguments->items.size() == 2 &&
           arguments->items[0] == stack_.back().node;
}

// Tuples and frozensets need no note: their parts are popped one by one, which the writer does by itself.
void Parser::note_detour(Node* target) {
    if (popped_.size() == 1 && popped_.front()->kind == Kind::object && !popped_.front()->memoized &&
        target->kind == Kind::object) {
        std::vector<WriteHints::Detour>& detours = hints_of(target).detours;
        const std::uint64_t held = held_by(detours);
        detours.push_back({popped_.front(), target->mutations.size()});
        nodes_nbytes_ += held_by(detours) - held;
    }
}

WriteHints& Parser::hints_of(Node* node) {
    WriteHints*& hints = hints_[node];
    if (hints == nullptr) {
        hints = &tree_->hints_.emplace_back();
        nodes_nbytes_ += hints_nbytes;
        node->hints = hints;
    }
    return *hints;
}

}  // namespace ckptfs::pickle
