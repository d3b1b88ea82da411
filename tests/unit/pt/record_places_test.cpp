// Places of many files in as few tables as they need.
#include "pt/record_places.h"

#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "support/fake_files.h"

namespace ckptfs::pt {
namespace {

using test::MemoryFile;

std::vector<RecordPlace> places_in(const File& file, std::uint64_t start, std::uint32_t first_checksum) {
    return {{&file, start, 40, first_checksum}, {&file, start + 64, 8, 7}, {&file, start + 128, 0, 0}};
}

void expect_equal(const RecordPlaces& places, const std::vector<RecordPlace>& expected) {
    ASSERT_EQ(places.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(places[i].file, expected[i].file);
        EXPECT_EQ(places[i].offset, expected[i].offset);
        EXPECT_EQ(places[i].nbytes, expected[i].nbytes);
        EXPECT_EQ(places[i].crc32, expected[i].crc32);
    }
}

TEST(RecordPlaces, AreWhatTheyWereMadeOf) {
    const MemoryFile file("");
    const auto places = places_in(file, 1000, 5);
    expect_equal(RecordPlaces(places), places);
    EXPECT_TRUE(RecordPlaces().empty());
    EXPECT_TRUE(RecordPlaces(std::vector<RecordPlace>()).empty());
}

TEST(RecordPlaces, ShareWhatIsAlikeAndStayWhatTheyAre) {
    const MemoryFile first("");
    const MemoryFile second("");
    const RecordPlaces known(places_in(first, 1000, 5));
    RecordPlaces alike(places_in(second, 1000, 5));
    EXPECT_TRUE(alike.share(known));
    expect_equal(alike, places_in(second, 1000, 5));
    RecordPlaces of_other_bytes(places_in(second, 1000, 6));
    EXPECT_TRUE(of_other_bytes.share(known));
    expect_equal(of_other_bytes, places_in(second, 1000, 6));
    RecordPlaces moved(places_in(second, 1064, 5));
    EXPECT_FALSE(moved.share(known));
    expect_equal(moved, places_in(second, 1064, 5));
    RecordPlaces none;
    EXPECT_FALSE(none.share(known));
    EXPECT_FALSE(moved.share(none));
    expect_equal(moved, places_in(second, 1064, 5));
}

TEST(PlaceTables, LeaveEveryFileItsOwnPlaces) {
    PlaceTables tables;
    std::deque<MemoryFile> files;
    for (int i = 0; i < 40; ++i) {
        files.emplace_back("");
    }
    for (std::size_t i = 0; i < files.size(); ++i) {
        const auto expected = places_in(files[i], 64 * (i % 20), static_cast<std::uint32_t>(i % 3));
        RecordPlaces places(expected);
        tables.share(places);
        expect_equal(places, expected);
    }
}

}  // namespace
}  // namespace ckptfs::pt
