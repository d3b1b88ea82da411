// The directories `world-size-<N>` of a mount without a world size of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ckptfs {

[[nodiscard]] std::string world_size_name(std::uint64_t world_size);
/// Canonical decimals from 1 to max_world_size only, so that every world size has one name.
[[nodiscard]] std::optional<std::uint64_t> parse_world_size_name(std::string_view name);

}  // namespace ckptfs
