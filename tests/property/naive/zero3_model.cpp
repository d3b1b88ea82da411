// Sections 4, 6 and 7 of the format description.
#include "naive/zero3_model.h"

#include <algorithm>
#include <map>

namespace naive {
namespace {

std::string tiled(const std::string& pattern, std::size_t nbytes) {
    std::string bytes(nbytes, '\0');
    for (std::size_t i = 0; i < nbytes; ++i) {
        bytes[i] = pattern[i % pattern.size()];
    }
    return bytes;
}

std::uint64_t numel_of(const std::vector<std::uint64_t>& shape) {
    std::uint64_t numel = 1;
    for (const std::uint64_t extent : shape) {
        numel *= extent;
    }
    return numel;
}

}  // namespace

Value find(const Value& dict, std::string_view key) {
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
        if (dict->items[i]->text == key) {
            return dict->items[i + 1];
        }
    }
    return nullptr;
}

Stage3 make_stage3(Checkpoint& checkpoint, Random& random) {
    checkpoint.format = Format::zero12;
    checkpoint.stage = 3;
    const Value zero = find(checkpoint.ds_config, "zero_optimization");
    find(zero, "stage")->integer = 3;
    Stage3 stage3;
    // They number all parameters: where no file names some, those of the others cannot be told for another cut.
    const bool all_named = !checkpoint.exclude_frozen || checkpoint.frozen.empty();
    stage3.has_ds_ids = !random.one_in(5) && all_named;
    stage3.first_ds_id = random.one_in(3) ? random.below(1000) : 0;
    if (random.one_in(4)) {
        return stage3;  // one sub-group for each group
    }
    stage3.sub_group_size = random.one_in(6) ? random.below(3) : random.between(1, random.one_in(3) ? 400 : 40);
    set(zero, "sub_group_size",
        random.one_in(4) ? real(static_cast<double>(stage3.sub_group_size)) : integer(stage3.sub_group_size));
    return stage3;
}

Save3::Save3(const Checkpoint& checkpoint, const Stage3& stage3, std::uint64_t world_size, std::uint64_t sub_group_size,
             std::function<std::uint64_t(std::uint64_t)> origin, Freedom freedom)
    : checkpoint_(checkpoint),
      stage3_(stage3),
      world_size_(world_size),
      origin_(std::move(origin)),
      freedom_(std::move(freedom)) {
    for (std::size_t g = 0; g < checkpoint.groups.size(); ++g) {
        std::uint64_t total = 0;
        for (const Parameter& parameter : checkpoint.groups[g].parameters) {
            total += share_numel(parameter.numel);
        }
        std::uint64_t filled = 0;
        bool open = false;
        for (const Parameter& parameter : checkpoint.groups[g].parameters) {
            if (!open) {
                sub_groups_.push_back({g, {}});
                filled = 0;
            }
            sub_groups_.back().parameters.push_back(&parameter);
            filled += share_numel(parameter.numel);
            open = sub_group_size >= total || filled < sub_group_size;
        }
    }
}

std::uint64_t Save3::share_numel(std::uint64_t numel) const {
    std::uint64_t share = numel / world_size_;
    while (share * world_size_ < numel) {
        ++share;
    }
    return share;
}

std::string Save3::share(const std::string& bytes, std::uint64_t numel, std::uint64_t rank) const {
    if (numel == 0) {
        return "";
    }
    const std::uint64_t itemsize = bytes.size() / numel;
    const std::uint64_t nbytes = share_numel(numel) * itemsize;
    std::string part = rank * nbytes < bytes.size() ? bytes.substr(rank * nbytes, nbytes) : "";
    return part + tiled(freedom_.padding, nbytes - part.size());
}

std::string Save3::location(std::uint64_t rank) const {
    return checkpoint_.location == "cuda" ? "cuda:" + std::to_string(origin_(rank)) : checkpoint_.location;
}

Value Save3::own_tensor(const std::string& type, std::string bytes, const std::vector<std::uint64_t>& shape,
                        std::uint64_t rank) const {
    return tensor(std::make_shared<Storage>(Storage{type, location(rank), std::move(bytes)}), 0, shape);
}

