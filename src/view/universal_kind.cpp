// DeepSpeed's universal checkpoint as a kind of view.
#include "view/universal_kind.h"

#include <memory>
#include <string>
#include <vector>

#include "view/universal_content.h"
#include "view/universal_view.h"

namespace ckptfs::view {
namespace {

class UniversalKind final : public Kind {
 public:
    [[nodiscard]] Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                           const ViewRequest& /*request*/) const override {
        return UniversalView::create(ingredients.checkpoint, ingredients.cache);
    }
    [[nodiscard]] Placement placement(const ViewRequest& /*request*/) const override {
        return {.beside_suffix = "_universal", .pointer = "latest"};
    }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& /*request*/,
                                                            const ViewOptions& /*options*/) const override {
        return {"zero/optimizer_state.pt"};
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions(const Ingredients& ingredients) const override {
        // A tag that is SOURCE itself has no place beside it.
        if (ingredients.tag.empty() || !universal_content(*ingredients.checkpoint).ok()) {
            return {};
        }
        ViewRequest request;
        request.kind = ViewKind::universal;
        return {request};
    }
};

}  // namespace

const Kind& universal_kind() {
    static const UniversalKind kind;
    return kind;
}

}  // namespace ckptfs::view
