// What a cache of built files keeps, and what it finds of what it dropped.
#include "view/file_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "ckptfs/extent.h"

namespace ckptfs::view {
namespace file_cache_test {

std::shared_ptr<const File> some_file() {
    PieceList pieces;
    pieces.add_literal("bytes");
    return *VirtualFile::create("a file", std::move(pieces), nullptr);
}

// The cache compares addresses of views and never looks into them.
const View* view_number(std::uintptr_t number) {
    static const std::array<char, 8> places{};
    return reinterpret_cast<const View*>(&places.at(number));
}

TEST(FileCache, KeepsWhatFitsAndDropsTheLeastRecentlyUsed) {
    FileCache cache;
    const auto view = view_number(0);
    for (std::size_t i = 0; i < 3; ++i) {
        static_cast<void>(cache.insert(view, i, some_file(), FileCache::budget_nbytes / 4));
    }
    EXPECT_NE(cache.find(view, 0), nullptr);
    static_cast<void>(cache.insert(view, 3, some_file(), FileCache::budget_nbytes / 2));
    EXPECT_EQ(cache.find(view, 1), nullptr);
    EXPECT_NE(cache.find(view, 0), nullptr);
    EXPECT_NE(cache.find(view, 3), nullptr);
}

TEST(FileCache, FindsADroppedFileAsLongAsSomebodyHasIt) {
    FileCache cache;
    const auto view = view_number(0);
    auto held = cache.insert(view, 0, some_file(), FileCache::budget_nbytes);
    static_cast<void>(cache.insert(view, 1, some_file(), FileCache::budget_nbytes));
    EXPECT_EQ(cache.find(view, 0), held);
    EXPECT_EQ(cache.insert(view, 0, some_file(), 1), held) << "built once for all who read it";
    held.reset();
    EXPECT_EQ(cache.find(view, 0), nullptr);
}

TEST(FileCache, GivesTheFileThatWasThereFirst) {
    FileCache cache;
    const auto first = cache.insert(view_number(0), 0, some_file(), 1);
    EXPECT_EQ(cache.insert(view_number(0), 0, some_file(), 1), first);
    EXPECT_NE(cache.insert(view_number(1), 0, some_file(), 1), first);
}

TEST(FileCache, ForgetsAViewWhole) {
    FileCache cache;
    const auto held = cache.insert(view_number(0), 0, some_file(), FileCache::budget_nbytes);
    const auto other = cache.insert(view_number(1), 0, some_file(), FileCache::budget_nbytes);
    cache.forget(view_number(0));
    EXPECT_EQ(cache.find(view_number(0), 0), nullptr);
    EXPECT_EQ(cache.find(view_number(1), 0), other);
}

}  // namespace file_cache_test
}  // namespace ckptfs::view
