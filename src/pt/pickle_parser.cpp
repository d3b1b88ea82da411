// Parses a pickle into a tree: runs the pickle machine on nodes, executing and importing nothing.
#include <algorithm>
#include <bit>
#include <cstring>

#include "pt/pickle.h"
#include "pt/pickle_batches.h"
#include "pt/pickle_integer.h"
#include "pt/pickle_opcodes.h"
#include "pt/pickle_reader.h"
#include "pt/pickle_utf8.h"

namespace ckptfs::pickle {

namespace {

constexpr std::uint32_t max_nesting = 20'000;

std::string hexadecimal(std::uint8_t byte) {
    constexpr std::string_view digits = "0123456789abcdef";
    return {'0', 'x', digits[byte >> 4U], digits[byte & 15U]};
}

// FLOAT, INT, LONG, STRING, BINSTRING, SHORT_BINSTRING, UNICODE, PERSID, GET, PUT, DICT, INST, LIST, OBJ, DUP
constexpr std::string_view old_opcodes = "FILSTUVPgpdilo2";

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

std::uint64_t held_by(const std::string& text) {
    return text.capacity() > std::string().capacity() ? text.capacity() : 0;
}

template <class T>
std::uint64_t held_by(const std::vector<T>& vector) {
    return vector.capacity() * sizeof(typename std::vector<T>::value_type);
}

}  // namespace

class Parser {
 public:
    explicit Parser(std::string_view bytes) : bytes_(bytes), reader_(bytes), tree_(std::make_shared<Tree>()) {}

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

    bool put(Number index);
    bool get(Number index);
    bool pop();
    bool pop_mark();
    [[nodiscard]] bool is_state_setter(const Node* call) const;
    void note_detour(Node* target);
    WriteHints& hints_of(Node* node);

    [[nodiscard]] std::uint64_t memory_nbytes() const;

