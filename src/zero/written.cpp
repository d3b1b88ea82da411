// The names of formats; all states of a group; all files of a family.
#include "zero/written.h"

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

std::vector<State> states_of(const model::Group& group, const GroupForm& form) {
    std::vector<State> states;
    for (std::size_t index = 0; index < form.states.size(); ++index) {
        states.emplace_back(group, form, index);
    }
    return states;
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
