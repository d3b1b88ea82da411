// Takes the tree that is kept, or parses the file.
#include "view/rank_template.h"

#include <utility>

namespace ckptfs::view {

Result<Template> template_of(const zero::RankFile& file) {
    if (file.structure) {
        return Template{file.structure, file.places};
    }
    CKPTFS_ASSIGN(std::shared_ptr<const pt::Archive> archive, pt::Archive::open(file.file));
    pt::RecordPlaces places = archive->own_places();
    return Template{std::move(archive), std::move(places)};
}

}  // namespace ckptfs::view
