// The names of formats.
#include "zero/checkpoint.h"

namespace ckptfs::zero {

std::string_view name(Format format) {
    switch (format) {
        case Format::stage0:
            return "no ZeRO partitioning";
        case Format::zero12:
            return "ZeRO-1/2";
        case Format::zero12_elastic:
            return "ZeRO-1/2, elastic";
        case Format::bf16_optimizer:
            return "BF16_Optimizer";
        case Format::zero3:
            return "ZeRO-3";
    }
    return "unknown";
}

}  // namespace ckptfs::zero
