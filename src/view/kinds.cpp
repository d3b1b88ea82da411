// The table of all kinds of views.
#include <memory>
#include <string>
#include <vector>

#include "view/kind.h"
#include "view/lightning_kind.h"
#include "view/states_view.h"
#include "view/universal_kind.h"
#include "view/weights_view.h"
#include "view/world_size_kind.h"

namespace ckptfs::view {

const Kind& kind_of(ViewKind kind) {
    switch (kind) {
        case ViewKind::world_size:
            break;
        case ViewKind::weights:
            return weights_kind();
        case ViewKind::states:
            return states_kind();
        case ViewKind::universal:
            return universal_kind();
        case ViewKind::lightning:
            return lightning_kind();
    }
    return world_size_kind();
}

const std::vector<ViewKind>& view_kinds() {
    static const std::vector<ViewKind> kinds{ViewKind::world_size, ViewKind::weights, ViewKind::states,
                                             ViewKind::lightning, ViewKind::universal};
    return kinds;
}

}  // namespace ckptfs::view
