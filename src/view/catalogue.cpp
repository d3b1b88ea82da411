// The directories and files that DeepSpeed's engine and its callers look for.
#include "view/catalogue.h"

#include <cstdint>

#include "zero/file_names.h"
#include "zero/latest.h"

namespace ckptfs::view {
namespace {

/// What the error of whoever follows `latest` shows.
constexpr const char* advice = "choose world-size-N in this directory";
/// Under which accelerate saves an engine, without reading `latest`.
constexpr const char* accelerate_tag = "pytorch_model";
constexpr const char* nowhere = "there is no checkpoint here: choose world-size-N in the directory of latest";
/// Each rank of stage 3 opens a file of its own; the first ones end the job.
constexpr std::uint64_t guarded_ranks = 8;

}  // namespace

std::vector<StaticEntry> catalogue_guard() {
    std::vector<StaticEntry> entries{{.path = zero::latest_name, .text = advice},
                                     {.path = zero::latest_name + std::string("_universal"), .text = advice}};
    for (const std::string directory : {advice, accelerate_tag}) {
        entries.push_back({.path = directory + "/mp_rank_00_model_states.pt", .is_link = true, .text = nowhere});
        for (std::uint64_t rank = 0; rank < guarded_ranks; ++rank) {
            entries.push_back({.path = directory + "/" + zero::model_states_shard_name(rank, "00"),
                               .is_link = true,
                               .text = nowhere});
        }
    }
    return entries;
}

}  // namespace ckptfs::view
