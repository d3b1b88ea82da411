// Draws the cases; frequencies favour the corners: single elements, tiny groups, several parameters of one size.
#include "naive/zero12_random.h"

#include <algorithm>
#include <array>
#include <limits>

namespace naive {
namespace {

std::uint64_t product(const std::vector<std::uint64_t>& shape) {
    std::uint64_t numel = 1;
    for (const std::uint64_t extent : shape) {
        numel *= extent;
    }
    return numel;
}

std::vector<std::uint64_t> random_shape(Random& random) {
    switch (random.below(12)) {
        case 0:
            return {1};
        case 1:
            return {1, 1};
        case 2:
            return {};
        case 3:
            return {random.between(100, 700)};
        case 4:
            return {random.between(1, 4), random.between(1, 5), random.between(1, 6)};
        case 5:
            return {8};
        case 6:
        case 7:
            return {random.between(1, 20), random.between(1, 20)};
        default:
            return {random.between(1, 24)};
    }
}

class Generator {
 public:
    explicit Generator(Random& random) : random_(random) {}

    Checkpoint run() {
        draw_engine();
        const std::uint64_t group_count = random_.one_in(3) ? 1 : random_.between(2, 4);
        const std::uint64_t optimizer = random_.below(10);
        for (std::uint64_t i = 0; i < group_count; ++i) {
            checkpoint_.groups.push_back(draw_group(i, optimizer));
        }
        draw_fixed();
        draw_module();
        draw_values();
        return std::move(checkpoint_);
    }

 private:
    std::string fresh_name(const std::string& ending) {
        const std::string stem = random_.one_in(40) ? "bl\xc3\xb6"
                                                      "cke."
                                                    : "layers.";
        return stem + std::to_string(names_++) + "." + ending;
    }

    void draw_engine() {
        constexpr std::array<const char*, 3> weight_types{"BFloat16Storage", "HalfStorage", "FloatStorage"};
        const std::uint64_t type = random_.below(3);
        checkpoint_.weight_type = weight_types.at(type);
        checkpoint_.bf16 = type == 0;
        checkpoint_.stage = random_.one_in(2) ? 1 : 2;
        if (random_.one_in(6)) {
            checkpoint_.format = Format::elastic;
        } else if (checkpoint_.bf16 && random_.one_in(3)) {
            checkpoint_.format = Format::bf16_optimizer;
            checkpoint_.stage = 1;
        }
        if (type != 2 && random_.one_in(12)) {
            checkpoint_.master_type = checkpoint_.weight_type;
        }
        checkpoint_.settings.round_robin = random_.one_in(3);
        checkpoint_.settings.alignment = random_.one_in(3);
        checkpoint_.settings.offload = random_.one_in(5);
        checkpoint_.has_alignment_paddings = checkpoint_.settings.alignment || !random_.one_in(4);
        checkpoint_.has_slice_mappings = !random_.one_in(10);
        checkpoint_.frozen_copies = random_.one_in(3);
        checkpoint_.exclude_frozen = random_.one_in(6);
        checkpoint_.note_rank = random_.one_in(12);
        if (random_.one_in(15)) {
            checkpoint_.fragment_module = "deepspeed.runtime.bf16_optimizer";
        }
        if (random_.one_in(20)) {
            checkpoint_.optimizer_suffix = "optim_states.pt";
        }
        if (random_.one_in(6)) {
            checkpoint_.location = random_.one_in(2) ? "cuda:0" : "cuda";
        }
    }

    StateKind elementwise(const std::string& key) {
        StateKind kind;
        kind.key = key;
        if (random_.one_in(8)) {
            kind.type = random_.one_in(2) ? "BFloat16Storage" : "HalfStorage";
        } else if (random_.one_in(30)) {
            kind.type = random_.one_in(2) ? "DoubleStorage" : "ByteStorage";
        }
        return kind;
    }

    static StateKind plain(const std::string& key, Value value) {
        StateKind kind;
        kind.key = key;
        kind.how = StateKind::How::plain;
        kind.value = std::move(value);
        return kind;
    }

