// Writes an edited tree: a stack of tasks in place of the pickler's recursion, so that depth costs memory and never a
// crash.
#include "pt/pickle_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "pt/pickle_integer.h"

namespace ckptfs::pickle {
namespace {

/// Opcodes before which the parts of a value stand on the stack without a MARK.
Op tuple_opcode(const Node* node) {
    constexpr std::array by_size = {Op::empty_tuple, Op::tuple1, Op::tuple2, Op::tuple3};
    const bool marked = node->items.size() > 3 || Op{node->opcode} == Op::tuple;
    return marked ? Op::tuple : by_size[node->items.size()];
}

Op object_opcode(const Node* node) {
    if (node->items.size() == 3) {
        return Op::newobj_ex;
    }
    return Op{node->opcode} == Op::newobj ? Op::newobj : Op::reduce;
}

/// How many bytes of length follow an opcode that holds a string; 0 for other opcodes.
unsigned length_width(Op op) {
    switch (op) {
        case Op::short_binunicode:
        case Op::short_binbytes:
            return 1;
        case Op::binunicode:
        case Op::binbytes:
            return 4;
        case Op::binunicode8:
        case Op::binbytes8:
        case Op::bytearray8:
            return 8;
        default:
            return 0;
    }
}

bool holds(unsigned width, std::uint64_t value) {
    return width == 8 || (width != 0 && value >> (8 * width) == 0);
}

std::optional<Op> default_text_opcode(const Node* node, int protocol) {
    const std::uint64_t length = node->text.size();
    const bool framed = protocol >= first_framed_protocol;
    if (node->kind == Kind::bytearray) {
        return Op::bytearray8;
    }
    const bool text = node->kind == Kind::string;
    if (holds(1, length) && (framed || !text)) {
        return text ? Op::short_binunicode : Op::short_binbytes;
    }
    if (holds(4, length)) {
        return text ? Op::binunicode : Op::binbytes;
    }
    return framed ? std::optional(text ? Op::binunicode8 : Op::binbytes8) : std::nullopt;
}

}  // namespace

Writer::Writer(const Editor& editor, For what, BeginId begin_id)
    : editor_(editor),
      protocol_(editor.base().protocol()),
      framer_(protocol_, what == For::bytes),
      begin_id_(std::move(begin_id)) {
    // Between two values that enter the memo, a path through the tree that is longer than this must pass a value twice,
    // and will do so for ever. Each value is at most four tasks.
    max_height_ = 4 * (editor.base().nodes_.size() + editor.nodes_.size()) + 16;
    // A tuple that contains itself through n lists is written n times, once inside the other: a small hostile pickle
    // could unfold to any size.
    constexpr std::uint64_t growth = 16;
    constexpr std::uint64_t node_nbytes = 64;
    max_nbytes_ = editor.base().nbytes_ + node_nbytes;
    for (const Node& node : editor.nodes_) {
        max_nbytes_ += node_nbytes + node.text.size() + sizeof(void*) * node.items.size();
    }
    for (const auto& tree : editor.taken_from_) {
        max_height_ += 4 * tree->nodes_.size();
        max_nbytes_ += tree->nbytes_;
    }
    max_nbytes_ *= growth;
    places_.resize(editor.base().nodes_.size() + editor.nodes_.size());
}

Result<void> Writer::run() {
    save(editor_.base().root());
    while (!tasks_.empty() && !error_) {
        advance();
    }
    if (error_) {
        return *error_;
    }
    write(Op::stop);
    framer_.finish();
    return {};
}

void Writer::save(const Node* reference) {
    framer_.boundary();
    check_bounds();
    const Node* node = editor_.resolve(reference);
    if (const auto index = slot(node)) {
        get(*index);
    } else if (!begin_detour(node)) {
        create(node);
    }
}

void Writer::create(const Node* node) {
    switch (node->kind) {
        case Kind::none:
            write(Op::none);
            break;
        case Kind::boolean:
            write(node->integer != 0 ? Op::newtrue : Op::newfalse);
            break;
        case Kind::integer:
            create_integer(node);
            break;
        case Kind::big_integer:
            create_long(node, node->text);
            break;
        case Kind::real:
            write(Op::binfloat, __builtin_bswap64(std::bit_cast<std::uint64_t>(node->real)), 8);
            break;
        case Kind::string:
        case Kind::bytes:
        case Kind::bytearray:
            create_text(node);
            break;
        case Kind::list:
            return create_container(node, Op::empty_list, Fill::list);
        case Kind::dict:
            return create_container(node, Op::empty_dict, Fill::dict);
        case Kind::set:
            return create_container(node, Op::empty_set, Fill::set);
        case Kind::tuple:
            if (tuple_opcode(node) == Op::tuple) {
                write(Op::mark);
            }
            return create_from_parts(node);
        case Kind::frozenset:
            write(Op::mark);
            return create_from_parts(node);
        case Kind::global:
            if (node->items.empty()) {
                write(Op::global);
                framer_.write(node->text);
                framer_.write("\n");
                break;
            }
            return create_from_parts(node);
        case Kind::persistent_id:
            if (auto begun = begin_id_(node); !begun) {
                error_ = std::move(begun).error();
                return;
            }
            return create_from_parts(node);
        case Kind::object:
            return create_from_parts(node);
        case Kind::extension:
            create_extension(node);
            break;
        case Kind::buffer:
            write(Op::next_buffer);
            if (node->integer != 0) {
                write(Op::readonly_buffer);
            }
            break;
    }
    finish_value(node);
}

void Writer::create_integer(const Node* node) {
    const std::int64_t value = node->integer;
    const bool fits4 = value >= INT32_MIN && value <= INT32_MAX;
    const auto bits = static_cast<std::uint64_t>(value);
    Op op{node->opcode};
    const bool holds_value = (op == Op::binint1 && holds(1, bits)) || (op == Op::binint2 && holds(2, bits)) ||
                             (op == Op::binint && fits4) || op == Op::long1 || op == Op::long4;
    if (!holds_value) {
        op = holds(1, bits) ? Op::binint1 : (holds(2, bits) ? Op::binint2 : (fits4 ? Op::binint : Op::long1));
    }
    switch (op) {
        case Op::binint1:
            return write(op, bits, 1);
        case Op::binint2:
            return write(op, bits, 2);
        case Op::binint:
            return write(op, bits, 4);
        default:
            return create_long(node, encode_long(value));
    }
}

void Writer::create_long(const Node* node, std::string_view digits) {
    if (digits.size() > INT32_MAX) {
        return fail(ErrorCode::internal, "an integer of more than 2 GiB");
    }
    const bool wide = !holds(1, digits.size()) || Op{node->opcode} == Op::long4;
    write(wide ? Op::long4 : Op::long1, digits.size(), wide ? 4 : 1);
    framer_.write(digits);
}

void Writer::create_text(const Node* node) {
    const Op read{node->opcode};
    const auto op = holds(length_width(read), node->text.size()) ? read : default_text_opcode(node, protocol_);
    if (!op) {
        return fail(ErrorCode::internal, "a string of more than 4 GiB in a pickle protocol below 4");
    }
    framer_.write_counted(*op, node->text, length_width(*op));
}

void Writer::create_extension(const Node* node) {
    const auto code = static_cast<std::uint64_t>(node->integer);
    const Op read{node->opcode};
    const bool narrow = holds(1, code) && read != Op::ext2 && read != Op::ext4;
    const bool medium = holds(2, code) && read != Op::ext4;
    write(narrow ? Op::ext1 : (medium ? Op::ext2 : Op::ext4), code, narrow ? 1 : (medium ? 2 : 4));
}

void Writer::create_container(const Node* node, Op op, Fill fill) {
    write(op);
    finish_value(node);
    const bool fits =
        node->hints != nullptr && batches_fit(node->hints->batches, node->items.size() / items_per_entry(fill));
    push_items(node, fill, node->items, fits ? &node->hints->batches : nullptr);
}

void Writer::create_from_parts(const Node* node) {
    recursive_ = place(node).begun++ > 0 || recursive_;
    tasks_.push_back({Step::parts, node});
}

// What follows the opcode that made a value.
void Writer::finish_value(const Node* node) {
    put(node);
    const bool whole = node->hints == nullptr || node->hints->detours.empty();
    push_mutations(node, 0, whole ? node->mutations.size() : node->hints->detours.front().mutations);
}

void Writer::push_mutations(const Node* node, std::size_t first, std::size_t end) {
    end = std::min(end, node->mutations.size());
    if (first < end) {
        Task task{Step::mutations, node};
        task.next = first;
        task.end = end;
        tasks_.push_back(task);
    }
}

void Writer::push_items(const Node* node, Fill fill, const std::vector<const Node*>& items,
                        const std::vector<std::uint32_t>* batches) {
    Task task{Step::items, node};
    task.fill = fill;
    task.items = &items;
    task.batches = batches;
    tasks_.push_back(task);
}

void Writer::advance() {
    Task& task = tasks_.back();
    const Node* node = task.node;
    switch (task.step) {
        case Step::parts:
            if (task.next < node->items.size()) {
                return save(node->items[task.next++]);
            }
            tasks_.pop_back();
            return finish_parts(node);
        case Step::items:
            return advance_items(task);
        case Step::mutations:
            return advance_mutations(task);
        case Step::opcode: {
            const Op op = task.opcode;
            tasks_.pop_back();
            return write(op);
        }
        case Step::detour: {
            const std::size_t number = task.next;
            tasks_.pop_back();
            return finish_detour(node, number);
        }
    }
}

void Writer::advance_items(Task& task) {
    const std::size_t stride = items_per_entry(task.fill);
    if (task.next < task.end) {
        return save((*task.items)[task.next++]);
    }
    if (task.open) {
        task.open = false;
        const bool pairs = stride == 2;
        if (task.single) {
            return write(pairs ? Op::setitem : Op::append);
        }
        return write(task.fill == Fill::set ? Op::additems : (pairs ? Op::setitems : Op::appends));
    }
    std::optional<std::uint32_t> batch;
    if (task.batches == nullptr) {
        batch = default_batch(task.fill, task.items->size() / stride, task.next / stride, task.batch);
    } else if (task.batch < task.batches->size()) {
        batch = (*task.batches)[task.batch];
    }
    if (!batch) {
        tasks_.pop_back();
        return;
    }
    ++task.batch;
    task.open = true;
    task.single = *batch == WriteHints::single;
    task.end = task.next + batch_count(*batch) * stride;
    if (!task.single) {
        write(Op::mark);
    }
}

void Writer::advance_mutations(Task& task) {
    const Node* node = task.node;
    if (task.next == task.end) {
        tasks_.pop_back();
        return;
    }
    const Mutation& mutation = node->mutations[task.next++];
    const bool pairs = mutation.kind == Mutation::Kind::set_items;
    if (pairs || mutation.kind == Mutation::Kind::append_items) {
        const Fill fill = pairs ? Fill::object_pairs : Fill::object_list;
        const bool fits =
            !mutation.batches.empty() && batches_fit(mutation.batches, mutation.items.size() / (pairs ? 2 : 1));
        return push_items(node, fill, mutation.items, fits ? &mutation.batches : nullptr);
    }
    Task after{Step::opcode, node};
    after.opcode = mutation.kind == Mutation::Kind::build ? Op::build : Op::pop;
    tasks_.push_back(after);
    save(mutation.items[0]);
}

// As save_tuple, save_frozenset and save_reduce: a value that was reached and made while its parts were written is
// abandoned for the one in the memo.
void Writer::finish_parts(const Node* node) {
    --place(node).begun;
    const auto made = slot(node);
    switch (node->kind) {
        case Kind::tuple: {
            const Op op = tuple_opcode(node);
            if (!made) {
                write(op);
                break;
            }
            if (op == Op::tuple) {
                write(Op::pop_mark);
            }
            for (std::size_t i = 0; op != Op::tuple && i < node->items.size(); ++i) {
                write(Op::pop);
            }
            return get(*made);
        }
        case Kind::frozenset:
            if (made) {
                write(Op::pop_mark);
                return get(*made);
            }
            write(Op::frozenset);
            break;
        case Kind::global:
            write(Op::stack_global);
            break;
        case Kind::persistent_id:
            write(Op::binpersid);
            break;
        default:
            write(object_opcode(node));
            if (made) {
                write(Op::pop);
                return get(*made);
            }
            break;
    }
    finish_value(node);
}

bool Writer::begin_detour(const Node* node) {
    if (node->hints == nullptr || node->hints->detours.empty()) {
        return false;
    }
    const auto& detours = node->hints->detours;
    std::size_t& begun = detours_[node];
    if (begun == detours.size()) {
        return false;
    }
    ++begun;
    const std::size_t number = detours.size() - begun;
    Task task{Step::detour, node};
    task.next = number;
    tasks_.push_back(task);
    create(detours[number].thrown_away);
    return true;
}

// The C pickler is done with the object then; the Python pickler goes on to fill it and give it its state once more.
void Writer::finish_detour(const Node* node, std::size_t number) {
    const auto& detours = node->hints->detours;
    write(Op::pop);
    push_mutations(node, detours[number].mutations,
                   number + 1 < detours.size() ? detours[number + 1].mutations : node->mutations.size());
    if (const auto made = slot(node)) {
        return get(*made);
    }
    save(node);
}

Writer::Place& Writer::place(const Node* node) {
    if (node->number < places_.size()) {
        Place& own = places_[node->number];
        if (own.node == nullptr) {
            own.node = node;
        }
        if (own.node == node) {
            return own;
        }
    }
    return foreign_places_[node];
}

std::optional<std::uint32_t> Writer::slot(const Node* node) {
    if (!node->memoized) {
        return std::nullopt;
    }
    const std::uint32_t memo = place(node).memo;
    return memo == not_in_memo ? std::nullopt : std::optional(memo);
}

void Writer::put(const Node* node) {
    if (!node->memoized || slot(node)) {
        return;
    }
    const std::uint32_t index = memo_count_++;
    place(node).memo = index;
    height_at_put_ = tasks_.size();
    if (protocol_ >= first_framed_protocol) {
        write(Op::memoize);
    } else if (holds(1, index)) {
        write(Op::binput, index, 1);
    } else {
        write(Op::long_binput, index, 4);
    }
}

void Writer::get(std::uint32_t index) {
    if (holds(1, index)) {
        write(Op::binget, index, 1);
    } else {
        write(Op::long_binget, index, 4);
    }
}

void Writer::write(Op op, std::uint64_t argument, unsigned width) {
    write(op);
    framer_.write_number(argument, width);
}

void Writer::check_bounds() {
    if (!recursive_) {
        return;
    }
    if (tasks_.size() > height_at_put_ + max_height_) {
        fail(ErrorCode::damaged, "a pickled value is part of itself");
    } else if (framer_.size() > max_nbytes_) {
        fail(ErrorCode::damaged, "a pickled tuple contains itself too often");
    }
}

void Writer::fail(ErrorCode code, const char* message) {
    error_.emplace(code, message);
}

}  // namespace ckptfs::pickle
