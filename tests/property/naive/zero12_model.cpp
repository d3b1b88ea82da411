// Sections 4, 5 and 7 of the format description.
#include "naive/zero12_model.h"

#include <algorithm>
#include <numeric>

namespace naive {
namespace {

const std::string master_key;
const std::string weight_key = "\nweight";  // no state can be called so

std::string repeat(const std::string& pattern, std::size_t nbytes) {
    std::string bytes(nbytes, pattern[0]);
    for (std::size_t i = 0; pattern.size() > 1 && i < nbytes; ++i) {
        bytes[i] = pattern[i % pattern.size()];
    }
    return bytes;
}

Value integers(const std::vector<std::uint64_t>& numbers) {
    std::vector<Value> items;
    items.reserve(numbers.size());
    for (const std::uint64_t item : numbers) {
        items.push_back(integer(item));
    }
    return list(std::move(items));
}

}  // namespace

Save::Save(const Checkpoint& checkpoint, std::uint64_t world_size, Settings settings,
           std::function<std::uint64_t(std::uint64_t)> origin, Freedom freedom)
    : checkpoint_(checkpoint),
      world_size_(world_size),
      settings_(settings),
      origin_(std::move(origin)),
      freedom_(std::move(freedom)) {
    if (checkpoint.format == Format::bf16_optimizer) {
        settings_.round_robin = false;
        settings_.alignment = false;
    }
    for (const Group& group : checkpoint.groups) {
        flats_.push_back(lay_out(group));
    }
}

Save::Flat Save::lay_out(const Group& group) const {
    Flat flat;
    const std::size_t count = group.parameters.size();
    if (settings_.round_robin) {
        for (std::size_t first = 0; first < count && first < world_size_; ++first) {
            for (std::size_t i = first; i < count; i += world_size_) {
                flat.order.push_back(i);
            }
        }
    } else {
        flat.order.resize(count);
        std::iota(flat.order.begin(), flat.order.end(), std::size_t{0});
    }
    const std::uint64_t alignment = settings_.alignment ? 16 / itemsize_of(checkpoint_.weight_type) : 1;
    flat.offset.resize(count);
    for (const std::size_t i : flat.order) {
        flat.offset[i] = flat.end;
        flat.end += group.parameters[i].numel;
        std::uint64_t after = 0;
        while (i != flat.order.back() && (flat.end + after) % alignment != 0) {
            ++after;
        }
        flat.alignment_after.push_back(after);
        flat.end += after;
    }
    flat.padded = flat.end;
    while (flat.padded % (2 * world_size_) != 0) {
        ++flat.padded;
    }
    flat.partition = flat.padded / world_size_;
    const auto& parameters = group.parameters;
    flat.buffers[master_key] = fill(flat, itemsize_of(checkpoint_.master_type),
                                    [&](std::size_t i) -> const std::string& { return parameters[i].master; });
    flat.buffers[weight_key] = fill(flat, itemsize_of(checkpoint_.weight_type),
                                    [&](std::size_t i) -> const std::string& { return parameters[i].weight; });
    for (const StateKind& kind : group.states) {
        if (group.has_state && kind.how == StateKind::How::elementwise) {
            flat.buffers[kind.key] = fill(flat, itemsize_of(kind.type), [&](std::size_t i) -> const std::string& {
                return parameters[i].states.at(kind.key);
            });
        }
    }
    return flat;
}

std::string Save::fill(const Flat& flat, std::size_t itemsize,
                       const std::function<const std::string&(std::size_t)>& bytes_of) const {
    std::string bytes = repeat(freedom_.padding, flat.padded * itemsize);
    for (std::size_t i = 0; i < flat.offset.size(); ++i) {
        const std::string& data = bytes_of(i);
        std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(flat.offset[i] * itemsize));
    }
    return bytes;
}

std::string Save::location(std::uint64_t rank) const {
    return checkpoint_.location == "cuda" ? "cuda:" + std::to_string(origin_(rank)) : checkpoint_.location;
}

bool Save::whole_momentum(const Group& group) const {
    return group.use_muon && !settings_.offload && checkpoint_.format == Format::zero12;
}

