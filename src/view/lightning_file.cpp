// What goes into Lightning's file, and in which order (lightning/pytorch/utilities/deepspeed.py, and
// get_fp32_state_dict_from_zero_checkpoint of deepspeed/utils/zero_to_fp32.py).
#include "view/lightning_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "model/conversion.h"
#include "pt/archive_builder.h"

namespace ckptfs::view {
namespace {

using model::DType;
using pickle::Node;

/// DeepSpeed's own values, which Lightning leaves out.
constexpr std::array<std::string_view, 8> deepspeed_keys = {
    "module",        "optimizer",    "lr_scheduler",  "csr_tensor_module_names",
    "skipped_steps", "global_steps", "dp_world_size", "mp_world_size"};
constexpr std::string_view weights_key = "state_dict";
/// Of Lightning before 2.1, whose wrapper's name was part of every parameter's.
constexpr std::string_view wrapper_prefix = "_forward_module.";

struct FileOwner {
    std::shared_ptr<const zero::Written> checkpoint;
    model::Keepers keepers;
};

class LightningFile {
 public:
    explicit LightningFile(const std::shared_ptr<const zero::Written>& checkpoint)
        : family_(checkpoint->families.front()),
          rank_(checkpoint->content.ranks.front()),
          owner_(std::make_shared<FileOwner>(FileOwner{checkpoint, {}})) {}

    Result<std::shared_ptr<const VirtualFile>> build(const std::string& file_name) {
        CKPTFS_TRY(add_buffers());
        for (const model::Parameter& parameter : rank_.frozen) {
            CKPTFS_TRY(add_tensor(parameter.name, parameter.shape, *parameter.weight, parameter.weight->dtype()));
        }
        for (std::size_t group = 0; group < rank_.groups.size(); ++group) {
            CKPTFS_TRY(add_group(group));
        }
        add_tied_names();
        CKPTFS_ASSIGN(const Node* const root, root_dict());
        return builder_.lay_out(root, file_name, owner_);
    }

 private:
    [[nodiscard]] pickle::Editor& pickle() { return builder_.pickle(); }

    void add(const std::string& name, const Node* tensor) {
        if (!by_name_.emplace(name, tensor).second) {
            return;
        }
        const std::string_view full = name;
        const bool wrapped = full.starts_with(wrapper_prefix);
        weights_.push_back(pickle().literal(wrapped ? full.substr(wrapper_prefix.size()) : full));
        weights_.push_back(tensor);
    }

    Result<void> add_tensor(const std::string& name, const std::vector<std::uint64_t>& shape,
                            const model::Elements& elements, DType dtype) {
        PieceList content;
        CKPTFS_TRY(model::append_as(elements, dtype, name, content, owner_->keepers));
        const std::size_t storage = builder_.add_storage(dtype, elements.numel(), "cpu", std::move(content));
        add(name, builder_.tensor(storage, 0, shape));
        return {};
    }

    /// In the order of the module; floating-point ones in fp32.
    Result<void> add_buffers() {
        std::unordered_map<std::string_view, const model::Tensor*> buffers;
        for (const model::Tensor& buffer : rank_.buffers) {
            buffers.emplace(buffer.name, &buffer);
        }
        for (const std::string& name : rank_.order) {
            const auto found = buffers.find(name);
            if (found == buffers.end()) {
                continue;
            }
            const model::Tensor& buffer = *found->second;
            const DType own = buffer.elements.dtype();
            const bool widened = model::is_floating_point(own);
            CKPTFS_TRY(add_tensor(name, buffer.shape, buffer.elements, widened ? DType::float32 : own));
        }
        return {};
    }

