// Asks for every kind of view.
#include "report/description.h"
#include "view/kind.h"

namespace ckptfs::report {

std::vector<ViewAnswer> describe_views(const std::string& directory, std::uint64_t world_size, const Show& show) {
    const std::string name = directory.substr(directory.rfind('/') + 1);
    std::vector<ViewAnswer> answers;
    for (const ViewKind kind : view::view_kinds()) {
        ViewRequest request;
        request.kind = kind;
        request.world_size = kind == ViewKind::world_size ? world_size : 0;
        if (kind == ViewKind::world_size && world_size == 0) {
            continue;
        }
        const auto view = show(request);
        const Placement placement = view::kind_of(kind).placement(request);
        const bool has_place = placement.in_place_of_holder_of.empty() || placement.in_place_of_holder_of == name;
        answers.push_back({request.name(), view ? std::nullopt : std::optional(view.error().message()), has_place});
    }
    return answers;
}

}  // namespace ckptfs::report
