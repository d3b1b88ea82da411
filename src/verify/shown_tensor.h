// A tensor as a file of a view holds it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/dtype.h"

namespace ckptfs::verify {

struct ShownTensor {
    std::string name;  ///< as the file names it
    model::DType dtype = model::DType::uint8;
    std::vector<std::uint64_t> shape;
    std::uint64_t offset = 0;  ///< bytes, in the file; row-major and without gaps from there on
};

}  // namespace ckptfs::verify
