// A pickle as torch.save writes it (protocol 2), and a reader of the same opcodes. Knows nothing of the product's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "naive/value.h"

namespace naive {

struct Pickled {
    std::string bytes;
    std::vector<std::shared_ptr<Storage>> storages;  ///< in order of first appearance: the records data/0, data/1 …
};

[[nodiscard]] Pickled write_pickle(const Value& root);

/// `load_storage(key)`: the bytes of a record. Throws std::runtime_error for anything that torch.load would not take.
[[nodiscard]] Value read_pickle(std::string_view bytes,
                                const std::function<std::string(const std::string&)>& load_storage);

}  // namespace naive
