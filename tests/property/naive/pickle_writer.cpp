// Writes opcodes as Python's pickler does at protocol 2; section 8 of the format description lists them.
#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <stdexcept>

#include "naive/pickle_io.h"

namespace naive {
namespace {

constexpr std::size_t batch_size = 1000;  // pickle._Pickler._BATCHSIZE

class Writer {
 public:
    Pickled run(const Value& root) {
        out_.bytes = "\x80\x02";
        write(*root);
        out_.bytes += '.';
        return std::move(out_);
    }

 private:
    void little(std::uint64_t value, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            out_.bytes += static_cast<char>(value >> (8 * i) & 0xFF);
        }
    }

    std::size_t put() {
        const std::size_t slot = memo_count_++;
        out_.bytes += slot < 256 ? 'q' : 'r';
        little(slot, slot < 256 ? 1 : 4);
        return slot;
    }

    void get(std::size_t slot) {
        out_.bytes += slot < 256 ? 'h' : 'j';
        little(slot, slot < 256 ? 1 : 4);
    }

    void write_string(const std::string& text) {
        if (const auto found = strings_.find(text); found != strings_.end()) {
            get(found->second);
            return;
        }
        out_.bytes += 'X';
        little(text.size(), 4);
        out_.bytes += text;
        strings_[text] = put();
    }

    void write_global(const std::string& text) {
        if (const auto found = globals_.find(text); found != globals_.end()) {
            get(found->second);
            return;
        }
        out_.bytes += 'c' + text + '\n';
        globals_[text] = put();
    }

    void write_integer(std::int64_t value) {
        if (value >= 0 && value < 256) {
            out_.bytes += 'K';
            little(static_cast<std::uint64_t>(value), 1);
        } else if (value >= 0 && value < 65536) {
            out_.bytes += 'M';
            little(static_cast<std::uint64_t>(value), 2);
        } else if (value >= INT32_MIN && value <= INT32_MAX) {
            out_.bytes += 'J';
            little(static_cast<std::uint64_t>(value), 4);
        } else {
            std::size_t count = 8;
            while (count > 1 && (value >> (8 * (count - 1) - 1) == 0 || value >> (8 * (count - 1) - 1) == -1)) {
                --count;
            }
            out_.bytes += '\x8a';
            little(count, 1);
            little(static_cast<std::uint64_t>(value), count);
        }
    }

    void write_tuple(const std::vector<Value>& items) {
        if (items.empty()) {
            out_.bytes += ')';
            return;
        }
        if (items.size() > 3) {
            out_.bytes += '(';
        }
        for (const Value& item : items) {
            write(*item);
        }
        constexpr std::array<char, 3> opcodes{'\x85', '\x86', '\x87'};
        out_.bytes += items.size() > 3 ? 't' : opcodes.at(items.size() - 1);
        put();
    }

    // `width`: values per item. One item at the end of a batch has an opcode of its own.
    void write_batches(const std::vector<Value>& items, std::size_t width, char one, char many) {
        const std::size_t count = items.size() / width;
        for (std::size_t first = 0; first < count; first += batch_size) {
            const std::size_t last = std::min(count, first + batch_size);
            if (last - first > 1) {
                out_.bytes += '(';
            }
            for (std::size_t i = first * width; i < last * width; ++i) {
                write(*items[i]);
            }
            out_.bytes += last - first > 1 ? many : one;
        }
    }

    void write_storage(const std::shared_ptr<Storage>& storage) {
        auto found = storages_.find(storage.get());
        if (found == storages_.end()) {
            found = storages_.emplace(storage.get(), out_.storages.size()).first;
            out_.storages.push_back(storage);
        }
        out_.bytes += '(';
        write_string("storage");
        write_global("torch\n" + storage->type);
        write_string(std::to_string(found->second));
        write_string(storage->location);
        write_integer(static_cast<std::int64_t>(storage->bytes.size() / itemsize_of(storage->type)));
        out_.bytes += 't';
        put();
        out_.bytes += 'Q';
    }

    // A tensor with attributes goes through the reducer of its type.
    void write_tensor(const Node& node) {
        if (!node.state) {
            write_global("torch._utils\n_rebuild_tensor_v2");
            write_tensor_arguments(node);
            out_.bytes += 'R';
            return;
        }
        write_global("torch._tensor\n_rebuild_from_type_v2");
        out_.bytes += '(';
        write_global("torch._utils\n_rebuild_tensor_v2");
        write_global("torch\nTensor");
        write_tensor_arguments(node);
        write(*node.state);
        out_.bytes += 't';
        put();
        out_.bytes += 'R';
    }

    void write_tensor_arguments(const Node& node) {
        out_.bytes += '(';
        write_storage(node.storage);
        write_integer(static_cast<std::int64_t>(node.offset));
        for (const auto* numbers : {&node.size, &node.stride}) {
            std::vector<Value> extents;
            for (const std::uint64_t number : *numbers) {
                extents.push_back(integer(number));
            }
            write_tuple(extents);
        }
        out_.bytes += node.requires_grad ? '\x88' : '\x89';
        write_global("collections\nOrderedDict");
        out_.bytes += ")R";
        put();
        out_.bytes += 't';
        put();
    }

    void write(const Node& node) {
        if (const auto found = memo_.find(&node); found != memo_.end()) {
            get(found->second);
            return;
        }
        switch (node.kind) {
            case Kind::none:
                out_.bytes += 'N';
                return;
            case Kind::boolean:
                out_.bytes += node.integer != 0 ? '\x88' : '\x89';
                return;
            case Kind::integer:
                write_integer(node.integer);
                return;
            case Kind::real: {
                const auto bits = std::bit_cast<std::uint64_t>(node.real);
                out_.bytes += 'G';
                for (int shift = 56; shift >= 0; shift -= 8) {
                    out_.bytes += static_cast<char>(bits >> shift & 0xFF);
                }
                return;
            }
            case Kind::string:
                write_string(node.text);
                return;
            case Kind::global:
                write_global(node.text);
                return;
            case Kind::tuple:
                write_tuple(node.items);
                return;
            case Kind::list:
                out_.bytes += ']';
                memo_[&node] = put();
                write_batches(node.items, 1, 'a', 'e');
                return;
            case Kind::dict:
                out_.bytes += '}';
                memo_[&node] = put();
                write_batches(node.items, 2, 's', 'u');
                return;
            case Kind::ordered_dict:
                write_global("collections\nOrderedDict");
                out_.bytes += ")R";
                memo_[&node] = put();
                write_batches(node.items, 2, 's', 'u');
                write_state(node);
                return;
            case Kind::object:
                write_global(node.text);
                write_tuple(node.items);
                out_.bytes += node.by_new ? '\x81' : 'R';
                memo_[&node] = put();
                write_state(node);
                return;
            case Kind::tensor:
                write_tensor(node);
                memo_[&node] = put();
                return;
            case Kind::storage:
                throw std::runtime_error("a storage outside a tensor");
        }
    }

    void write_state(const Node& node) {
        if (node.state) {
            write(*node.state);
            out_.bytes += 'b';
        }
    }

    Pickled out_;
    std::size_t memo_count_ = 0;
    std::map<std::string, std::size_t> strings_;
    std::map<std::string, std::size_t> globals_;
    std::map<const Node*, std::size_t> memo_;
    std::map<const Storage*, std::size_t> storages_;
};

}  // namespace

Pickled write_pickle(const Value& root) {
    return Writer().run(root);
}

}  // namespace naive