    // The step that torch's optimizers count: a 0-dim float tensor (1-dim in old ones), whose value all ranks share.
    static StateKind step_tensor(bool one_dimension) {
        StateKind kind;
        kind.key = "step";
        kind.how = StateKind::How::small_tensor;
        kind.shape = one_dimension ? std::vector<std::uint64_t>{1} : std::vector<std::uint64_t>{};
        kind.bytes = std::string("\0\0\xe0\x40", 4);  // 7.0
        return kind;
    }

    void draw_states(Group& group, std::uint64_t optimizer) {
        switch (optimizer) {
            case 0:
                group.has_state = false;
                return;
            case 1:
                group.states = {elementwise("momentum_buffer")};
                return;
            case 2:
                group.states = {step_tensor(false), elementwise("square_avg"), elementwise("grad_avg"),
                                elementwise("momentum_buffer")};
                return;
            case 3:
                group.states = {step_tensor(false), elementwise("exp_avg"), elementwise("exp_avg_sq"),
                                elementwise("max_exp_avg_sq")};
                return;
            case 4:
                group.states = {plain("step", integer(7)), elementwise("exp_avg"), elementwise("exp_avg_sq")};
                group.hyperparameters.emplace_back("step", integer(7));
                return;
            case 5:
                group.states = {elementwise("exp_avg"), plain("momentum_buffer", none()), step_tensor(true),
                                plain("decay", real(0.25)), elementwise("an_unheard_of_state")};
                return;
            case 6:
                if (random_.one_in(3) || checkpoint_.format != Format::zero12) {
                    group.states = {plain("step", integer(3)), elementwise("exp_avg"), elementwise("exp_avg_sq")};
                    group.hyperparameters.emplace_back("use_muon", boolean(false));
                } else {
                    group.use_muon = true;
                    group.states = {elementwise("momentum_buffer")};
                    group.hyperparameters.emplace_back("use_muon", boolean(true));
                }
                return;
            default:
                group.states = {step_tensor(false), elementwise("exp_avg"), elementwise("exp_avg_sq")};
        }
    }

    Group draw_group(std::uint64_t index, std::uint64_t optimizer) {
        Group group;
        draw_states(group, optimizer);
        if (optimizer == 1 && random_.one_in(4)) {
            group.has_state = false;  // a group without momentum
        }
        const std::uint64_t count = random_.one_in(4) ? 1 : random_.between(2, 9);
        for (std::uint64_t i = 0; i < count; ++i) {
            Parameter parameter;
            parameter.name = fresh_name("weight");
            parameter.shape = random_shape(random_);
            if (random_.one_in(60) && i > 0) {
                parameter.shape = {0};  // older versions kept empty parameters in their groups
            }
            parameter.numel = product(parameter.shape);
            parameter.weight = random_.bytes(parameter.numel * itemsize_of(checkpoint_.weight_type));
            parameter.master = random_.bytes(parameter.numel * itemsize_of(checkpoint_.master_type));
            for (const StateKind& kind : group.states) {
                if (group.has_state && kind.how == StateKind::How::elementwise) {
                    parameter.states[kind.key] = random_.bytes(parameter.numel * itemsize_of(kind.type));
                }
            }
            group.parameters.push_back(std::move(parameter));
        }
        group.hyperparameters.emplace_back("lr", real(0.001 * static_cast<double>(index + 1)));
        group.hyperparameters.emplace_back("betas", tuple({real(0.9), real(0.999)}));
        group.hyperparameters.emplace_back("fused", none());
        if (random_.one_in(10)) {
            auto storage = std::make_shared<Storage>(Storage{"FloatStorage", "cpu", random_.bytes(4)});
            group.hyperparameters.emplace_back("tensor_lr", tensor(std::move(storage), 0, {}));
        }
        return group;
    }

