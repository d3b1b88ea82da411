// Names of world sizes, both ways.
#include "fs/world_size_name.h"

#include <charconv>

#include "fs/file_system.h"

namespace ckptfs {
namespace {

constexpr std::string_view prefix = "world-size-";

}  // namespace

std::string world_size_name(std::uint64_t world_size) {
    return std::string(prefix) + std::to_string(world_size);
}

std::optional<std::uint64_t> parse_world_size_name(std::string_view name) {
    if (!name.starts_with(prefix)) {
        return std::nullopt;
    }
    std::uint64_t world_size = 0;
    const auto parsed = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), world_size);
    if (parsed.ec != std::errc{} || world_size < 1 || world_size > max_world_size ||
        world_size_name(world_size) != name) {
        return std::nullopt;
    }
    return world_size;
}

}  // namespace ckptfs
