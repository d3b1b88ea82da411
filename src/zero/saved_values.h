// The numbers and words that every rank of one save writes alike, and those that an optimizer keeps for a rank alone.
// What should be alike and differs tells that files of two saves lie in one directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "pt/archive.h"
#include "zero/fields.h"

namespace ckptfs::zero {

class StateEntries;

enum class ValueOwner : std::uint8_t {
    save,  ///< follows from the config or from the steps taken: alike on all ranks
    rank,  ///< an optimizer's own number, which may be of the rank's partition alone (Prodigy's d)
};

/// A tensor that is no partition: where its elements lie in the file of the rank that is asked. Of a large one the
/// first 4 KiB.
struct StoredNumbers {
    std::size_t storage = 0;   ///< index into the archive's storages()
    std::uint64_t offset = 0;  ///< in it, in bytes
    model::DType dtype = model::DType::float32;
    std::uint64_t numel = 1;
};

struct SavedValue {
    std::string field;  ///< "loss_scaler.cur_scale", "param_groups[0].lr", "state[1].mu_product"
    ValueOwner owner = ValueOwner::save;
    bool of_group = false;  ///< belongs to a parameter group, of which pipeline stages have different ones
    bool of_state = false;  ///< of an optimizer state, which a rank need not have
    std::string text;       ///< equal texts are equal values
    std::optional<StoredNumbers> stored;  ///< the text is what this tensor holds
};
using SavedValues = std::vector<SavedValue>;

/// Of the top level of a model-states file.
Result<SavedValues> model_states_values(const Field& root, const pt::Archive& archive);

/// Of an optimizer file. `optimizer`: its optimizer_state_dict; `inner`: what holds param_groups (the elastic form has
/// none).
Result<SavedValues> optimizer_values(const Field& root, const Field& optimizer, const Field& inner,
                                     const pt::Archive& archive);
/// Appends those entries of state `index` that are no partitions. `partition_numel`: elements that an entry of one
/// element must not be taken for a scalar at; 0 where partitions are longer.
Result<void> add_state_values(std::size_t index, const StateEntries& entries, std::uint64_t partition_numel,
                              const pt::Archive& archive, SavedValues& out);

/// One file's values, those in tensors read.
struct FileValues {
    std::string path;
    bool whole = true;  ///< not only those in tensors
    SavedValues values;
};

/// `places`: of the storages of the tree that `values` come from, in this file. `stored_only`: what else the file holds
/// is known to be equal, for its pickle is.
Result<FileValues> values_of_file(std::string path, const SavedValues& values, const pt::RecordPlaces& places,
                                  bool stored_only = false);

/// A value that ranks keep for themselves alone, with two that differ.
struct RankValue {
    std::string field;
    std::string path;
    std::string text;
    std::string other_path;
    std::string other_text;
};

/// "param_groups[0].d is 0.1, and 0.2 in FILE"; of several, the names of the others too. `values` is not empty.
[[nodiscard]] std::string rank_values_text(const std::vector<RankValue>& values);

enum class Likeness : std::uint8_t {
    ranks,           ///< of one family
    alike_families,  ///< tensor-parallel ranks: the same groups of the same parameters
    other_families,  ///< pipeline stages: groups of their own
};

/// `inconsistent` where a value of the save differs. What belongs to a rank and differs is appended to `own`, each
/// field once.
Result<void> compare_values(const FileValues& expected, const FileValues& found, Likeness likeness,
                            std::vector<RankValue>& own);

/// What is compared between families.
struct FamilyValues {
    FileValues model_states;
    FileValues optimizer;
    std::vector<RankValue> own;
};

/// Whether a hyper-parameter, or a state that is a number, follows from the config and the steps taken.
[[nodiscard]] bool is_of_save(std::string_view key);

}  // namespace ckptfs::zero
