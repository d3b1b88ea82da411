// Builds and compares the model's values.
#include "naive/value.h"

#include <array>
#include <bit>
#include <map>
#include <stdexcept>

namespace naive {
namespace {

Value make(Kind kind) {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    return node;
}

bool is_shareable(Kind kind) {
    return kind == Kind::list || kind == Kind::dict || kind == Kind::ordered_dict || kind == Kind::object ||
           kind == Kind::tensor;
}

std::string describe(const Node& node) {
    constexpr std::array<const char*, 13> names{"None", "bool",        "int",    "float",  "str",     "tuple", "list",
                                                "dict", "OrderedDict", "global", "object", "storage", "tensor"};
    std::string text = names.at(static_cast<std::size_t>(node.kind));
    switch (node.kind) {
        case Kind::boolean:
        case Kind::integer:
            return text + " " + std::to_string(node.integer);
        case Kind::real:
            return text + " " + std::to_string(node.real);
        case Kind::string:
        case Kind::global:
        case Kind::object:
            return text + " '" + node.text + "'";
        case Kind::tuple:
        case Kind::list:
        case Kind::dict:
        case Kind::ordered_dict:
            return text + " of " + std::to_string(node.items.size()) + " items";
        default:
            return text;
    }
}

std::string join(const std::vector<std::uint64_t>& numbers) {
    std::string text = "(";
    for (const std::uint64_t number : numbers) {
        text += std::to_string(number) + ",";
    }
    return text + ")";
}

class Comparer {
 public:
    std::string compare(const Value& actual, const Value& expected, const std::string& path) {
        if (!actual || !expected) {
            return actual == expected ? "" : path + (actual ? ": has a state, expected none" : ": has no state");
        }
        const Node& a = *actual;
        const Node& e = *expected;
        if (a.kind != e.kind || a.integer != e.integer || a.text != e.text || a.by_new != e.by_new ||
            std::bit_cast<std::uint64_t>(a.real) != std::bit_cast<std::uint64_t>(e.real)) {
            return path + ": " + describe(a) + ", expected " + describe(e);
        }
        if (is_shareable(a.kind)) {
            const auto [there, fresh] = forward_.emplace(&a, &e);
            const auto [back, fresh_back] = backward_.emplace(&e, &a);
            if (there->second != &e || back->second != &a || fresh != fresh_back) {
                return path + ": shared with another value than expected";
            }
            if (!fresh) {
                return "";
            }
        }
        if (a.kind == Kind::tensor) {
            std::string found = compare_tensors(a, e, path);
            return found.empty() ? compare(a.state, e.state, path + ".attributes") : found;
        }
        if (a.items.size() != e.items.size()) {
            return path + ": " + describe(a) + ", expected " + describe(e);
        }
        const bool keyed = a.kind == Kind::dict || a.kind == Kind::ordered_dict;
        for (std::size_t i = 0; i < a.items.size(); ++i) {
            std::string name = std::to_string(keyed ? i / 2 : i);
            if (keyed) {
                const Node& key = *e.items[i - i % 2];
                name = (i % 2 == 0 ? "key " : "") + (key.kind == Kind::string ? key.text : std::to_string(key.integer));
            }
            name.insert(0, path + "[").push_back(']');
            std::string found = compare(a.items[i], e.items[i], name);
            if (!found.empty()) {
                return found;
            }
        }
        return compare(a.state, e.state, path + ".state");
    }

 private:
    std::string compare_tensors(const Node& a, const Node& e, const std::string& path) {
        if (a.offset != e.offset || a.size != e.size || a.stride != e.stride || a.requires_grad != e.requires_grad) {
            return path + ": tensor at " + std::to_string(a.offset) + " size " + join(a.size) + " stride " +
                   join(a.stride) + " requires_grad " + std::to_string(static_cast<int>(a.requires_grad)) +
                   ", expected at " + std::to_string(e.offset) + " size " + join(e.size) + " stride " + join(e.stride) +
                   " requires_grad " + std::to_string(static_cast<int>(e.requires_grad));
        }
        const Storage& as = *a.storage;
        const Storage& es = *e.storage;
        const auto [there, fresh] = storages_.emplace(&as, &es);
        const auto [back, fresh_back] = storages_back_.emplace(&es, &as);
        if (there->second != &es || back->second != &as || fresh != fresh_back) {
            return path + ": storage shared with another tensor's than expected";
        }
        if (as.type != es.type || as.location != es.location || as.bytes.size() != es.bytes.size()) {
            return path + ": " + as.type + " on " + as.location + " of " + std::to_string(as.bytes.size()) +
                   " bytes, expected " + es.type + " on " + es.location + " of " + std::to_string(es.bytes.size());
        }
        for (std::size_t i = 0; fresh && i < as.bytes.size(); ++i) {
            if (as.bytes[i] != es.bytes[i]) {
                return path + ": storage byte " + std::to_string(i) + " (element " +
                       std::to_string(i / itemsize_of(es.type)) + " of " +
                       std::to_string(es.bytes.size() / itemsize_of(es.type)) + ") differs";
            }
        }
        return "";
    }

