// A ZeRO-1/2 checkpoint as whole parameters, and the files that DeepSpeed writes for it at any world size.
// Written from the format description alone: every parameter is materialised, laid into a flat buffer, and cut.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "naive/value.h"

namespace naive {

struct Parameter {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;
    std::string weight;  ///< bytes, as are the following
    std::string master;
    std::map<std::string, std::string> states;  ///< of the group's element-wise states
};

/// One key of a group's optimizer state.
struct StateKind {
    enum class How : std::uint8_t { elementwise, small_tensor, plain };
    std::string key;
    How how = How::elementwise;
    std::string type = "FloatStorage";
    std::vector<std::uint64_t> shape;  ///< small_tensor
    std::string bytes;                 ///< small_tensor
    Value value;                       ///< plain
};

struct Group {
    std::vector<Parameter> parameters;  ///< in optimizer order
    bool has_state = true;
    bool use_muon = false;
    std::vector<StateKind> states;
    std::vector<std::pair<std::string, Value>> hyperparameters;  ///< without params
};

/// A module entry that no optimizer partition holds: a frozen or empty parameter, or a buffer.
struct Fixed {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::string type;
    std::string bytes;
};

enum class Format : std::uint8_t { zero12, elastic, bf16_optimizer };

/// What of the engine's configuration enters the layout.
struct Settings {
    bool round_robin = false;
    bool alignment = false;
    bool offload = false;
};

struct Checkpoint {
    Format format = Format::zero12;
    int stage = 1;
    bool bf16 = false;  ///< the engine's; decides the prefix of file names
    std::string weight_type;
    std::string master_type = "FloatStorage";
    Settings settings;
    std::vector<Group> groups;
    std::vector<Fixed> frozen;
    std::vector<Fixed> buffers;
    std::vector<std::string> module_order;
    std::vector<std::pair<std::string, std::string>> tied;  ///< duplicate, owner
    bool flat_module = true;                                ///< weights are views of one buffer per group
    bool frozen_copies = false;                             ///< fragments have storages of their own
    bool exclude_frozen = false;
    bool has_alignment_paddings = true;
    bool has_slice_mappings = true;
    std::string fragment_module = "deepspeed.utils.tensor_fragment";
    std::string optimizer_suffix = "_optim_states.pt";
    std::string location = "cpu";  ///< of the tensors; "cuda": each rank's own device
    bool note_rank = false;        ///< an unknown entry that differs from rank to rank
    Value loss_scaler;             ///< absent from BF16_Optimizer files
    Value ds_config;
    std::vector<std::pair<std::string, Value>> optimizer_extras;   ///< further entries of optimizer_state_dict
    Value module_metadata;                                         ///< or nothing
    std::vector<std::pair<std::string, Value>> before_world_size;  ///< of the model states: lr_scheduler, counters …
    std::vector<std::pair<std::string, Value>> after_world_size;   ///< mp_world_size, ds_config, client state …
};

/// Whether save_checkpoint(exclude_frozen_parameters=True) leaves this name out of `module`.
[[nodiscard]] bool is_excluded(const Checkpoint& checkpoint, const std::string& name);

/// What is free, or was written differently by older versions; a view must neither depend on it nor copy it.
struct Freedom {
    std::string padding = std::string(1, '\0');  ///< the bytes that padding is filled with, repeated
    bool legacy_paddings = false;                ///< before 0.16.4: all padding attributed to the last rank
    std::uint64_t storage_before = 0;            ///< elements of the optimizer tensors' storages before the tensor …
    std::uint64_t storage_after = 0;             ///< … and after it
};

/// The files of one save.
class Save {
 public:
    /// `origin(rank)`: the rank of the original save whose unpartitioned entries this rank carries.
    Save(const Checkpoint& checkpoint, std::uint64_t world_size, Settings settings,
         std::function<std::uint64_t(std::uint64_t)> origin, Freedom freedom);

    [[nodiscard]] Value model_states() const;
    [[nodiscard]] Value optimizer(std::uint64_t rank) const;
    [[nodiscard]] std::string optimizer_name(std::uint64_t rank) const;

 private:
    struct Flat {
        std::vector<std::size_t> order;              ///< flat place -> optimizer index
        std::vector<std::uint64_t> offset;           ///< by optimizer index
        std::vector<std::uint64_t> alignment_after;  ///< by flat place
        std::uint64_t end = 0;
        std::uint64_t padded = 0;
        std::uint64_t partition = 0;
        std::map<std::string, std::string> buffers;  ///< "", "weight" and the state keys -> bytes
    };

    [[nodiscard]] Flat lay_out(const Group& group) const;
    [[nodiscard]] std::string fill(const Flat& flat, std::size_t itemsize,
                                   const std::function<const std::string&(std::size_t)>& bytes_of) const;
    [[nodiscard]] std::string location(std::uint64_t rank) const;
    [[nodiscard]] bool whole_momentum(const Group& group) const;
    [[nodiscard]] std::uint64_t padding(const Flat& flat, std::uint64_t rank) const;
    [[nodiscard]] std::uint64_t lean(const Flat& flat, std::uint64_t rank) const;
    [[nodiscard]] Value partition_tensor(const Flat& flat, const std::string& key, const std::string& type,
                                         std::uint64_t rank, std::uint64_t numel, bool requires_grad) const;
    [[nodiscard]] Value own_tensor(const std::string& type, std::string bytes, const std::vector<std::uint64_t>& shape,
                                   std::uint64_t rank) const;
    [[nodiscard]] Value group_state(std::size_t index, std::uint64_t rank) const;
    [[nodiscard]] Value base_optimizer_state(std::uint64_t rank) const;
    [[nodiscard]] Value slice_mapping(std::size_t index, std::uint64_t rank) const;
    [[nodiscard]] std::map<std::string, Value> module_tensors() const;

    const Checkpoint& checkpoint_;
    std::uint64_t world_size_;
    Settings settings_;
    std::function<std::uint64_t(std::uint64_t)> origin_;
    Freedom freedom_;
    std::vector<Flat> flats_;
};

inline constexpr const char* model_states_name = "mp_rank_00_model_states.pt";

}  // namespace naive
