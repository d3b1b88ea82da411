// Editing the config that a checkpoint stores.
#include "view/stored_config.h"

#include <nlohmann/json.hpp>

#include "view/dict_edit.h"

namespace ckptfs::view {

Result<void> store_target_rules(pickle::Editor& pickle, const pickle::Node* root, const TargetLayout& target) {
    const pickle::Node* ds_config = pickle::find(root, "ds_config");
    const pickle::Node* zero = pickle::find(ds_config, "zero_optimization");
    if (!target.settings || zero == nullptr || zero->kind != pickle::Kind::dict) {
        return {};
    }
    const zero::LayoutConfig stored = zero::layout_config(zero::config_json(ds_config));
    if (target.settings->round_robin_gradients != stored.round_robin_gradients) {
        CKPTFS_TRY(
            set_or_add(pickle, zero, "round_robin_gradients", pickle.boolean(target.settings->round_robin_gradients)));
    }
    if (target.settings->parameter_alignment != stored.parameter_alignment) {
        CKPTFS_TRY(
            set_or_add(pickle, zero, "parameter_alignment", pickle.boolean(target.settings->parameter_alignment)));
    }
    return {};
}

Result<void> store_sub_group_size(pickle::Editor& pickle, const pickle::Node* root,
                                  std::optional<std::uint64_t> sub_group_size) {
    const pickle::Node* ds_config = pickle::find(root, "ds_config");
    const pickle::Node* zero = pickle::find(ds_config, "zero_optimization");
    if (!sub_group_size || zero == nullptr || zero->kind != pickle::Kind::dict ||
        zero::layout_config(zero::config_json(ds_config)).sub_group_size == *sub_group_size) {
        return {};
    }
    return set_or_add(pickle, zero, "sub_group_size", pickle.integer(static_cast<std::int64_t>(*sub_group_size)));
}

}  // namespace ckptfs::view