    void draw_fixed() {
        for (std::uint64_t i = random_.one_in(2) ? 0 : random_.between(1, 3); i > 0; --i) {
            Fixed fixed{fresh_name("frozen"), random_shape(random_), checkpoint_.weight_type, ""};
            if (random_.one_in(5)) {
                fixed.shape = {0, 3};
            }
            fixed.bytes = random_.bytes(product(fixed.shape) * itemsize_of(fixed.type));
            checkpoint_.frozen.push_back(std::move(fixed));
        }
        for (std::uint64_t i = random_.below(3); i > 0; --i) {
            Fixed buffer{fresh_name("running"), random_shape(random_),
                         random_.one_in(2) ? "LongStorage" : "FloatStorage", ""};
            buffer.bytes = random_.bytes(product(buffer.shape) * itemsize_of(buffer.type));
            checkpoint_.buffers.push_back(std::move(buffer));
        }
    }

    // Module order is the order of definition, not the optimizer's; a duplicate comes after its owner.
    void draw_module() {
        auto& order = checkpoint_.module_order;
        std::vector<std::string> owners;
        for (const Group& group : checkpoint_.groups) {
            for (const Parameter& parameter : group.parameters) {
                owners.push_back(parameter.name);
            }
        }
        order = owners;
        for (const auto* list : {&checkpoint_.frozen, &checkpoint_.buffers}) {
            for (const Fixed& fixed : *list) {
                order.push_back(fixed.name);
            }
        }
        for (std::size_t i = order.size(); i > 1; --i) {
            std::swap(order[i - 1], order[random_.below(i)]);
        }
        for (const Fixed& fixed : checkpoint_.frozen) {
            owners.push_back(fixed.name);
        }
        for (std::uint64_t i = random_.one_in(2) ? 0 : random_.between(1, 2); i > 0; --i) {
            const std::string owner = owners[random_.below(owners.size())];
            const std::string duplicate = fresh_name("tied");
            const auto at = std::find(order.begin(), order.end(), owner) + 1;
            order.insert(
                at + static_cast<std::ptrdiff_t>(random_.below(static_cast<std::uint64_t>(order.end() - at) + 1)),
                duplicate);
            checkpoint_.tied.emplace_back(duplicate, owner);
        }
        // One tensor that fills its storage cannot be told from a flat buffer; two can.
        const bool tellable = std::all_of(checkpoint_.groups.begin(), checkpoint_.groups.end(), [](const Group& group) {
            return std::count_if(group.parameters.begin(), group.parameters.end(),
                                 [](const Parameter& parameter) { return parameter.numel != 0; }) > 1;
        });
        checkpoint_.flat_module = !tellable || !random_.one_in(12);
    }

