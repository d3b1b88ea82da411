// Parses a pickle into a tree, opcode by opcode.
#include "pt/pickle_parser.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ckptfs::pickle {

namespace {

std::string hexadecimal(std::uint8_t byte) {
    constexpr std::string_view digits = "0123456789abcdef";
    return {'0', 'x', digits[byte >> 4U], digits[byte & 15U]};
}

// FLOAT, INT, LONG, STRING, BINSTRING, SHORT_BINSTRING, UNICODE, PERSID, GET, PUT, DICT, INST, LIST, OBJ, DUP
constexpr std::string_view old_opcodes = "FILSTUVPgpdilo2";

/// Of a node: itself in its deque, and what the writer notes of it, which reads every tree once.
constexpr std::uint64_t counted_node_nbytes = sizeof(Node) + sizeof(Node) / 8 + 24;
/// So that the budget, which all threads share, is asked now and then only.
constexpr std::uint64_t reservation_step = std::uint64_t{256} << 10U;

}  // namespace

// Whether the budget has what is held now, and `more_nbytes`.
bool Parser::reserve(std::uint64_t more_nbytes) {
    const std::uint64_t lists = held_by(stack_) + held_by(memo_) + held_by(marks_) + held_by(popped_);
    const std::uint64_t needed =
        tree_->nodes_.size() * counted_node_nbytes + nodes_nbytes_ + growth * lists + more_nbytes;
    if (needed <= reserved_nbytes_) {
        return true;
    }
    const std::uint64_t wanted = needed + std::min(needed, reservation_step);
    if (!reservation_.resize(wanted)) {
        error_.emplace(ErrorCode::io,
                       "its " + std::to_string(bytes_.size()) + " bytes ask for more memory than there is: " +
                           std::to_string(wanted) + " bytes at offset " + std::to_string(opcode_position_) +
                           ", where all files together may take " + std::to_string(budget_.limit()) + " " +
                           MemoryBudget::how_to_raise_limit() + ", or restore the file",
                       ENOMEM);
        return false;
    }
    reserved_nbytes_ = wanted;
    return true;
}

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
        running = step(op) && reserve();
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
    reserved_nbytes_ = tree_->nodes_.size() * counted_node_nbytes + nodes_nbytes_;  // never more than now
    static_cast<void>(reservation_.resize(reserved_nbytes_));
    tree_->reservation_ = std::move(reservation_);
    return true;
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

Result<std::shared_ptr<const Tree>> Tree::parse(std::string_view bytes, MemoryBudget& budget) {
    return Parser(bytes, budget).run();
}

}  // namespace ckptfs::pickle
