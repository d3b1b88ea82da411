// Numbers spread over all of 64 bits.
#pragma once

#include <cstdint>

namespace ckptfs {

/// The same number for the same value, and another for every other one: the output of splitmix64 (Steele, Lea and
/// Flood, 2014) for this state.
[[nodiscard]] constexpr std::uint64_t splitmix64(std::uint64_t value) {
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31U);
}

}  // namespace ckptfs