std::uint64_t Save::padding(const Flat& flat, std::uint64_t rank) const {
    const bool last = rank + 1 == world_size_;
    if (checkpoint_.format == Format::bf16_optimizer || freedom_.legacy_paddings) {
        return last ? flat.padded - flat.end : 0;
    }
    const std::uint64_t left = rank * flat.partition;
    if (flat.end <= left) {
        return flat.partition;
    }
    return left + flat.partition > flat.end ? left + flat.partition - flat.end : 0;
}

// Python's tensor[: partition - padding], whose end may be negative in old files.
std::uint64_t Save::lean(const Flat& flat, std::uint64_t rank) const {
    const std::uint64_t cut = padding(flat, rank);
    if (cut <= flat.partition) {
        return flat.partition - cut;
    }
    return cut <= 2 * flat.partition ? 2 * flat.partition - cut : 0;
}

Value Save::partition_tensor(const Flat& flat, const std::string& key, const std::string& type, std::uint64_t rank,
                             std::uint64_t numel, bool requires_grad) const {
    const std::size_t itemsize = itemsize_of(type);
    auto storage = std::make_shared<Storage>();
    storage->type = type;
    storage->location = location(rank);
    storage->bytes = repeat("before", freedom_.storage_before * itemsize) +
                     flat.buffers.at(key).substr(rank * flat.partition * itemsize, flat.partition * itemsize) +
                     repeat("after", freedom_.storage_after * itemsize);
    return tensor(std::move(storage), freedom_.storage_before, {numel}, requires_grad);
}

Value Save::own_tensor(const std::string& type, std::string bytes, const std::vector<std::uint64_t>& shape,
                       std::uint64_t rank) const {
    return tensor(std::make_shared<Storage>(Storage{type, location(rank), std::move(bytes)}), 0, shape);
}

Value Save::group_state(std::size_t index, std::uint64_t rank) const {
    const Group& group = checkpoint_.groups[index];
    const Flat& flat = flats_[index];
    Value state = dict();
    for (const StateKind& kind : group.states) {
        if (kind.how == StateKind::How::plain) {
            set(state, kind.key, kind.value);
        } else if (kind.how == StateKind::How::small_tensor) {
            set(state, kind.key, own_tensor(kind.type, kind.bytes, kind.shape, rank));
        } else if (whole_momentum(group)) {
            std::string whole;
            for (const std::size_t i : flat.order) {
                const std::uint64_t begin = flat.offset[i];
                const std::uint64_t end = begin + group.parameters[i].numel;
                if (begin < (rank + 1) * flat.partition && rank * flat.partition < end) {
                    whole += group.parameters[i].states.at(kind.key);
                }
            }
            if (!whole.empty()) {
                const std::uint64_t numel = whole.size() / itemsize_of(kind.type);
                set(state, kind.key, own_tensor(kind.type, std::move(whole), {numel}, rank));
            }
        } else {
            const bool elastic = checkpoint_.format == Format::elastic;
            set(state, kind.key,
                partition_tensor(flat, kind.key, kind.type, rank, elastic ? lean(flat, rank) : flat.partition, false));
        }
    }
    return state;
}

Value Save::base_optimizer_state(std::uint64_t rank) const {
    if (checkpoint_.format == Format::elastic) {
        std::vector<Value> states;
        for (std::size_t i = 0; i < checkpoint_.groups.size(); ++i) {
            states.push_back(checkpoint_.groups[i].has_state ? group_state(i, rank) : dict());
        }
        return list(std::move(states));
    }
    Value states = dict();
    std::vector<Value> groups;
    for (std::size_t i = 0; i < checkpoint_.groups.size(); ++i) {
        const Group& group = checkpoint_.groups[i];
        if (group.has_state) {
            set(states, integer(i), group_state(i, rank));
        }
        Value parameters = dict();
        for (const auto& [key, value] : group.hyperparameters) {
            set(parameters, key, value);
        }
        set(parameters, "params", integers({i}));
        groups.push_back(parameters);
    }
    Value base = dict();
    set(base, "state", states);
    set(base, "param_groups", list(std::move(groups)));
    return base;
}