    Value draw_config() {
        Value zero = dict();
        set(zero, "stage", integer(static_cast<std::uint64_t>(checkpoint_.stage)));
        if (checkpoint_.settings.round_robin || random_.one_in(2)) {
            set(zero, "round_robin_gradients", boolean(checkpoint_.settings.round_robin));
        }
        if (checkpoint_.settings.alignment || random_.one_in(4)) {
            set(zero, "parameter_alignment", boolean(checkpoint_.settings.alignment));
        }
        if (checkpoint_.format == Format::elastic) {
            set(zero, "elastic_checkpoint", boolean(true));
        }
        Value device = dict();
        if (checkpoint_.settings.offload || random_.one_in(4)) {
            set(device, "device", string(checkpoint_.settings.offload ? "cpu" : "none"));
            set(zero, "offload_optimizer", device);
        }
        Value enabled = dict();
        set(enabled, "enabled", boolean(true));
        Value config = dict();
        set(config, "train_batch_size", integer(840));
        set(config, "steps_per_print", integer(1'000'000'000));
        set(config, "zero_optimization", zero);
        if (checkpoint_.weight_type != "FloatStorage") {
            set(config, checkpoint_.bf16 ? "bf16" : "fp16", enabled);
        }
        return config;
    }

    Value draw_scaler() {
        Value state = dict();
        if (checkpoint_.weight_type == "HalfStorage" && !random_.one_in(4)) {
            set(state, "cur_scale", real(65536));
            set(state, "cur_iter", integer(12));
            set(state, "last_overflow_iter", negative(-1));
            set(state, "dtype", global("torch", "float16"));
            return new_object("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler", state);
        }
        set(state, "cur_scale", real(1));
        set(state, "dynamic", boolean(false));
        return new_object("deepspeed.runtime.fp16.loss_scaler", "LossScaler", state);
    }

    Value draw_client_value(int depth) {
        switch (random_.below(depth == 0 ? 8 : 12)) {
            case 0:
                return integer(random_.below(std::uint64_t{1} << random_.below(63)));
            case 1:
                return negative(random_.one_in(2) ? std::numeric_limits<std::int64_t>::min()
                                                  : -static_cast<std::int64_t>(random_.below(70'000)));
            case 2:
                return real(static_cast<double>(random_.below(1000)) / 7);
            case 3:
                return string(std::string(random_.below(300), 'c'));
            case 4:
                return global("torch", "bfloat16");
            case 5:
                return object("__builtin__", "set", {list({string("embedding"), integer(4)})});
            case 6: {
                std::vector<std::uint64_t> shape = random_shape(random_);
                auto storage =
                    std::make_shared<Storage>(Storage{"ByteStorage", "cpu", random_.bytes(product(shape) + 3)});
                return tensor(std::move(storage), random_.below(4), shape);
            }
            case 7:
                return tuple({});
            case 8: {
                Value inner = draw_client_value(depth - 1);
                return list({inner, inner, draw_client_value(depth - 1)});
            }
            case 9: {
                Value made = random_.one_in(2) ? dict() : ordered_dict();
                set(made, integer(random_.below(10)), draw_client_value(depth - 1));
                set(made, "dp_world_size", draw_client_value(depth - 1));
                return made;
            }
            case 10:
                return list(std::vector<Value>(random_.one_in(10) ? 1001 : random_.below(5), integer(300)));
            default: {
                Value state = dict();
                set(state, "value", draw_client_value(depth - 1));
                return new_object("client.module", "Thing", state);
            }
        }
    }

    void draw_values() {
        checkpoint_.loss_scaler = draw_scaler();
        checkpoint_.ds_config = draw_config();
        if (!random_.one_in(4)) {
            Value entry = dict();
            set(entry, "version", integer(1));
            checkpoint_.module_metadata = ordered_dict();
            set(checkpoint_.module_metadata, "", entry);
        }
        if (random_.one_in(8)) {
            Value info = dict();
            set(info, "universal_checkpoint_version", real(0.2));
            checkpoint_.optimizer_extras.emplace_back("universal_checkpoint_info", info);
        }
        if (random_.one_in(8)) {
            checkpoint_.optimizer_extras.emplace_back("an_unknown_entry", draw_client_value(1));
        }
        Value scheduler = dict();
        set(scheduler, "last_batch_iteration", integer(1));
        auto& before = checkpoint_.before_world_size;
        before.emplace_back("lr_scheduler", random_.one_in(3) ? none() : scheduler);
        before.emplace_back("data_sampler", none());
        before.emplace_back("skipped_steps", integer(0));
        before.emplace_back("global_steps", integer(random_.below(100'000)));
        auto& after = checkpoint_.after_world_size;
        after.emplace_back("mp_world_size", integer(1));
        after.emplace_back("ds_config", checkpoint_.ds_config);
        after.emplace_back("ds_version", string("0.19.8"));
        for (std::uint64_t i = random_.below(4); i > 0; --i) {
            after.emplace_back("client_" + std::to_string(i), draw_client_value(2));
        }
    }

    Random& random_;
    Checkpoint checkpoint_;
    std::uint64_t names_ = 0;
};

}  // namespace

Checkpoint random_checkpoint(Random& random) {
    return Generator(random).run();
}

Freedom random_freedom(Random& random, const Checkpoint& checkpoint) {
    Freedom freedom;
    if (random.one_in(3)) {
        freedom.padding = "garbage";
    }
    freedom.legacy_paddings = checkpoint.format == Format::zero12 && random.one_in(10);
    if (random.one_in(8)) {
        freedom.storage_before = random.below(5);
        freedom.storage_after = random.below(40);
    }
    return freedom;
}

}  // namespace naive