Value Save3::flat_tensor(const SubGroup& sub_group, const std::string& type, std::uint64_t rank,
                         const std::function<const std::string&(const Parameter&)>& bytes_of,
                         bool requires_grad) const {
    const std::size_t itemsize = itemsize_of(type);
    std::string bytes;
    for (const Parameter* parameter : sub_group.parameters) {
        bytes += share(bytes_of(*parameter), parameter->numel, rank);
    }
    const std::uint64_t numel = bytes.size() / itemsize;
    auto storage = std::make_shared<Storage>(Storage{type, location(rank),
                                                     tiled("before", freedom_.storage_before * itemsize) + bytes +
                                                         tiled("after", freedom_.storage_after * itemsize)});
    return tensor(std::move(storage), freedom_.storage_before, {numel}, requires_grad);
}

Value Save3::state(const SubGroup& sub_group, std::uint64_t rank) const {
    Value entries = dict();
    for (const StateKind& kind : checkpoint_.groups[sub_group.group].states) {
        if (kind.how == StateKind::How::plain) {
            set(entries, kind.key, kind.value);
        } else if (kind.how == StateKind::How::small_tensor) {
            set(entries, kind.key, own_tensor(kind.type, kind.bytes, kind.shape, rank));
        } else {
            set(entries, kind.key,
                flat_tensor(
                    sub_group, kind.type, rank,
                    [&](const Parameter& parameter) -> const std::string& { return parameter.states.at(kind.key); },
                    false));
        }
    }
    return entries;
}

// "first_last", of numbers that count the model's parameters in the order of its module.
Value Save3::ds_id(const SubGroup& sub_group) const {
    std::map<std::string, std::uint64_t> numbers;
    for (const std::string& name : checkpoint_.module_order) {
        const bool buffer = std::any_of(checkpoint_.buffers.begin(), checkpoint_.buffers.end(),
                                        [&](const Fixed& fixed) { return fixed.name == name; });
        const bool duplicate = std::any_of(checkpoint_.tied.begin(), checkpoint_.tied.end(),
                                           [&](const auto& tied) { return tied.first == name; });
        if (!buffer && !duplicate) {
            numbers.emplace(name, stage3_.first_ds_id + numbers.size());
        }
    }
    Value attributes = dict();
    set(attributes, "ds_id",
        string(std::to_string(numbers.at(sub_group.parameters.front()->name)) + "_" +
               std::to_string(numbers.at(sub_group.parameters.back()->name))));
    return attributes;
}

Value Save3::optimizer(std::uint64_t rank) const {
    Value states = dict();
    std::vector<Value> groups;
    for (const Group& group : checkpoint_.groups) {
        Value entry = dict();
        for (const auto& [key, value] : group.hyperparameters) {
            set(entry, key, value);
        }
        set(entry, "params", list({}));
        groups.push_back(entry);
    }
    std::vector<Value> masters;
    for (std::size_t k = 0; k < sub_groups_.size(); ++k) {
        const SubGroup& sub_group = sub_groups_[k];
        find(groups[sub_group.group], "params")->items.push_back(integer(k));
        if (checkpoint_.groups[sub_group.group].has_state) {
            set(states, integer(k), state(sub_group, rank));
        }
        masters.push_back(flat_tensor(
            sub_group, checkpoint_.master_type, rank,
            [](const Parameter& parameter) -> const std::string& { return parameter.master; }, true));
        if (stage3_.has_ds_ids) {
            masters.back()->state = ds_id(sub_group);
        }
    }
    Value inner = dict();
    set(inner, "state", states);
    set(inner, "param_groups", list(std::move(groups)));
    Value outer = dict();
    set(outer, "zero_stage", object("deepspeed.runtime.zero.config", "ZeroStageEnum", {integer(3)}));
    set(outer, "loss_scaler", checkpoint_.loss_scaler);
    set(outer, "dynamic_loss_scale", boolean(checkpoint_.loss_scaler->text.find("Dynamic") != std::string::npos));
    set(outer, "overflow", boolean(false));
    set(outer, "partition_count", integer(world_size_));
    set(outer, "optimizer_state_dict", inner);
    set(outer, "fp32_flat_groups", list(std::move(masters)));
    for (const auto& [key, value] : checkpoint_.optimizer_extras) {
        set(outer, key, value);
    }
    if (checkpoint_.note_rank) {
        set(outer, "rank_of_the_writer", integer(origin_(rank)));
    }
    Value file = dict();
    set(file, "optimizer_state_dict", outer);
    set(file, "ds_config", checkpoint_.ds_config);
    set(file, "ds_version", string("0.19.8"));
    return file;
}

