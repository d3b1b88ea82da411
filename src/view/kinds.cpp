// The table of all kinds of views.
#include <memory>
#include <string>
#include <vector>

#include "view/kind.h"
#include "view/states_view.h"
#include "view/universal_kind.h"
#include "view/weights_view.h"
#include "view/world_size_kind.h"

namespace ckptfs::view {
namespace {

/// A kind that this version cannot show.
class UnbuiltKind final : public Kind {
 public:
    [[nodiscard]] Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                           const ViewRequest& request) const override {
        return Error(ErrorCode::unsupported, ingredients.display + " cannot be shown as '" + request.name() +
                                                 "': this view is not built; ask for world-size-N");
    }
    [[nodiscard]] Placement placement(const ViewRequest& /*request*/) const override { return {.in_tag = true}; }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& /*request*/,
                                                            const ViewOptions& /*options*/) const override {
        return {};
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions(const Ingredients& /*ingredients*/) const override { return {}; }
};

}  // namespace

const Kind& kind_of(ViewKind kind) {
    static const UnbuiltKind unbuilt;
    switch (kind) {
        case ViewKind::world_size:
            return world_size_kind();
        case ViewKind::weights:
            return weights_kind();
        case ViewKind::states:
            return states_kind();
        case ViewKind::universal:
            return universal_kind();
        case ViewKind::lightning:
            break;
    }
    return unbuilt;
}

const std::vector<ViewKind>& view_kinds() {
    static const std::vector<ViewKind> kinds{ViewKind::world_size, ViewKind::weights, ViewKind::states,
                                             ViewKind::lightning, ViewKind::universal};
    return kinds;
}

}  // namespace ckptfs::view
