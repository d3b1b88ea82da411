// One rank's optimizer file of ZeRO 1/2 or BF16_Optimizer, taken apart.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "pt/archive.h"
#include "zero/fields.h"
#include "zero/saved_values.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// One entry of a group's optimizer state in one rank's file.
struct StateEntry {
    std::string key;
    const pickle::Node* node = nullptr;
    bool tensor = false;
    std::uint64_t dimensions = 0;
    model::DType dtype = model::DType::float32;
    model::Shard shard;                ///< of a contiguous tensor
    std::size_t storage = 0;           ///< of that tensor, as an index into the archive's storages()
    std::uint64_t storage_offset = 0;  ///< where in that storage it begins, in bytes
    std::optional<double> number;      ///< of a Python int or float
    std::uint64_t held_numel = 0;      ///< of something else than a tensor: elements of the largest storage inside it
};

/// The entries of one state dict, in the file's order, each key once. A file says how many there are: they are found
/// by bisection, never by going through all of them.
class StateEntries {
 public:
    StateEntries() = default;
    /// Of entries with the same key the last one counts, in the place of the first, as in Python's dict.
    explicit StateEntries(std::vector<StateEntry> entries);

    /// nullptr where there is none.
    [[nodiscard]] const StateEntry* find(std::string_view key) const;
    [[nodiscard]] std::size_t size() const { return entries_.size(); }
    [[nodiscard]] auto begin() { return entries_.begin(); }
    [[nodiscard]] auto end() { return entries_.end(); }
    [[nodiscard]] auto begin() const { return entries_.begin(); }
    [[nodiscard]] auto end() const { return entries_.end(); }

 private:
    std::vector<StateEntry> entries_;
    std::vector<std::size_t> by_key_;  // indices in the order of the keys
};

struct GroupEntry {
    StateEntry master;
    bool has_state = false;
    StateEntries states;
    std::uint64_t padding_numel = 0;  ///< as the file's group_paddings says; 0 where it has none
    bool use_muon = false;
    std::vector<std::string> slices;  ///< the parameters that param_slice_mappings names, in its order
    std::optional<double> step;       ///< of FusedAdam, which counts in its param_groups
};

struct OptimizerFile {
    std::shared_ptr<const pt::Archive> archive;
    Format format = Format::zero12;
    int stage = 0;
    std::vector<GroupEntry> groups;
    std::optional<std::vector<std::vector<std::uint64_t>>> alignment_paddings;  ///< param_alignment_paddings
    std::string deepspeed_version;
    std::optional<double> elastic_step;  ///< base_optimizer_state_step
    std::string location;                ///< of the fp32 partitions: "cpu", "cuda:3"
    SavedValues values;                  ///< but for steps

    /// The pickle with every field blanked that depends on the rank or the world size: equal for ranks of one
    /// structure.
    Result<std::string> skeleton() const;
    /// Drops the tree and every pointer into it; what was read from it stays.
    void forget_tree();
};

/// The value `field` of a state dict, or a flat partition. `damaged` for a tensor that is not contiguous.
Result<StateEntry> read_entry(std::string key, const Field& field, const pt::Archive& archive);
/// The entries of one state dict. `unsupported` for 1-bit optimizers.
Result<StateEntries> read_entries(const Field& dict, const pt::Archive& archive);
/// What FusedAdam counts in a param_groups entry.
[[nodiscard]] std::optional<double> number_of(const pickle::Node* node);
/// Of `zero_stage`: ZeroStageEnum(1), which Python 3.11.2 pickles as getattr(ZeroStageEnum, "optimizer_states"); an int
/// in old files.
Result<int> read_stage(const Field& field);

/// Checks the fields that are read; refuses what cannot be re-cut.
Result<OptimizerFile> read_optimizer_file(std::shared_ptr<const pt::Archive> archive, std::uint64_t world_size);

/// What `file` says, of another file that has the same pickle: its storages lie at `places`.
[[nodiscard]] OptimizerFile in_another_file(const OptimizerFile& file, const pt::RecordPlaces& places);

/// For messages: "7", "none".
[[nodiscard]] std::string step_text(const std::optional<double>& step);

/// A Python number, or a single-element tensor's, which is read; nullopt for anything else.
Result<std::optional<double>> scalar_value(const StateEntry& entry);

}  // namespace ckptfs::zero
