// The names of formats; all files of a family.
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

const std::vector<RankFile>& Family::model_states_of_ranks() const {
    static const std::vector<RankFile> none;
    return zero3 ? zero3->model_states : none;
}

std::vector<const RankFile*> Family::rank_files() const {
    std::vector<const RankFile*> all;
    for (const auto* files : {&model_states_of_ranks(), &optimizer, &layers.files}) {
        for (const RankFile& file : *files) {
            all.push_back(&file);
        }
    }
    return all;
}

}  // namespace ckptfs::zero
