// Which source rank a target rank's stage-3 files are made from.
#include "view/zero3_template.h"

#include <algorithm>

#include "model/dtype.h"
#include "zero/zero3_partition.h"

namespace ckptfs::view {

Result<Template> template_of(const zero::RankFile& file) {
    if (file.structure) {
        return Template{file.structure, file.places};
    }
    CKPTFS_ASSIGN(std::shared_ptr<const pt::Archive> archive, pt::Archive::open(file.file));
    std::vector<pt::RecordPlace> places;
    places.reserve(archive->storages().size());
    for (const pt::Archive::Storage& storage : archive->storages()) {
        places.push_back(storage.place);
    }
    return Template{std::move(archive), std::move(places)};
}

void append_share(const zero::State& state, std::size_t parameter, std::uint64_t numel, std::uint64_t dp_world_size,
                  std::uint64_t rank, PieceList& out) {
    const std::uint64_t itemsize = model::itemsize(state.dtype);
    const std::uint64_t share = zero::partition_numel(numel, dp_world_size);
    const std::uint64_t begin = std::min(numel, rank * share);
    const std::uint64_t end = std::min(numel, begin + share);
    state.parameters[parameter].append(begin, end - begin, itemsize, out);
    out.add_zeros((share - (end - begin)) * itemsize);
}

}  // namespace ckptfs::view
