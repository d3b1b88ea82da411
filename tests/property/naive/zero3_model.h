// A ZeRO-3 checkpoint as whole parameters, and the files that DeepSpeed writes for it at any world size.
// Written from the format description alone: every parameter is cut for itself, and its shares are strung together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "naive/random.h"
#include "naive/value.h"
#include "naive/zero12_model.h"

namespace naive {

/// What stage 3 adds to a checkpoint's parameters and objects.
struct Stage3 {
    std::uint64_t sub_group_size = 1'000'000'000;
    bool has_ds_ids = true;         ///< of 0.13.x and later
    std::uint64_t first_ds_id = 0;  ///< of the model's first parameter
};

/// Makes a stage-3 checkpoint of one of stages 1 and 2.
[[nodiscard]] Stage3 make_stage3(Checkpoint& checkpoint, Random& random);

/// The files of one save.
class Save3 {
 public:
    /// `origin`, `freedom`: as for Save.
    Save3(const Checkpoint& checkpoint, const Stage3& stage3, std::uint64_t world_size, std::uint64_t sub_group_size,
          std::function<std::uint64_t(std::uint64_t)> origin, Freedom freedom);

    [[nodiscard]] Value model_states(std::uint64_t rank) const;
    [[nodiscard]] Value optimizer(std::uint64_t rank) const;
    [[nodiscard]] static std::string model_states_name(std::uint64_t rank);
    [[nodiscard]] std::string optimizer_name(std::uint64_t rank) const;

 private:
    struct SubGroup {
        std::size_t group = 0;
        std::vector<const Parameter*> parameters;
    };

    [[nodiscard]] std::uint64_t share_numel(std::uint64_t numel) const;
    [[nodiscard]] std::string share(const std::string& bytes, std::uint64_t numel, std::uint64_t rank) const;
    [[nodiscard]] std::string location(std::uint64_t rank) const;
    [[nodiscard]] Value own_tensor(const std::string& type, std::string bytes, const std::vector<std::uint64_t>& shape,
                                   std::uint64_t rank) const;
    [[nodiscard]] Value flat_tensor(const SubGroup& sub_group, const std::string& type, std::uint64_t rank,
                                    const std::function<const std::string&(const Parameter&)>& bytes_of,
                                    bool requires_grad) const;
    [[nodiscard]] Value state(const SubGroup& sub_group, std::uint64_t rank) const;
    [[nodiscard]] Value ds_id(const SubGroup& sub_group) const;
    [[nodiscard]] Value module(std::uint64_t rank) const;

    const Checkpoint& checkpoint_;
    Stage3 stage3_;
    std::uint64_t world_size_;
    std::function<std::uint64_t(std::uint64_t)> origin_;
    Freedom freedom_;
    std::vector<SubGroup> sub_groups_;
};

/// The entry at a string key, or nothing.
[[nodiscard]] Value find(const Value& dict, std::string_view key);

}  // namespace naive