// By the offsets of optimizer order unless alignment padding is in use, round robin or not.
Value Save::slice_mapping(std::size_t index, std::uint64_t rank) const {
    const Group& group = checkpoint_.groups[index];
    const Flat& flat = flats_[index];
    std::vector<std::uint64_t> offset = flat.offset;
    if (std::all_of(flat.alignment_after.begin(), flat.alignment_after.end(), [](auto n) { return n == 0; })) {
        std::uint64_t cursor = 0;
        for (std::size_t i = 0; i < offset.size(); ++i) {
            offset[i] = cursor;
            cursor += group.parameters[i].numel;
        }
    }
    Value mapping = ordered_dict();
    const std::uint64_t left = rank * flat.partition;
    const std::uint64_t right = left + flat.partition;
    for (std::size_t i = 0; i < offset.size(); ++i) {
        const std::uint64_t begin = offset[i];
        const std::uint64_t end = begin + group.parameters[i].numel;
        const bool starts_here = left <= begin && begin < right;
        const bool reaches_in = begin < left && left < end;
        if (group.parameters[i].numel == 0 || (!starts_here && !reaches_in)) {
            continue;
        }
        const std::uint64_t start = std::max(begin, left);
        Value state = dict();
        set(state, "numel", integer(std::min(end, right) - start));
        set(state, "start", integer(start - left));
        set(mapping, group.parameters[i].name, new_object(checkpoint_.fragment_module, "fragment_address", state));
    }
    return mapping;
}

Value Save::optimizer(std::uint64_t rank) const {
    const bool zero = checkpoint_.format != Format::bf16_optimizer;
    Value state = dict();
    if (zero) {
        set(state, "loss_scaler", checkpoint_.loss_scaler);
        set(state, "dynamic_loss_scale", boolean(checkpoint_.loss_scaler->text.find("Dynamic") != std::string::npos));
        set(state, "overflow", boolean(false));
    }
    set(state, "clip_grad", real(1.0));
    set(state, "base_optimizer_state", base_optimizer_state(rank));
    const auto& hyperparameters = checkpoint_.groups.front().hyperparameters;
    if (checkpoint_.format == Format::elastic) {
        for (const auto& [key, value] : hyperparameters) {
            if (key == "step") {
                set(state, "base_optimizer_state_step", value);
            }
        }
    }
    std::vector<Value> masters;
    std::vector<std::uint64_t> paddings;
    std::vector<Value> alignments;
    std::vector<Value> mappings;
    for (std::size_t i = 0; i < flats_.size(); ++i) {
        const Flat& flat = flats_[i];
        masters.push_back(partition_tensor(flat, master_key, checkpoint_.master_type, rank,
                                           zero ? lean(flat, rank) : flat.partition, true));
        paddings.push_back(padding(flat, rank));
        alignments.push_back(integers(flat.alignment_after));
        mappings.push_back(slice_mapping(i, rank));
    }
    set(state, "single_partition_of_fp32_groups", list(masters));
    if (zero) {
        set(state, "zero_stage",
            object("deepspeed.runtime.zero.config", "ZeroStageEnum",
                   {integer(static_cast<std::uint64_t>(checkpoint_.stage))}));
    }
    set(state, "group_paddings", integers(paddings));
    if (zero && checkpoint_.has_alignment_paddings) {
        set(state, "param_alignment_paddings", list(alignments));
    }
    set(state, "partition_count", integers(std::vector<std::uint64_t>(flats_.size(), world_size_)));
    set(state, "ds_version", string("0.19.8"));
    if (checkpoint_.has_slice_mappings) {
        set(state, "param_slice_mappings", list(mappings));
    }
    for (const auto& [key, value] : checkpoint_.optimizer_extras) {
        set(state, key, value);
    }
    if (checkpoint_.note_rank) {
        set(state, "rank_of_the_writer", integer(origin_(rank)));
    }
    const bool aligned = std::any_of(flats_.begin(), flats_.end(), [](const Flat& flat) {
        return std::any_of(flat.alignment_after.begin(), flat.alignment_after.end(), [](auto n) { return n != 0; });
    });
    if (!checkpoint_.has_alignment_paddings && aligned) {
        set(state, "param_alignment_paddings", list(alignments));  // or the engine takes the file for one without
    }
    Value file = dict();
    set(file, "optimizer_state_dict", state);
    set(file, "ds_config", checkpoint_.ds_config);
    set(file, "ds_version", string("0.19.8"));
    return file;
}