    std::string_view bytes_;
    Reader reader_;
    std::shared_ptr<Tree> tree_;
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

bool Parser::fail(const std::string& message, ErrorCode code) {
    error_.emplace(code, "pickle opcode " + hexadecimal(opcode_) + " at offset " + std::to_string(opcode_position_) +
                             ": " + message);
    return false;
}

Result<std::shared_ptr<const Tree>> Parser::run() {
    bool running = header();
    while (running) {
        opcode_position_ = reader_.position();
        const Number code = reader_.number(1);
        if (!code) {
            return Error(ErrorCode::damaged,
                         "the pickle ends at offset " + std::to_string(opcode_position_) + " without STOP");
        }
        opcode_ = static_cast<std::uint8_t>(*code);
        const Op op{opcode_};
        if (op == Op::stop) {
            running = finish();
            break;
        }
        running = step(op);
        if (op != Op::pop && op != Op::pop_mark) {
            popped_.clear();
        }
    }
    if (!running) {
        return *error_;
    }
    return std::shared_ptr<const Tree>(std::move(tree_));
}

bool Parser::header() {
    const Bytes start = reader_.take(2);
    if (!start) {
        error_.emplace(ErrorCode::damaged, "a pickle of " + std::to_string(bytes_.size()) + " bytes");
        return false;
    }
    opcode_ = static_cast<std::uint8_t>((*start)[0]);
    if (Op{opcode_} != Op::proto) {
        return fail("the pickle does not begin with PROTO: no pickle, or one of protocol 0 or 1",
                    ErrorCode::unsupported);
    }
    const int protocol = static_cast<unsigned char>((*start)[1]);
    if (protocol < first_protocol || protocol > last_protocol) {
        return fail("pickle protocol " + std::to_string(protocol), ErrorCode::unsupported);
    }
    tree_->protocol_ = protocol;
    tree_->nbytes_ = bytes_.size();
    return true;
}

bool Parser::step(Op op) {
    switch (op) {
        case Op::mark:
            marks_.push_back(stack_.size());
            return true;
        case Op::frame: {
            const Number length = reader_.number(8);
            return (length && reader_.begin_frame(*length)) || cut_short();
        }
        case Op::none:
            return push_flag(Kind::none, 0);
        case Op::newtrue:
            return push_flag(Kind::boolean, 1);
        case Op::newfalse:
            return push_flag(Kind::boolean, 0);
        case Op::next_buffer:
            return push_flag(Kind::buffer, 0);
        case Op::binint1:
            return push_integer(reader_.number(1), 64);
        case Op::binint2:
            return push_integer(reader_.number(2), 64);
        case Op::binint:
            return push_integer(reader_.number(4), 32);
        case Op::long1:
            return push_long(reader_.counted(1));
        case Op::long4:
            return push_long(reader_.counted(4));
        case Op::binfloat:
            return push_real(reader_.number(8));
        case Op::short_binunicode:
            return push_text(Kind::string, reader_.counted(1));
        case Op::binunicode:
            return push_text(Kind::string, reader_.counted(4));
        case Op::binunicode8:
            return push_text(Kind::string, reader_.counted(8));
        case Op::short_binbytes:
            return push_text(Kind::bytes, reader_.counted(1));
        case Op::binbytes:
            return push_text(Kind::bytes, reader_.counted(4));
        case Op::binbytes8:
            return push_text(Kind::bytes, reader_.counted(8));
        case Op::bytearray8:
            return push_text(Kind::bytearray, reader_.counted(8));
        case Op::empty_tuple:
            return push_composed(Kind::tuple, 0);
        case Op::tuple1:
            return push_composed(Kind::tuple, 1);
        case Op::tuple2:
            return push_composed(Kind::tuple, 2);
        case Op::tuple3:
            return push_composed(Kind::tuple, 3);
        case Op::tuple:
            return push_marked(Kind::tuple);
        case Op::frozenset:
            return push_marked(Kind::frozenset);
        case Op::empty_list:
            return push_composed(Kind::list, 0);
        case Op::empty_dict:
            return push_composed(Kind::dict, 0);
        case Op::empty_set:
            return push_composed(Kind::set, 0);
        case Op::append:
            return fill_one(Fill::list);
        case Op::setitem:
            return fill_one(Fill::dict);
        case Op::appends:
            return fill_marked(Fill::list);
        case Op::setitems:
            return fill_marked(Fill::dict);
        case Op::additems:
            return fill_marked(Fill::set);
        case Op::global:
            return push_global();
        case Op::stack_global:
            return push_stack_global();
        case Op::reduce:
        case Op::newobj:
            return push_composed(Kind::object, 2);
        case Op::newobj_ex:
            return push_composed(Kind::object, 3);
        case Op::build:
            return build();
        case Op::binpersid:
            return push_composed(Kind::persistent_id, 1);
        case Op::ext1:
            return push_extension(reader_.number(1));
        case Op::ext2:
            return push_extension(reader_.number(2));
        case Op::ext4:
            return push_extension(reader_.number(4));
        case Op::readonly_buffer:
            if (!need(1)) {
                return false;
            }
            if (stack_.back().node->kind != Kind::buffer) {
                return fail("no buffer to make read-only");
            }
            stack_.back().node->integer = 1;
            return true;
        case Op::memoize:
            return put(memo_count_);
        case Op::binput:
            return put(reader_.number(1));
        case Op::long_binput:
            return put(reader_.number(4));
        case Op::binget:
            return get(reader_.number(1));
        case Op::long_binget:
            return get(reader_.number(4));
        case Op::pop:
            return pop();
        case Op::pop_mark:
            return pop_mark();
        case Op::proto:
            return fail("PROTO again");
        case Op::stop:
            break;
    }
    if (old_opcodes.find(static_cast<char>(opcode_)) != std::string_view::npos) {
        return fail("an opcode that only protocols 0 and 1 and Python 2 write", ErrorCode::unsupported);
    }
    return fail("no such opcode");
}

bool Parser::finish() {
    if (stack_.size() != 1 || !marks_.empty()) {
        return fail("STOP with " + std::to_string(stack_.size()) + " values and " + std::to_string(marks_.size()) +
                    " marks on the stack");
    }
    if (!reader_.at_end()) {
        return fail(std::to_string(bytes_.size() - reader_.position()) + " bytes after STOP");
    }
    tree_->root_ = stack_.front().node;
    tree_->memory_nbytes_ = memory_nbytes();
    return true;
}

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
        push(Kind::big_integer).text = shortest;
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
    push(kind).text = *text;
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
    push(Kind::global).text = std::string(*module) + '\n' + std::string(*name);
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
    if (!push_composed(Kind::global, 2)) {
        return false;
    }
    stack_.back().node->text = module->text + '\n' + name->text;
    return true;
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
            record_batch(fill, hints_of(node).batches, before, batch);
        }
    } else {
        const bool pairs = fill == Fill::dict;
        const auto kind = pairs ? Mutation::Kind::set_items : Mutation::Kind::append_items;
        const bool detoured = node->hints != nullptr && !node->hints->detours.empty() &&
                              node->hints->detours.back().mutations == node->mutations.size();
        if (node->mutations.empty() || node->mutations.back().kind != kind || detoured) {
            node->mutations.push_back({kind, {}, {}});
        }
        Mutation& mutation = node->mutations.back();
        items = &mutation.items;
        const Fill object_fill = pairs ? Fill::object_pairs : Fill::object_list;
        const std::uint64_t before = items->size() / items_per_entry(fill);
        if (!mutation.batches.empty() || !is_default_start(object_fill, before, batch)) {
            record_batch(object_fill, mutation.batches, before, batch);
        }
    }
    if (items->empty()) {
        items->reserve(stack_.size() - first);
    }
    for (std::size_t i = first; i < stack_.size(); ++i) {
        items->push_back(stack_[i].node);
    }
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
    target.node->mutations.push_back({Mutation::Kind::build, {stack_.back().node}, {}});
    stack_.pop_back();
    return true;
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
        stack_.back().node->mutations.push_back({Mutation::Kind::call, {top}, {}});
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
        hints_of(target).detours.push_back({popped_.front(), target->mutations.size()});
    }
}

WriteHints& Parser::hints_of(Node* node) {
    WriteHints*& hints = hints_[node];
    if (hints == nullptr) {
        hints = &tree_->hints_.emplace_back();
        node->hints = hints;
    }
    return *hints;
}

std::uint64_t Parser::memory_nbytes() const {
    std::uint64_t sum = sizeof(Tree) + tree_->nodes_.size() * sizeof(Node) + tree_->hints_.size() * sizeof(WriteHints);
    for (const Node& node : tree_->nodes_) {
        sum += held_by(node.text) + held_by(node.items) + held_by(node.mutations);
        for (const Mutation& mutation : node.mutations) {
            sum += held_by(mutation.items) + held_by(mutation.batches);
        }
    }
    for (const WriteHints& hints : tree_->hints_) {
        sum += held_by(hints.batches) + held_by(hints.detours);
    }
    return sum;
}

Result<std::shared_ptr<const Tree>> Tree::parse(std::string_view bytes) {
    return Parser(bytes).run();
}

}  // namespace ckptfs::pickle
