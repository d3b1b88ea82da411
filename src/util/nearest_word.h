// What somebody meant who mistyped a word.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace ckptfs {

/// How many bytes must be put in, left out, replaced, or exchanged with their neighbour.
[[nodiscard]] std::size_t edit_distance(std::string_view from, std::string_view to);

/// The first of the nearest `candidates`; nullopt where none is near: more than a third of the word differs.
[[nodiscard]] std::optional<std::string_view> nearest_word(std::string_view word,
                                                           const std::vector<std::string_view>& candidates);

}  // namespace ckptfs
