// Patterns are applied by the code of the views: what a pattern means is not verified here, only that tensors follow.
#include "verify/naming.h"

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "view/tensor_names.h"

namespace ckptfs::verify {
namespace {

// zero_to_fp32.py, which a .bin is held against, leaves names as they are; Lightning takes off its own prefix.
std::vector<std::string> default_prefixes(const ViewRequest& request) {
    if (request.kind == ViewKind::lightning) {
        return {"_forward_module."};
    }
    if (request.kind == ViewKind::weights && request.container == WeightsContainer::bin) {
        return {};
    }
    return view::TensorNames::wrapper_prefixes();
}

std::set<std::string> trainable_names(const model::Checkpoint& checkpoint) {
    std::set<std::string> names;
    for (const model::Rank& rank : checkpoint.ranks) {
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                if (parameter.trainable.value_or(false)) {
                    names.insert(parameter.name);
                }
            }
        }
        for (const model::TiedName& tied : rank.tied) {
            if (names.contains(tied.of)) {
                names.insert(tied.name);
            }
        }
    }
    return names;
}

}  // namespace

Result<Naming> naming_of(const view::ViewOptions& options, const ViewRequest& request,
                         const model::Checkpoint& checkpoint) {
    if (request.kind == ViewKind::universal) {
        return Naming([](const std::string& name) { return std::optional(name); });
    }
    CKPTFS_ASSIGN(auto names, view::TensorNames::create(options, default_prefixes(request)));
    auto trainable = options.trainable_only ? std::optional(trainable_names(checkpoint)) : std::nullopt;
    return Naming([names = std::make_shared<const view::TensorNames>(std::move(names)),
                   trainable = std::move(trainable)](const std::string& name) -> std::optional<std::string> {
        const auto is_selected = names->is_selected(name);
        if (!is_selected || !*is_selected || (trainable && !trainable->contains(name))) {
            return std::nullopt;
        }
        const auto shown = names->shown(name);
        return shown ? std::optional(*shown) : std::nullopt;
    });
}

}  // namespace ckptfs::verify
