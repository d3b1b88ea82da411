// As PyTorch writes them.
#include "util/shape.h"

#include "util/text.h"

namespace ckptfs {

std::string shape_text(const std::vector<std::uint64_t>& shape) {
    std::vector<std::string> extents;
    extents.reserve(shape.size());
    for (const std::uint64_t extent : shape) {
        extents.push_back(std::to_string(extent));
    }
    return "[" + joined(extents, ", ") + "]";
}

}  // namespace ckptfs
