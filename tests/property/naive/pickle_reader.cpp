// Reads the opcodes of section 8 of the format description; numbers are those of Python's pickle.py.
#include <bit>
#include <map>
#include <stdexcept>

#include "naive/pickle_io.h"

namespace naive {
namespace {

class Reader {
 public:
    Reader(std::string_view bytes, const std::function<std::string(const std::string&)>& load_storage)
        : bytes_(bytes), load_storage_(load_storage) {}

    Value run() {
        check(take(2) == "\x80\x02", "protocol 2");
        while (true) {
            const char opcode = take(1)[0];
            if (opcode == '.') {
                break;
            }
            step(opcode);
        }
        check(at_ == bytes_.size() && stack_.size() == 1 && marks_.empty(), "one value and nothing after STOP");
        return stack_.back();
    }

 private:
    void check(bool holds, const std::string& expectation) const {
        if (!holds) {
            throw std::runtime_error("data.pkl, byte " + std::to_string(at_) + ": expected " + expectation);
        }
    }

    std::string_view take(std::size_t count) {
        check(count <= bytes_.size() - at_, "more bytes");
        at_ += count;
        return bytes_.substr(at_ - count, count);
    }

    std::uint64_t little(std::size_t count) {
        std::uint64_t value = 0;
        const std::string_view raw = take(count);
        for (std::size_t i = 0; i < count; ++i) {
            value |= std::uint64_t{static_cast<unsigned char>(raw[i])} << (8 * i);
        }
        return value;
    }

    std::string line() {
        const std::size_t end = bytes_.find('\n', at_);
        check(end != std::string_view::npos, "a line");
        std::string text(take(end - at_));
        take(1);
        return text;
    }

    Value pop() {
        check(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "a value on the stack");
        Value value = stack_.back();
        stack_.pop_back();
        return value;
    }

