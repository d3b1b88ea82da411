// What a tree is counted for against what malloc says that it takes, for each way to ask for much with few bytes.
#include <malloc.h>

#include <cstdint>
#include <utility>

#include "unit/pt/pickle_test_data.h"

namespace ckptfs::pickle::test {
namespace pickle_memory {
namespace {

std::string repeated(const std::string& text, std::size_t count) {
    std::string result;
    result.reserve(text.size() * count);
    for (std::size_t i = 0; i < count; ++i) {
        result += text;
    }
    return result;
}

struct Case {
    std::string name;
    std::string pickle;
};

std::vector<Case> cases() {
    constexpr std::size_t count = 200'000;
    const std::string protocol = raw("\x80\x02");
    const std::string key = raw("X\x14\x00\x00\x00") + std::string(20, 'k');
    return {{"nones", protocol + "](" + repeated("N", count) + "e."},
            {"empty_tuples", protocol + "](" + repeated(")", count) + "e."},
            {"singles", protocol + "](" + repeated("N\x85", count) + "e."},
            {"appended_one_by_one", protocol + "]" + repeated("Na", count) + "."},
            {"lists_of_one", protocol + "](" + repeated("]Na", count) + "e."},
            {"pairs", protocol + "}(" + repeated(raw("K\x01") + "N", count) + "u."},
            {"texts", protocol + "](" + repeated(key, count) + "e."},
            {"calls", protocol + "](" + repeated("cm\nn\n)R", count) + "e."},
            {"states", protocol + "](" + repeated("cm\nn\n)RNb", count) + "e."},
            {"filled_objects", protocol + "](" + repeated("cm\nn\n)RNNs", count) + "e."}};
}

std::uint64_t allocated() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

class PickleMemory : public testing::TestWithParam<Case> {};

TEST_P(PickleMemory, IsCountedInFull) {
    MemoryBudget budget([] { return UINT64_MAX; });
    const std::uint64_t before = allocated();
    auto tree = Tree::parse(GetParam().pickle, budget);
    ASSERT_TRUE(tree.ok()) << tree.error().message();
    const std::uint64_t taken = allocated() - before;
    EXPECT_GE(budget.held(), taken);
    if (taken != 0) {  // a sanitizer's malloc does not tell
        EXPECT_LT(budget.held(), 2 * taken);
    }
    tree = Error(ErrorCode::internal, "dropped");
    EXPECT_EQ(budget.held(), 0U);
}

TEST_P(PickleMemory, IsRefusedBeyondTheBudget) {
    constexpr std::uint64_t limit = std::uint64_t{4} << 20U;
    MemoryBudget budget([] { return limit; });
    const auto tree = Tree::parse(GetParam().pickle, budget);
    ASSERT_FALSE(tree.ok());
    EXPECT_EQ(tree.error().code(), ErrorCode::io);
    EXPECT_EQ(tree.error().system_errno(), ENOMEM);
    EXPECT_NE(tree.error().message().find("4194304"), std::string::npos) << tree.error().message();
    EXPECT_EQ(budget.held(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Ways, PickleMemory, testing::ValuesIn(cases()),
                         [](const auto& way) { return way.param.name; });

// Nothing of the input is large but the number of the slot.
TEST(PickleMemo, IsCountedBeforeItIsTaken) {
    MemoryBudget budget([] { return std::uint64_t{1} << 20U; });
    const std::string padding = raw("X\x00\x00\x10\x00") + std::string(0x100000, 'x');
    const auto tree = Tree::parse(raw("\x80\x02") + "Nr" + raw("\x00\x00\x0f\x00") + "0" + padding + ".", budget);
    ASSERT_FALSE(tree.ok());
    EXPECT_EQ(tree.error().system_errno(), ENOMEM);
}

}  // namespace
}  // namespace pickle_memory
}  // namespace ckptfs::pickle::test
