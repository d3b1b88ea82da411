// Which elements a tensor is shown from, and the files that they are dealt to.
#include "view/weights_view.h"

#include <optional>
#include <utility>
#include <vector>

#include "model/conversion.h"
#include "view/shown_tensors.h"
#include "view/source_info.h"
#include "view/tensor_files_view.h"
#include "view/tensor_names.h"
#include "view/weight_shards.h"
#include "zero/join_ranks.h"

namespace ckptfs::view {
namespace {

using model::DType;
using Shown = TensorSelection::Shown;

/// nullopt: every tensor's own. A bin has what zero_to_fp32.py gives where the request says nothing.
std::optional<DType> requested_dtype(const ViewRequest& request) {
    switch (request.dtype) {
        case WeightsDType::source:
            break;
        case WeightsDType::fp32:
            return DType::float32;
        case WeightsDType::bf16:
            return DType::bfloat16;
        case WeightsDType::fp16:
            return DType::float16;
    }
    return request.container == WeightsContainer::bin ? std::optional(DType::float32) : std::nullopt;
}

/// The weight where it has that dtype already, but for fp32, which the masters are; else the master, rounded once.
Shown shown_parameter(const model::Parameter& parameter, std::optional<DType> requested) {
    const bool is_number = model::is_floating_point(parameter.dtype);
    const DType dtype = requested && is_number ? *requested : parameter.dtype;
    const bool wants_master = requested == DType::float32 && is_number;
    const bool has_weight = parameter.weight && parameter.weight->dtype() == dtype && !wants_master;
    return {has_weight || !parameter.master ? *parameter.weight : *parameter.master, dtype};
}

Shown shown_buffer(const model::Tensor& buffer, std::optional<DType> requested) {
    const DType own = buffer.elements.dtype();
    return {buffer.elements, requested && model::is_floating_point(own) ? *requested : own};
}

Result<void> check_data(const model::Rank& rank, const std::string& display) {
    const auto check = [&](const std::vector<model::Parameter>& parameters) -> Result<void> {
        for (const model::Parameter& parameter : parameters) {
            if (!parameter.weight && !parameter.master) {
                return Error(ErrorCode::incomplete, display + " has no data of the parameter '" + parameter.name +
                                                        "': its files name it and hold neither weight nor master");
            }
        }
        return {};
    };
    for (const model::Group& group : rank.groups) {
        CKPTFS_TRY(check(group.parameters));
    }
    return check(rank.frozen);
}

class WeightsKind final : public Kind {
 public:
    [[nodiscard]] Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                           const ViewRequest& request) const override {
        return weights_view(model_source(ingredients), ingredients.options, request, ingredients.cache);
    }
    [[nodiscard]] Result<std::shared_ptr<const View>> make_without_optimizer(
        const IngredientsLeft& ingredients, const ViewRequest& request) const override {
        const auto& weights = ingredients.weights;
        return weights_view(
            {weights->content, weights->families, weights, common_info(weights->families), ingredients.display},
            ingredients.options, request, ingredients.cache);
    }
    [[nodiscard]] Placement placement(const ViewRequest& /*request*/) const override {
        return {.in_tag = true, .in_holder = is_weight_file_name};
    }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& request,
                                                            const ViewOptions& /*options*/) const override {
        return {weight_file_name(request.container)};
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions(const Ingredients& ingredients) const override {
        if (!whole_model(model_source(ingredients))) {
            return {};
        }
        ViewRequest as_saved;
        as_saved.kind = ViewKind::weights;
        ViewRequest fp32 = as_saved;
        fp32.dtype = WeightsDType::fp32;
        return {as_saved, fp32};
    }
};

}  // namespace

ModelSource model_source(const Ingredients& ingredients) {
    const auto& checkpoint = ingredients.checkpoint;
    return {checkpoint->content, checkpoint->families, checkpoint, common_info(checkpoint->families),
            ingredients.display};
}

const Kind& weights_kind() {
    static const WeightsKind kind;
    return kind;
}

Result<model::Rank> whole_model(const ModelSource& source) {
    if (!source.content.gaps.empty()) {
        return Error(ErrorCode::unsupported,
                     source.display + " cannot be shown as a model: " + source.content.gaps.front());
    }
    if (source.content.ranks.size() == 1) {
        return source.content.ranks.front();
    }
    CKPTFS_ASSIGN(const model::Checkpoint joined, zero::join_model_parallel(source.content, source.families));
    return joined.ranks.front();
}

Result<std::shared_ptr<const View>> weights_view(const ModelSource& source, const ViewOptions& options,
                                                 const ViewRequest& request, std::shared_ptr<FileCache> cache) {
    CKPTFS_ASSIGN(const model::Rank rank, whole_model(source));
    CKPTFS_TRY(check_data(rank, source.display));
    const bool is_bin = request.container == WeightsContainer::bin;
    // zero_to_fp32.py leaves names as they are.
    CKPTFS_ASSIGN(const TensorNames names,
                  TensorNames::create(options, is_bin ? std::vector<std::string>() : TensorNames::wrapper_prefixes()));
    const auto requested = requested_dtype(request);
    TensorSelection selection;
    selection.parameter = [&](const model::Parameter& parameter, const model::Group* /*group*/) {
        return std::optional(shown_parameter(parameter, requested));
    };
    selection.buffer = [&](const model::Tensor& buffer) { return std::optional(shown_buffer(buffer, requested)); };
    selection.in_module_order = !is_bin;
    selection.trainable_only = options.trainable_only;
    CKPTFS_ASSIGN(std::vector<ShownTensor> tensors, shown_tensors(rank, names, selection, source.display));
    if (tensors.empty()) {
        return nothing_shown(source.display);
    }
    const std::uint64_t max_nbytes = options.max_shard_nbytes.value_or(default_max_shard_nbytes(request.container));
    CKPTFS_ASSIGN(std::vector<TensorFile> files, weight_files(std::move(tensors), request.container, max_nbytes));
    return std::shared_ptr<const View>(
        std::make_shared<TensorFilesView>(std::move(files), source.owner, source.info, std::move(cache)));
}

}  // namespace ckptfs::view
