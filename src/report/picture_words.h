// What a picture's headings say, in a page and in an SVG alike.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/description.h"
#include "report/picture.h"

namespace ckptfs::report {

/// Of ranks, from one end to the other; white text can be read on all of them.
inline constexpr std::array<std::string_view, 8> rank_colours{"#4b5bd4", "#1a73c0", "#0b7f74", "#3f7f2b",
                                                              "#98600a", "#c2452d", "#b93a7c", "#7e49c0"};

/// The colour of a rank of the source: few ranks get colours far apart, many a way through all of them.
[[nodiscard]] std::string rank_colour(std::uint64_t rank, std::uint64_t ranks);

/// "global_step3, saved by 4 ranks, as 3 ranks read it".
[[nodiscard]] std::string heading(const Description& description, const Picture& picture);
/// "Group 1"; with model parallelism "Group 1 of mp_rank_00".
[[nodiscard]] std::string title(const DrawnGroup& group, const Picture& picture);
/// "7 parameters, 9,275 elements; lr 0.004771, weight_decay 0.1".
[[nodiscard]] std::string about(const DrawnGroup& group, const GroupDescription& description);

/// Labels and values.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> facts(const CheckpointDescription& checkpoint);

}  // namespace ckptfs::report