// Parameters are released: empty tensors. Each rank has buffers of its own.
Value Save3::module(std::uint64_t rank) const {
    std::map<std::string, Value> tensors;
    for (const Group& group : checkpoint_.groups) {
        for (const Parameter& parameter : group.parameters) {
            tensors[parameter.name] = own_tensor(checkpoint_.weight_type, "", {0}, rank);
        }
    }
    for (const Fixed& fixed : checkpoint_.frozen) {
        tensors[fixed.name] = own_tensor(fixed.type, "", {0}, rank);
    }
    for (const Fixed& fixed : checkpoint_.buffers) {
        std::string bytes = fixed.bytes;
        if (!bytes.empty()) {
            bytes[0] = static_cast<char>(bytes[0] ^ static_cast<char>(origin_(rank)));
        }
        tensors[fixed.name] = own_tensor(fixed.type, bytes, fixed.shape, rank);
    }
    for (const auto& [duplicate, owner] : checkpoint_.tied) {
        tensors[duplicate] = tensor(tensors.at(owner)->storage, 0, {0});
    }
    Value made = ordered_dict();
    for (const std::string& name : checkpoint_.module_order) {
        if (!is_excluded(checkpoint_, name)) {
            set(made, name, tensors.at(name));
        }
    }
    if (checkpoint_.module_metadata) {
        made->state = dict();
        set(made->state, "_metadata", checkpoint_.module_metadata);
    }
    return made;
}

Value Save3::model_states(std::uint64_t rank) const {
    std::vector<Value> shapes;
    for (const SubGroup& sub_group : sub_groups_) {
        shapes.push_back(ordered_dict());
        for (const Parameter* parameter : sub_group.parameters) {
            set(shapes.back(), parameter->name, torch_size(parameter->shape));
        }
    }
    const bool keep_frozen = !checkpoint_.exclude_frozen;
    Value frozen_shapes = keep_frozen ? ordered_dict() : none();
    Value fragments = keep_frozen ? ordered_dict() : none();
    for (const Fixed& fixed : checkpoint_.frozen) {
        if (keep_frozen) {
            const std::uint64_t numel = numel_of(fixed.shape);
            set(frozen_shapes, fixed.name, torch_size(fixed.shape));
            set(fragments, fixed.name,
                own_tensor(fixed.type, share(fixed.bytes, numel, rank), {share_numel(numel)}, rank));
        }
    }
    std::vector<Value> buffer_names;
    for (const Fixed& buffer : checkpoint_.buffers) {
        buffer_names.push_back(string(buffer.name));
    }
    Value shared = dict();
    for (const auto& [duplicate, owner] : checkpoint_.tied) {
        if (rank == 0) {
            set(shared, duplicate, string(owner));
        }
    }
    Value states = dict();
    set(states, "module", module(rank));
    set(states, "buffer_names", list(buffer_names));
    set(states, "optimizer", none());
    set(states, "param_shapes", list(shapes));
    set(states, "frozen_param_shapes", frozen_shapes);
    set(states, "shared_params", shared);
    set(states, "frozen_param_fragments", fragments);
    for (const auto& [key, value] : checkpoint_.before_world_size) {
        set(states, key, value);
    }
    set(states, "dp_world_size", integer(world_size_));
    for (const auto& [key, value] : checkpoint_.after_world_size) {
        set(states, key, value);
    }
    return states;
}

std::string Save3::model_states_name(std::uint64_t rank) {
    return "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_model_states.pt";
}

std::string Save3::optimizer_name(std::uint64_t rank) const {
    return std::string(checkpoint_.bf16 ? "bf16_" : "") + "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00" +
           checkpoint_.optimizer_suffix;
}

}  // namespace naive
