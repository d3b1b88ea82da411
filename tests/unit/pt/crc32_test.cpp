// CRC-32 against zlib's, whole and joined from parts.
#include "pt/crc32.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <string>

#include "support/fake_files.h"

namespace ckptfs::pt {
namespace {

std::uint32_t crc32_of_zlib(std::string_view bytes) {
    return static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

TEST(Crc32, IsZlibsWholeAndContinued) {
    const std::string bytes = test::random_bytes(100'003, 1);
    for (const std::size_t nbytes :
         {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{4096}, bytes.size()}) {
        const std::string_view part = std::string_view(bytes).substr(0, nbytes);
        EXPECT_EQ(crc32_of(part), crc32_of_zlib(part)) << nbytes;
        const auto rest = std::as_bytes(std::span(bytes)).subspan(nbytes);
        EXPECT_EQ(crc32_of(rest, crc32_of(part)), crc32_of_zlib(bytes)) << nbytes;
    }
    EXPECT_EQ(crc32_of(std::span<const std::byte>(), 17), 17U);
    EXPECT_NE(crc32_of("a"), crc32_of("b"));
}

TEST(Crc32, PartsJoin) {
    std::mt19937_64 random(2);
    const std::string bytes = test::random_bytes(50'000, 3);
    for (int round = 0; round < 200; ++round) {
        const std::size_t cut = random() % (bytes.size() + 1);
        const std::string_view first = std::string_view(bytes).substr(0, cut);
        const std::string_view second = std::string_view(bytes).substr(cut);
        EXPECT_EQ(crc32_combined(crc32_of(first), crc32_of(second), second.size()), crc32_of_zlib(bytes)) << cut;
    }
    EXPECT_EQ(crc32_combined(crc32_of("x"), 0, 0), crc32_of("x"));
    EXPECT_EQ(crc32_combined(0, crc32_of("x"), 1), crc32_of("x"));
}

TEST(Crc32, ZerosAreNotLookedAt) {
    for (const std::uint64_t nbytes : {0U, 1U, 7U, 8U, 4096U, 1'000'003U}) {
        EXPECT_EQ(crc32_of_zeros(nbytes), crc32_of_zlib(std::string(nbytes, '\0'))) << nbytes;
    }
    // Beyond what can be looked at: joined from halves.
    constexpr std::uint64_t huge = std::uint64_t{1} << 62U;
    EXPECT_EQ(crc32_of_zeros(2 * huge), crc32_combined(crc32_of_zeros(huge), crc32_of_zeros(huge), huge));
    EXPECT_EQ(crc32_combined(crc32_of("head"), crc32_of_zeros(huge), huge),
              static_cast<std::uint32_t>(
                  ::crc32_combine64(crc32_of("head"), crc32_of_zeros(huge), static_cast<z_off64_t>(huge))));
}

}  // namespace
}  // namespace ckptfs::pt