    std::map<const Node*, const Node*> forward_;
    std::map<const Node*, const Node*> backward_;
    std::map<const Storage*, const Storage*> storages_;
    std::map<const Storage*, const Storage*> storages_back_;
};

}  // namespace

std::size_t itemsize_of(std::string_view storage_type) {
    static const std::map<std::string_view, std::size_t> sizes{
        {"DoubleStorage", 8}, {"FloatStorage", 4}, {"HalfStorage", 2}, {"BFloat16Storage", 2},
        {"LongStorage", 8},   {"IntStorage", 4},   {"ByteStorage", 1}, {"BoolStorage", 1}};
    const auto found = sizes.find(storage_type);
    if (found == sizes.end()) {
        throw std::runtime_error("the model knows no storage type " + std::string(storage_type));
    }
    return found->second;
}

Value none() {
    return make(Kind::none);
}

Value boolean(bool value) {
    Value node = make(Kind::boolean);
    node->integer = value ? 1 : 0;
    return node;
}

Value integer(std::uint64_t value) {
    return negative(static_cast<std::int64_t>(value));
}

Value negative(std::int64_t value) {
    Value node = make(Kind::integer);
    node->integer = value;
    return node;
}

Value real(double value) {
    Value node = make(Kind::real);
    node->real = value;
    return node;
}

Value string(std::string_view value) {
    Value node = make(Kind::string);
    node->text = value;
    return node;
}

Value tuple(std::vector<Value> items) {
    Value node = make(Kind::tuple);
    node->items = std::move(items);
    return node;
}

Value list(std::vector<Value> items) {
    Value node = make(Kind::list);
    node->items = std::move(items);
    return node;
}

Value dict() {
    return make(Kind::dict);
}

Value ordered_dict() {
    return make(Kind::ordered_dict);
}

Value global(std::string_view module, std::string_view name) {
    Value node = make(Kind::global);
    node->text = std::string(module) + "\n" + std::string(name);
    return node;
}

Value object(std::string_view module, std::string_view name, std::vector<Value> arguments) {
    Value node = make(Kind::object);
    node->text = std::string(module) + "\n" + std::string(name);
    node->items = std::move(arguments);
    return node;
}

Value new_object(std::string_view module, std::string_view name, Value state) {
    Value node = object(module, name, {});
    node->by_new = true;
    node->state = std::move(state);
    return node;
}

Value torch_size(const std::vector<std::uint64_t>& shape) {
    std::vector<Value> extents;
    extents.reserve(shape.size());
    for (const std::uint64_t extent : shape) {
        extents.push_back(integer(extent));
    }
    return object("torch", "Size", {tuple(std::move(extents))});
}

Value tensor(std::shared_ptr<Storage> storage, std::uint64_t offset, const std::vector<std::uint64_t>& shape,
             bool requires_grad) {
    Value node = make(Kind::tensor);
    node->storage = std::move(storage);
    node->offset = offset;
    node->size = shape;
    node->stride.resize(shape.size());
    std::uint64_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
        node->stride[i] = step;
        step *= shape[i] == 0 ? 1 : shape[i];
    }
    node->requires_grad = requires_grad;
    return node;
}

void set(const Value& dict, Value key, Value value) {
    dict->items.push_back(std::move(key));
    dict->items.push_back(std::move(value));
}

void set(const Value& dict, std::string_view key, Value value) {
    set(dict, string(key), std::move(value));
}

std::string difference(const Value& actual, const Value& expected) {
    return Comparer().compare(actual, expected, "");
}

}  // namespace naive
