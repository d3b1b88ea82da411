// Numbers for identities, colliding ones included.
#include "fs/inode_table.h"

#include <gtest/gtest.h>

#include <set>

#include "fs/file_system.h"
#include "support/effort.h"

namespace ckptfs {
namespace {

class NoNode final : public Node {
 public:
    Outcome<FileAttributes> attributes(std::uint64_t /*inode*/) override { return Errno{ENOENT}; }
};

std::shared_ptr<Node> some_node() {
    return std::make_shared<NoNode>();
}

TEST(InodeTable, OneIdentityHasOneNumber) {
    InodeTable table;
    EXPECT_EQ(table.remember({100, 1}, some_node()), 100U);
    EXPECT_EQ(table.remember({100, 1}, some_node()), 100U);
    EXPECT_EQ(table.size(), 1U);
    table.forget(100, 2);
    EXPECT_EQ(table.size(), 0U);
}

TEST(InodeTable, CollidingIdentitiesHaveDifferentNumbers) {
    InodeTable table;
    EXPECT_EQ(table.remember({100, 1}, some_node()), 100U);
    const auto second = table.remember({100, 2}, some_node());
    const auto third = table.remember({100, 3}, some_node());
    EXPECT_EQ(std::set({std::uint64_t{100}, second, third}).size(), 3U);
    EXPECT_EQ(table.remember({100, 2}, some_node()), second);
    table.forget(100, 1);
    EXPECT_TRUE(table.find(second));
    EXPECT_FALSE(table.find(100));
}

TEST(InodeTable, KeepsCollidingIdentitiesApartWhenOneIsForgotten) {
    InodeTable table;
    EXPECT_EQ(table.remember({100, 1}, some_node()), 100U);
    const auto node = some_node();
    const auto second = table.remember({100, 2}, node);
    table.forget(100, 1);
    EXPECT_EQ(table.find(Identity{100, 2}), node);
    EXPECT_EQ(table.remember({100, 2}, some_node()), second);
}

TEST(InodeTable, GivesARetiredIdentityANumberOfItsOwn) {
    InodeTable table;
    const auto old = some_node();
    EXPECT_EQ(table.remember({100, 1}, old), 100U);
    table.retire({100, 1}, *old);
    EXPECT_FALSE(table.find(Identity{100, 1}));
    EXPECT_EQ(table.find(100), old);
    const auto next = some_node();
    const auto number = table.remember({100, 1}, next);
    EXPECT_NE(number, 100U);
    EXPECT_EQ(table.find(number), next);
    EXPECT_EQ(table.find(Identity{100, 1}), next);
    table.retire({100, 1}, *old);  // which is not what has it now
    EXPECT_EQ(table.remember({100, 1}, some_node()), number);
    table.forget(100, 1);
    EXPECT_FALSE(table.find(100));
    EXPECT_EQ(table.remember({100, 1}, some_node()), number);
    table.forget(number, 3);
    EXPECT_EQ(table.size(), 0U);
    EXPECT_EQ(table.remember({100, 1}, some_node()), 100U);
}

TEST(InodeTable, RetiresWhatWasKnownBeforeAFileWasMadeAndNotWhoeverFoundItFirst) {
    InodeTable table;
    const auto former = some_node();
    EXPECT_EQ(table.remember({100, 1}, former), 100U);
    const auto before = table.numbers_given();
    EXPECT_EQ(table.retire_former({100, 1}, before), former);
    const auto found = some_node();
    const auto number = table.remember({100, 1}, found);
    EXPECT_GT(table.numbers_given(), before);
    EXPECT_FALSE(table.retire_former({100, 1}, before));
    EXPECT_EQ(table.find(Identity{100, 1}), found);
    EXPECT_EQ(table.remember({100, 1}, some_node()), number);
    EXPECT_FALSE(table.retire_former({300, 1}, table.numbers_given()));
}

TEST(InodeTable, LetsGoOfAllAtOnce) {
    InodeTable table;
    const auto node = some_node();
    const std::weak_ptr<Node> gone = table.remember({100, 1}, some_node()) == 100U ? table.find(100) : nullptr;
    EXPECT_EQ(table.remember({200, 1}, node), 200U);
    table.retire({200, 1}, *node);
    table.clear();
    EXPECT_TRUE(gone.expired());
    EXPECT_EQ(node.use_count(), 1);
    EXPECT_EQ(table.size(), 0U);
    EXPECT_FALSE(table.find(Identity{100, 1}));
    EXPECT_EQ(table.remember({100, 1}, some_node()), 100U);
}

TEST(InodeTable, ReservedNumbersAreNotGivenOut) {
    InodeTable table;
    for (const std::uint64_t inode : {std::uint64_t{0}, root_inode, unknown_inode}) {
        const auto given = table.remember({inode, inode}, some_node());
        EXPECT_GT(given, root_inode);
        EXPECT_NE(given, unknown_inode);
    }
    const auto last = table.remember({~std::uint64_t{0}, 1}, some_node());
    const auto wrapped = table.remember({~std::uint64_t{0}, 2}, some_node());
    EXPECT_EQ(last, ~std::uint64_t{0});
    EXPECT_GT(wrapped, root_inode);
}

TEST(Identity, DependsOnEveryPartAndItsPlace) {
    std::set<std::uint64_t> seen;
    FileStamp stamp{1, 2, 3, 4, 5};
    seen.insert(IdentityHasher().identity().inode);
    seen.insert(IdentityHasher().add("").identity().inode);
    seen.insert(IdentityHasher().add("ab").add("c").identity().inode);
    seen.insert(IdentityHasher().add("a").add("bc").identity().inode);
    seen.insert(IdentityHasher().add("abc").identity().inode);
    seen.insert(IdentityHasher().add(stamp).identity().inode);
    stamp.ctime_ns = 6;
    seen.insert(IdentityHasher().add(stamp).identity().inode);
    EXPECT_EQ(seen.size(), 7U);
}

TEST(Identity, AMillionNamesDoNotCollide) {
    constexpr std::size_t count = test::unless_looking_for_races(1'000'000, 10'000);
    std::set<std::uint64_t> inodes;
    const auto start = IdentityHasher().add("tag");
    for (std::size_t i = 0; i < count; ++i) {
        inodes.insert(IdentityHasher(start).add("rank_" + std::to_string(i)).identity().inode);
    }
    EXPECT_EQ(inodes.size(), count);
}

}  // namespace
}  // namespace ckptfs