    /// Under ZeRO-1/2 the group's flat vector is one storage that its parameters are views of, in their flat order;
    /// under ZeRO-3 each parameter has its own.
    Result<void> add_group(std::size_t index) {
        const std::vector<model::Parameter>& parameters = rank_.groups[index].parameters;
        if (is_stage3()) {
            for (const model::Parameter& parameter : parameters) {
                add_master(parameter, *parameter.master, 0);
            }
            return {};
        }
        const auto first_numel = [&parameters](std::size_t i) { return flat_map(parameters[i]).first_numel; };
        std::vector<std::size_t> order(parameters.size());
        std::uint64_t end = 0;
        for (std::size_t i = 0; i < order.size(); ++i) {
            order[i] = i;
            end = std::max(end, first_numel(i) + parameters[i].numel);
        }
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return first_numel(a) < first_numel(b); });
        if (order.empty()) {
            return {};
        }
        model::ElementMap whole = flat_map(parameters.front());
        whole.first_numel = 0;
        const std::size_t storage = add_storage(model::Elements(parameters.front().master->dtype(), end, whole));
        for (const std::size_t i : order) {
            add(parameters[i].name, builder_.tensor(storage, first_numel(i), parameters[i].shape, true));
        }
        return {};
    }

    // Where a master lies in the flat vector that ZeRO-1/2 cuts over the ranks.
    static const model::ElementMap& flat_map(const model::Parameter& parameter) {
        return std::get<model::ElementMap>(parameter.master->rule());
    }

    std::size_t add_storage(const model::Elements& elements) {
        PieceList content;
        elements.append(content);
        return builder_.add_storage(elements.dtype(), elements.numel(), "cpu", std::move(content));
    }

    void add_master(const model::Parameter& parameter, const model::Elements& elements, std::uint64_t offset_numel) {
        add(parameter.name, builder_.tensor(add_storage(elements), offset_numel, parameter.shape, true));
    }

    void add_tied_names() {
        for (const model::TiedName& tied : rank_.tied) {
            const auto owner = by_name_.find(tied.of);
            if (owner != by_name_.end()) {
                add(tied.name, owner->second);
            }
        }
    }

    Result<const Node*> root_dict() {
        const std::shared_ptr<const pt::Archive>& states = family_.model_states;
        const Node* const weights = pickle().dict(std::move(weights_));
        std::vector<const Node*> items;
        bool has_weights = false;
        for (const auto& [key, value] : pickle::dict_items(states->root())) {
            const std::string_view name = key->text;
            if (std::find(deepspeed_keys.begin(), deepspeed_keys.end(), name) != deepspeed_keys.end()) {
                continue;
            }
            items.push_back(key);
            if (name == weights_key) {
                items.push_back(weights);
                has_weights = true;
                continue;
            }
            CKPTFS_ASSIGN(const Node* const taken, builder_.take(states, value));
            items.push_back(taken);
        }
        if (!has_weights) {
            items.push_back(pickle().literal(weights_key));
            items.push_back(weights);
        }
        return pickle().dict(std::move(items));
    }

    [[nodiscard]] bool is_stage3() const { return !family_.model_states_of_ranks().empty(); }

    const zero::Family& family_;
    const model::Rank& rank_;
    std::shared_ptr<FileOwner> owner_;
    pt::ArchiveBuilder builder_;
    std::vector<const Node*> weights_;  // name, tensor, name, tensor …
    std::unordered_map<std::string, const Node*> by_name_;
};

}  // namespace

Result<void> check_lightning(const zero::Written& checkpoint) {
    const std::string& file = checkpoint.families.front().model_states->file()->name();
    if (checkpoint.format == zero::Format::stage0) {
        return Error(ErrorCode::unsupported,
                     file + ": a checkpoint of stage 0 keeps no fp32 masters for Lightning's file; show its weights");
    }
    if (checkpoint.families.size() > 1) {
        return Error(ErrorCode::unsupported, file + ": the checkpoint is of " +
                                                 std::to_string(checkpoint.families.size()) +
                                                 " model-parallel ranks, whose client states are no one file; show its "
                                                 "weights");
    }
    if (!checkpoint.content.gaps.empty()) {
        return Error(ErrorCode::unsupported, checkpoint.content.gaps.front());
    }
    for (const model::Group& group : checkpoint.content.ranks.front().groups) {
        for (const model::Parameter& parameter : group.parameters) {
            if (!parameter.master) {
                return Error(ErrorCode::incomplete, file + ": there is no master of " + parameter.name);
            }
        }
    }
    return {};
}

Result<std::shared_ptr<const VirtualFile>> lightning_file(const std::shared_ptr<const zero::Written>& checkpoint,
                                                          const std::string& file_name) {
    return LightningFile(checkpoint).build(file_name);
}

}  // namespace ckptfs::view