    std::vector<Value> pop_mark() {
        check(!marks_.empty(), "a mark");
        std::vector<Value> values(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
        stack_.resize(marks_.back());
        marks_.pop_back();
        return values;
    }

    std::vector<Value> pop_many(std::size_t count) {
        std::vector<Value> values(count);
        for (std::size_t i = count; i-- > 0;) {
            values[i] = pop();
        }
        return values;
    }

    void push(Value value) { stack_.push_back(std::move(value)); }

    void extend(const std::vector<Value>& values, bool pairs) {
        const Value target = pop();
        const bool keyed = target->kind == Kind::dict || target->kind == Kind::ordered_dict;
        check(pairs ? keyed : target->kind == Kind::list, "a container to fill");
        check(!pairs || values.size() % 2 == 0, "keys with values");
        target->items.insert(target->items.end(), values.begin(), values.end());
        push(target);
    }

    void step(char opcode) {
        switch (opcode) {
            case 'N':
                push(none());
                break;
            case '\x88':
                push(boolean(true));
                break;
            case '\x89':
                push(boolean(false));
                break;
            case 'K':
                push(integer(little(1)));
                break;
            case 'M':
                push(integer(little(2)));
                break;
            case 'J':
                push(negative(static_cast<std::int32_t>(little(4))));
                break;
            case '\x8a':
                push(negative(long1()));
                break;
            case 'G':
                push(real(big_double()));
                break;
            case 'X':
                push(string(take(little(4))));
                break;
            case '(':
                marks_.push_back(stack_.size());
                break;
            case ')':
                push(tuple({}));
                break;
            case 't':
                push(tuple(pop_mark()));
                break;
            case '\x85':
                push(tuple(pop_many(1)));
                break;
            case '\x86':
                push(tuple(pop_many(2)));
                break;
            case '\x87':
                push(tuple(pop_many(3)));
                break;
            case ']':
                push(list({}));
                break;
            case '}':
                push(dict());
                break;
            case 'a':
                extend(pop_many(1), false);
                break;
            case 'e':
                extend(pop_mark(), false);
                break;
            case 's':
                extend(pop_many(2), true);
                break;
            case 'u':
                extend(pop_mark(), true);
                break;
            case 'q':
                put(little(1));
                break;
            case 'r':
                put(little(4));
                break;
            case 'h':
                get(little(1));
                break;
            case 'j':
                get(little(4));
                break;
            case 'c':
                push(read_global());
                break;
            case 'R':
                call(false);
                break;
            case '\x81':
                call(true);
                break;
            case 'b':
                build();
                break;
            case 'Q':
                push(persistent(pop()));
                break;
            default:
                check(false, "an opcode that torch.save writes");
        }
    }

    Value read_global() {
        const std::string module = line();
        return global(module, line());
    }

    std::int64_t long1() {
        const std::size_t count = little(1);
        check(count <= 8, "an integer of 64 bits");
        const std::uint64_t raw = little(count);
        const auto unused = static_cast<unsigned>(64 - 8 * count);
        return count == 0 ? 0 : static_cast<std::int64_t>(raw << unused) >> unused;
    }

    double big_double() {
        std::uint64_t bits = 0;
        for (const char byte : take(8)) {
            bits = bits << 8 | static_cast<unsigned char>(byte);
        }
        return std::bit_cast<double>(bits);
    }

    void put(std::size_t slot) {
        check(!stack_.empty(), "a value to remember");
        memo_[slot] = stack_.back();
    }

    void get(std::size_t slot) {
        check(memo_.contains(slot), "a memo slot that was filled");
        push(memo_[slot]);
    }

    void call(bool by_new) {
        const Value arguments = pop();
        const Value callable = pop();
        check(callable->kind == Kind::global && arguments->kind == Kind::tuple, "a callable and its arguments");
        if (callable->text == "collections\nOrderedDict" && arguments->items.empty()) {
            push(ordered_dict());
        } else if (callable->text == "torch._utils\n_rebuild_tensor_v2") {
            push(read_tensor(arguments->items));
        } else if (callable->text == "torch._tensor\n_rebuild_from_type_v2") {
            const std::vector<Value>& items = arguments->items;
            check(items.size() == 4 && items[0]->text == "torch._utils\n_rebuild_tensor_v2" &&
                      items[1]->text == "torch\nTensor" && items[2]->kind == Kind::tuple,
                  "(_rebuild_tensor_v2, Tensor, arguments, attributes)");
            const Value made = read_tensor(items[2]->items);
            made->state = items[3];
            push(made);
        } else {
            auto made = std::make_shared<Node>();
            made->kind = Kind::object;
            made->text = callable->text;
            made->items = arguments->items;
            made->by_new = by_new;
            push(made);
        }
    }

    void build() {
        const Value state = pop();
        const Value target = pop();
        check((target->kind == Kind::object || target->kind == Kind::ordered_dict) && !target->state,
              "an object to set");
        target->state = state;
        push(target);
    }

    std::vector<std::uint64_t> numbers(const Value& value) const {
        check(value->kind == Kind::tuple, "a tuple of integers");
        std::vector<std::uint64_t> result;
        for (const Value& item : value->items) {
            check(item->kind == Kind::integer && item->integer >= 0, "a tuple of integers");
            result.push_back(static_cast<std::uint64_t>(item->integer));
        }
        return result;
    }

    Value read_tensor(const std::vector<Value>& arguments) const {
        check(arguments.size() == 6 && arguments[0]->kind == Kind::storage && arguments[1]->kind == Kind::integer &&
                  arguments[4]->kind == Kind::boolean && arguments[5]->kind == Kind::ordered_dict &&
                  arguments[5]->items.empty(),
              "the arguments of _rebuild_tensor_v2");
        auto made = std::make_shared<Node>();
        made->kind = Kind::tensor;
        made->storage = arguments[0]->storage;
        made->offset = static_cast<std::uint64_t>(arguments[1]->integer);
        made->size = numbers(arguments[2]);
        made->stride = numbers(arguments[3]);
        made->requires_grad = arguments[4]->integer != 0;
        return made;
    }

    Value persistent(const Value& id) {
        check(id->kind == Kind::tuple && id->items.size() == 5 && id->items[0]->text == "storage" &&
                  id->items[1]->kind == Kind::global && id->items[1]->text.starts_with("torch\n") &&
                  id->items[2]->kind == Kind::string && id->items[3]->kind == Kind::string &&
                  id->items[4]->kind == Kind::integer,
              "('storage', type, key, location, numel)");
        const std::string& key = id->items[2]->text;
        if (!storages_.contains(key)) {
            check(key == std::to_string(storages_.size()), "storages numbered in order of appearance");
            auto storage = std::make_shared<Storage>();
            storage->type = id->items[1]->text.substr(6);
            storage->location = id->items[3]->text;
            storage->bytes = load_storage_(key);
            storages_[key] = storage;
        }
        const auto& storage = storages_[key];
        check(
            storage->type == id->items[1]->text.substr(6) && storage->location == id->items[3]->text &&
                storage->bytes.size() == static_cast<std::uint64_t>(id->items[4]->integer) * itemsize_of(storage->type),
            "one type, location and size for storage " + key + ", those of its record");
        auto node = std::make_shared<Node>();
        node->kind = Kind::storage;
        node->storage = storage;
        return node;
    }

    std::string_view bytes_;
    const std::function<std::string(const std::string&)>& load_storage_;
    std::size_t at_ = 0;
    std::vector<Value> stack_;
    std::vector<std::size_t> marks_;
    std::map<std::size_t, Value> memo_;
    std::map<std::string, std::shared_ptr<Storage>> storages_;
};

}  // namespace

Value read_pickle(std::string_view bytes, const std::function<std::string(const std::string&)>& load_storage) {
    return Reader(bytes, load_storage).run();
}

}  // namespace naive
