// Asks for every kind of view.
#include "report/description.h"
#include "view/kind.h"

namespace ckptfs::report {

std::vector<ViewAnswer> describe_views(std::uint64_t world_size, const Show& show) {
    std::vector<ViewAnswer> answers;
    for (const ViewKind kind : view::view_kinds()) {
        ViewRequest request;
        request.kind = kind;
        request.world_size = kind == ViewKind::world_size ? world_size : 0;
        if (kind == ViewKind::world_size && world_size == 0) {
            continue;
        }
        const auto view = show(request);
        answers.push_back({request.name(), view ? std::nullopt : std::optional(view.error().message())});
    }
    return answers;
}

}  // namespace ckptfs::report