std::string Save::optimizer_name(std::uint64_t rank) const {
    return std::string(checkpoint_.bf16 ? "bf16_" : "") + "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00" +
           checkpoint_.optimizer_suffix;
}

std::map<std::string, Value> Save::module_tensors() const {
    std::map<std::string, Value> tensors;
    for (std::size_t g = 0; g < flats_.size(); ++g) {
        const Flat& flat = flats_[g];
        const auto buffer =
            std::make_shared<Storage>(Storage{checkpoint_.weight_type, location(0), flat.buffers.at(weight_key)});
        for (std::size_t i = 0; i < flat.offset.size(); ++i) {
            const Parameter& parameter = checkpoint_.groups[g].parameters[i];
            if (checkpoint_.flat_module && parameter.numel != 0) {
                tensors[parameter.name] = tensor(buffer, flat.offset[i], parameter.shape);
            } else {
                tensors[parameter.name] = own_tensor(checkpoint_.weight_type, parameter.weight, parameter.shape, 0);
            }
        }
    }
    for (const auto* list : {&checkpoint_.frozen, &checkpoint_.buffers}) {
        for (const Fixed& fixed : *list) {
            tensors[fixed.name] = own_tensor(fixed.type, fixed.bytes, fixed.shape, 0);
        }
    }
    for (const auto& [duplicate, owner] : checkpoint_.tied) {
        const Value& original = tensors.at(owner);
        tensors[duplicate] = tensor(original->storage, original->offset, original->size);
    }
    return tensors;
}

bool is_excluded(const Checkpoint& checkpoint, const std::string& name) {
    return checkpoint.exclude_frozen && std::any_of(checkpoint.frozen.begin(), checkpoint.frozen.end(),
                                                    [&](const Fixed& fixed) { return fixed.name == name; });
}

Value Save::model_states() const {
    const std::map<std::string, Value> tensors = module_tensors();
    Value module = ordered_dict();
    for (const std::string& name : checkpoint_.module_order) {
        if (!is_excluded(checkpoint_, name)) {
            set(module, name, tensors.at(name));
        }
    }
    if (checkpoint_.module_metadata) {
        module->state = dict();
        set(module->state, "_metadata", checkpoint_.module_metadata);
    }
    std::vector<Value> shapes;
    for (std::size_t g = 0; g < flats_.size(); ++g) {
        Value group = ordered_dict();
        for (const std::size_t i : flats_[g].order) {
            const Parameter& parameter = checkpoint_.groups[g].parameters[i];
            set(group, parameter.name, torch_size(parameter.shape));
        }
        shapes.push_back(group);
    }
    const bool keep_frozen = checkpoint_.stage == 2 && !checkpoint_.exclude_frozen;
    Value frozen_shapes = keep_frozen ? ordered_dict() : none();
    Value fragments = keep_frozen ? ordered_dict() : none();
    for (const Fixed& fixed : checkpoint_.frozen) {
        if (keep_frozen) {
            const Value& original = tensors.at(fixed.name);
            set(frozen_shapes, fixed.name, torch_size(fixed.shape));
            set(fragments, fixed.name,
                checkpoint_.frozen_copies
                    ? tensor(std::make_shared<Storage>(Storage{fixed.type, "cpu", fixed.bytes}), 0, fixed.shape)
                    : tensor(original->storage, original->offset, original->size));
        }
    }
    std::vector<Value> buffer_names;
    for (const Fixed& buffer : checkpoint_.buffers) {
        buffer_names.push_back(string(buffer.name));
    }
    Value shared = dict();
    for (const auto& [duplicate, owner] : checkpoint_.tied) {
        set(shared, duplicate, string(owner));
    }
    Value states = dict();
    set(states, "module", module);
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

}  // namespace naive
