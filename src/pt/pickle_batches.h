// How Python's C pickler cuts the items of a container into batches.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pt/pickle.h"

namespace ckptfs::pickle {

/// Who is filled with what: each has its own rule in CPython's Modules/_pickle.c.
enum class Fill : std::uint8_t {
    list,          ///< batch_list_exact
    dict,          ///< batch_dict_exact: after a whole number of full batches comes an empty one
    set,           ///< save_set: the same, and never without MARK
    object_list,   ///< batch_list, for subclasses and other objects
    object_pairs,  ///< batch_dict
};

/// The batch that follows `done` of `total` entries in `batch` batches: its number of entries, WriteHints::single for
/// one without MARK, nothing at the end.
[[nodiscard]] std::optional<std::uint32_t> default_batch(Fill fill, std::uint64_t total, std::uint64_t done,
                                                         std::uint64_t batch);

[[nodiscard]] std::vector<std::uint32_t> default_batches(Fill fill, std::uint64_t total);

/// Whether `batches` hold `total` entries.
[[nodiscard]] bool batches_fit(const std::vector<std::uint32_t>& batches, std::uint64_t total);

/// Entries in a batch.
[[nodiscard]] constexpr std::uint32_t batch_count(std::uint32_t batch) {
    return batch == WriteHints::single ? 1 : batch;
}

/// Items of a node per entry.
[[nodiscard]] constexpr std::size_t items_per_entry(Fill fill) {
    return fill == Fill::dict || fill == Fill::object_pairs ? 2 : 1;
}

}  // namespace ckptfs::pickle
