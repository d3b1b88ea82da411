// Python objects of a checkpoint as the property test's model sees them: plain values and storages that hold their
// bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace naive {

struct Storage {
    std::string type;  ///< torch's class: "FloatStorage"
    std::string location = "cpu";
    std::string bytes;
};

[[nodiscard]] std::size_t itemsize_of(std::string_view storage_type);

enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,
    string,
    tuple,
    list,
    dict,
    ordered_dict,
    global,
    object,
    storage,
    tensor
};

struct Node;
using Value = std::shared_ptr<Node>;

struct Node {
    Kind kind = Kind::none;
    std::int64_t integer = 0;  ///< boolean, integer
    double real = 0;
    std::string text;          ///< string; global and object: "module\nname"
    std::vector<Value> items;  ///< tuple, list; dicts: key, value, key, value …; object: its arguments
    Value state;               ///< object, ordered_dict: what BUILD sets; tensor: its attributes; or nothing
    bool by_new = false;       ///< object: made by NEWOBJ rather than REDUCE
    std::shared_ptr<Storage> storage;
    std::uint64_t offset = 0;  ///< tensor: in elements
    std::vector<std::uint64_t> size;
    std::vector<std::uint64_t> stride;
    bool requires_grad = false;
};

[[nodiscard]] Value none();
[[nodiscard]] Value boolean(bool value);
[[nodiscard]] Value integer(std::uint64_t value);
[[nodiscard]] Value negative(std::int64_t value);
[[nodiscard]] Value real(double value);
[[nodiscard]] Value string(std::string_view value);
[[nodiscard]] Value tuple(std::vector<Value> items);
[[nodiscard]] Value list(std::vector<Value> items);
[[nodiscard]] Value dict();
[[nodiscard]] Value ordered_dict();
[[nodiscard]] Value global(std::string_view module, std::string_view name);
[[nodiscard]] Value object(std::string_view module, std::string_view name, std::vector<Value> arguments);
[[nodiscard]] Value new_object(std::string_view module, std::string_view name, Value state);
[[nodiscard]] Value torch_size(const std::vector<std::uint64_t>& shape);
/// A contiguous tensor into `storage`.
[[nodiscard]] Value tensor(std::shared_ptr<Storage> storage, std::uint64_t offset,
                           const std::vector<std::uint64_t>& shape, bool requires_grad = false);

void set(const Value& dict, Value key, Value value);
void set(const Value& dict, std::string_view key, Value value);

/// The first difference of two object graphs as "path: what"; empty where they are equal in values, key order, types,
/// tensor geometry, every byte of every storage, and in which values and storages are shared.
[[nodiscard]] std::string difference(const Value& actual, const Value& expected);

}  // namespace naive
