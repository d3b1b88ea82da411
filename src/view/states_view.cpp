// Files in the order in which the groups name their states.
#include "view/states_view.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <utility>

#include "view/checked_names.h"
#include "view/shown_tensors.h"
#include "view/tensor_files_view.h"
#include "view/tensor_names.h"

namespace ckptfs::view {
namespace {

constexpr std::string_view master_name = "fp32";
constexpr std::string_view states_suffix = ".safetensors";

/// The shortest that reads back as the same number.
std::string number_text(double value) {
    std::array<char, 32> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
    return {text.data(), end.ptr};
}

std::string scalar_text(const model::Scalar& scalar) {
    return std::visit(
        [](const auto& value) -> std::string {
            using Value = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<Value, bool>) {
                return value ? "true" : "false";
            } else if constexpr (std::is_same_v<Value, double>) {
                return number_text(value);
            } else if constexpr (std::is_same_v<Value, std::string>) {
                return value;
            } else {
                return std::to_string(value);
            }
        },
        scalar);
}

/// The element-wise states of any group, the masters first.
std::vector<std::string> state_names(const model::Rank& rank) {
    std::vector<std::string> names;
    const auto add = [&](const std::string& name) {
        if (std::find(names.begin(), names.end(), name) == names.end()) {
            names.push_back(name);
        }
    };
    for (const model::Group& group : rank.groups) {
        if (std::any_of(group.parameters.begin(), group.parameters.end(),
                        [](const model::Parameter& parameter) { return parameter.master.has_value(); })) {
            add(std::string(master_name));
        }
    }
    for (const model::Group& group : rank.groups) {
        std::for_each(group.states.begin(), group.states.end(), add);
    }
    return names;
}

std::optional<TensorSelection::Shown> shown_state(const model::Parameter& parameter, const model::Group* group,
                                                  const std::string& state) {
    if (group == nullptr) {
        return std::nullopt;
    }
    if (state == master_name) {
        return parameter.master ? std::optional(TensorSelection::Shown{*parameter.master, parameter.master->dtype()})
                                : std::nullopt;
    }
    const auto found = std::find(group->states.begin(), group->states.end(), state);
    const auto index = static_cast<std::size_t>(found - group->states.begin());
    if (index >= parameter.states.size()) {
        return std::nullopt;
    }
    return TensorSelection::Shown{parameter.states[index], parameter.states[index].dtype()};
}

Result<safetensors::Metadata> metadata_of(const model::Rank& rank, const TensorNames& names) {
    safetensors::Metadata metadata{{"format", "pt"}};
    for (std::size_t index = 0; index < rank.groups.size(); ++index) {
        const model::Group& group = rank.groups[index];
        const std::string prefix = "param_groups[" + std::to_string(index) + "].";
        for (const auto& [name, value] : group.hyper_parameters) {
            metadata.emplace_back(prefix + name, scalar_text(value));
        }
        const bool has_step = std::any_of(group.hyper_parameters.begin(), group.hyper_parameters.end(),
                                          [](const auto& scalar) { return scalar.first == "step"; });
        if (group.step && !has_step) {  // some optimizers keep it among their hyper-parameters too
            metadata.emplace_back(prefix + "step", number_text(*group.step));
        }
        nlohmann::json parameters = nlohmann::json::array();
        for (const model::Parameter& parameter : group.parameters) {
            CKPTFS_ASSIGN(std::string name, names.shown(parameter.name));
            parameters.push_back(std::move(name));
        }
        // Names that are not UTF-8 are refused where the tensors are laid out.
        metadata.emplace_back(prefix + "params",
                              parameters.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
    return metadata;
}

class StatesKind final : public Kind {
 public:
    [[nodiscard]] Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                           const ViewRequest& /*request*/) const override {
        return states_view(model_source(ingredients), ingredients.options, ingredients.cache);
    }
    [[nodiscard]] Placement placement(const ViewRequest& /*request*/) const override { return {.in_tag = true}; }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& /*request*/,
                                                            const ViewOptions& /*options*/) const override {
        return {std::string(master_name) + std::string(states_suffix)};
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions(const Ingredients& ingredients) const override {
        const auto rank = whole_model(model_source(ingredients));
        if (!rank || state_names(*rank).empty()) {
            return {};
        }
        ViewRequest request;
        request.kind = ViewKind::states;
        return {request};
    }
};

}  // namespace

const Kind& states_kind() {
    static const StatesKind kind;
    return kind;
}

Result<std::shared_ptr<const View>> states_view(const ModelSource& source, const ViewOptions& options,
                                                std::shared_ptr<FileCache> cache) {
    CKPTFS_ASSIGN(const model::Rank rank, whole_model(source));
    CKPTFS_ASSIGN(const TensorNames names, TensorNames::create(options, TensorNames::wrapper_prefixes()));
    CKPTFS_ASSIGN(const safetensors::Metadata metadata, metadata_of(rank, names));
    for (const model::Group& group : rank.groups) {
        for (const std::string& state : group.states) {
            CKPTFS_TRY(check_state_name(source.display, state, states_suffix));
        }
    }
    const std::vector<std::string> states = state_names(rank);
    std::vector<TensorFile> files;
    for (const std::string& state : states) {
        TensorSelection selection;
        selection.parameter = [&](const model::Parameter& parameter, const model::Group* group) {
            return shown_state(parameter, group, state);
        };
        selection.buffer = [](const model::Tensor& /*buffer*/) { return std::nullopt; };
        TensorFile file;
        file.name = state + std::string(states_suffix);
        CKPTFS_ASSIGN(file.tensors, shown_tensors(rank, names, selection, source.display));
        if (file.tensors.empty()) {
            continue;  // other groups keep this state
        }
        for (ShownTensor& tensor : file.tensors) {
            tensor.tied.clear();
        }
        file.metadata = metadata;
        files.push_back(std::move(file));
    }
    if (files.empty() && !states.empty()) {
        return nothing_shown(source.display);
    }
    if (files.empty()) {
        return Error(ErrorCode::unsupported,
                     source.display + " has no optimizer states that are kept by parameter (ZeRO stages 1 to 3)");
    }
    return std::shared_ptr<const View>(
        std::make_shared<TensorFilesView>(std::move(files), source.owner, source.info, std::move(cache)));
}

}  // namespace ckptfs::view
