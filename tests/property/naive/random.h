// Random numbers that are the same on every platform for the same seed.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace naive {

class Random {
 public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    /// 0 … limit - 1.
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
    std::uint64_t between(std::uint64_t first, std::uint64_t last) { return first + below(last - first + 1); }
    bool one_in(std::uint64_t count) { return below(count) == 0; }

    std::string bytes(std::size_t count) {
        std::string result(count, '\0');
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (i % 8 == 0) {
                word = engine_();
            }
            result[i] = static_cast<char>(word >> (8 * (i % 8)) & 0xFF);
        }
        return result;
    }

 private:
    std::mt19937_64 engine_;
};

}  // namespace naive
