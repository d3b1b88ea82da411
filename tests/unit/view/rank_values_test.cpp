// Numbers that an optimizer keeps for a rank alone, as Prodigy does: no other world size has right ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/edited_tag.h"
#include "view/world_size_kind.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace {

using test::at_path;
using test::EditedTag;
using test::KeyPath;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

struct Case {
    std::string fixture;
    std::uint64_t world_size = 0;
    KeyPath place;  ///< of the dict that holds the number
    std::string field;
    bool in_tensor = false;
};

void PrintTo(const Case& drawn, std::ostream* out) {
    *out << drawn.fixture;
}

const std::string outer = "optimizer_state_dict";
const std::string base = "base_optimizer_state";

class RankValues : public testing::TestWithParam<Case> {
 protected:
    RankValues() : tag_(GetParam().fixture) {
        float number = 0;
        for (const std::string& name : tag_.names("optim_states")) {
            number += 0.25F;
            if (GetParam().in_tensor) {
                KeyPath like = GetParam().place;
                like.emplace_back("exp_avg");
                tag_.add_number(name, GetParam().place, "d", number, like);
            } else {
                tag_.add_real(name, GetParam().place, "d", number);
            }
        }
        source_ = tag_.source();
    }

    std::shared_ptr<const zero::Written> read(const zero::ReadOptions& options = {}) {
        auto checkpoint = zero::read_checkpoint(*source_, "tag", options);
        EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
        return checkpoint.value();
    }

    /// What every optimizer file of the view says.
    static std::vector<double> numbers_in(const View& view) {
        std::vector<double> numbers;
        for (std::size_t i = 0; i < view.file_count(); ++i) {
            if (view.file_name(i).find("optim_states") == std::string::npos) {
                continue;
            }
            const auto archive = pt::Archive::open(view.open(i).value()).value();
            KeyPath path = GetParam().place;
            path.emplace_back("d");
            const pickle::Node* node = at_path(archive->root(), path);
            EXPECT_NE(node, nullptr) << view.file_name(i);
            if (!GetParam().in_tensor) {
                numbers.push_back(node->real);
                continue;
            }
            const auto tensor = pt::tensor_ref(node).value();
            const pt::RecordPlace place = archive->storages()[*archive->storage_index(tensor.storage.key)].place;
            float number = 0;
            EXPECT_TRUE(place.file->read(place.offset, std::as_writable_bytes(std::span(&number, 1))).ok());
            numbers.push_back(number);
        }
        return numbers;
    }

    EditedTag tag_;
    std::shared_ptr<const test::MemorySource> source_;
};

INSTANTIATE_TEST_SUITE_P(
    Stages, RankValues,
    testing::Values(Case{"stage2_fp16_ws3", 3, {outer, base, "param_groups", 0}, "param_groups[0].d"},
                    Case{"stage1_fp16_ws2", 2, {outer, base, "state", 0}, "state[0].d", true},
                    Case{"bf16_optimizer_ws3", 3, {outer, base, "param_groups", 0}, "param_groups[0].d"},
                    Case{"elastic_ws3", 3, {outer, base, 1}, "state[1].d", true},
                    Case{"stage3_fp32_ws4", 4, {outer, outer, "param_groups", 0}, "param_groups[0].d"},
                    Case{"stage3_fp16_ws2", 2, {outer, outer, "state", 0}, "state[0].d", true},
                    Case{"sgd_ws2", 2, {outer, base}, base + ".d"},
                    Case{"stage3_momentum_ws2", 2, {outer, outer}, outer + "." + outer + ".d"}),
    [](const auto& param_info) { return param_info.param.fixture; });

TEST_P(RankValues, AreRefusedByNameWhereTheyAreReCut) {
    const auto checkpoint = read();
    ASSERT_THAT(checkpoint->warnings, SizeIs(1));
    EXPECT_THAT(checkpoint->warnings.front(), AllOf(HasSubstr(GetParam().field), HasSubstr("--rank-values-of=R")));
    for (const std::uint64_t other : {GetParam().world_size - 1, GetParam().world_size + 1}) {
        const auto view = world_size_view(checkpoint, other, {});
        ASSERT_FALSE(view.ok());
        EXPECT_EQ(view.error().code(), ErrorCode::unsupported);
        EXPECT_THAT(view.error().message(), AllOf(HasSubstr(GetParam().field + " is 0.25, and 0.5 in memory:tag/"),
                                                  HasSubstr("--rank-values-of=R")));
    }
}

TEST_P(RankValues, PassThroughAtTheirOwnWorldSize) {
    const auto view = world_size_view(read(), GetParam().world_size, {});
    ASSERT_TRUE(view.ok()) << view.error().message();
    std::vector<double> expected;
    for (std::uint64_t rank = 0; rank < GetParam().world_size; ++rank) {
        expected.push_back(0.25 * static_cast<double>(rank + 1));
    }
    EXPECT_EQ(numbers_in(**view), expected);
}

TEST_P(RankValues, OfOneRankAreGivenToAllOnRequest) {
    ViewOptions options;
    options.read.rank_values_of = 1;
    const auto checkpoint = read(options.read);
    ASSERT_THAT(checkpoint->warnings, SizeIs(1));
    EXPECT_THAT(checkpoint->warnings.front(),
                AllOf(HasSubstr(GetParam().field), HasSubstr("every rank is given those of rank 1")));
    const auto view = world_size_view(checkpoint, 5, options);
    ASSERT_TRUE(view.ok()) << view.error().message();
    EXPECT_THAT(numbers_in(**view), ElementsAre(0.5, 0.5, 0.5, 0.5, 0.5));
    for (std::size_t i = 0; i < (*view)->file_count(); ++i) {
        EXPECT_EQ((*view)->file_size(i).value(), (*view)->open(i).value()->size()) << (*view)->file_name(i);
    }
}

TEST(RankValuesInARow, AreRefusedAsOneIs) {
    EditedTag tag("stage2_fp16_ws3");
    float first = 0;
    for (const std::string& name : tag.names("optim_states")) {
        first += 0.25F;
        tag.add_numbers(name, {outer, base, "param_groups", 0}, "estimates", {first, 2, 3},
                        {outer, base, "state", 0, "exp_avg"});
    }
    const auto source = tag.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    const auto view = world_size_view(*checkpoint, 2, {});
    ASSERT_FALSE(view.ok());
    EXPECT_THAT(view.error().message(), HasSubstr("param_groups[0].estimates is [0.25, 2, 3], and [0.5, 2, 3] in"));
}

// Equal on all ranks, they are nobody's own.
TEST(RankValuesThatAreEqual, AreAnyOtherValue) {
    EditedTag tag("stage2_fp16_ws3");
    for (const std::string& name : tag.names("optim_states")) {
        tag.add_real(name, {outer, base, "param_groups", 0}, "d", 0.5);
    }
    const auto source = tag.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_THAT((*checkpoint)->warnings, SizeIs(0));
    EXPECT_TRUE(world_size_view(*checkpoint, 2, {}).ok());
}

// All sub-groups of a group take over what its first one has.
TEST(RankValuesOfSubGroups, AreRefusedAsThoseOfRanksAre) {
    EditedTag tag("stage3_sub_groups_ws3");
    for (const std::string& name : tag.names("optim_states")) {
        for (const std::int64_t sub_group : {0, 1, 2, 3}) {
            const KeyPath state{outer, outer, "state", sub_group};
            KeyPath like = state;
            like.emplace_back("exp_avg");
            tag.add_number(name, state, "d", 0.5F + static_cast<float>(sub_group), like);
        }
    }
    const auto source = tag.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    const auto view = world_size_view(*checkpoint, 2, {});
    ASSERT_FALSE(view.ok());
    EXPECT_THAT(view.error().message(), AllOf(HasSubstr("state[0].d is 0.5, and 1.5 in"), HasSubstr("(state[1].d)")));
}

/// Whose state is where.
struct MadeAnew {
    std::string fixture;
    KeyPath state;
};

void PrintTo(const MadeAnew& drawn, std::ostream* out) {
    *out << drawn.fixture;
}

class NumbersMadeAnewInEachStep : public testing::TestWithParam<MadeAnew> {};

INSTANTIATE_TEST_SUITE_P(Stages, NumbersMadeAnewInEachStep,
                         testing::Values(MadeAnew{"stage2_fp16_ws3", {outer, base, "state", 0}},
                                         MadeAnew{"bf16_optimizer_ws3", {outer, base, "state", 0}},
                                         MadeAnew{"elastic_ws3", {outer, base, 1}},
                                         MadeAnew{"stage3_fp16_ws2", {outer, outer, "state", 0}}),
                         [](const auto& param_info) { return param_info.param.fixture; });

// As transformers' Adafactor keeps the norm of its partition.
TEST_P(NumbersMadeAnewInEachStep, AreNobodysToAskFor) {
    for (const bool in_tensor : {true, false}) {
        EditedTag tag(GetParam().fixture);
        float number = 0;
        for (const std::string& name : tag.names("optim_states")) {
            number += 0.25F;
            if (in_tensor) {
                KeyPath like = GetParam().state;
                like.emplace_back("exp_avg");
                tag.add_number(name, GetParam().state, "RMS", number, like);
            } else {
                tag.add_real(name, GetParam().state, "RMS", number);
            }
        }
        const auto source = tag.source();
        const auto checkpoint = zero::read_checkpoint(*source, "tag");
        ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
        EXPECT_THAT((*checkpoint)->warnings, testing::IsEmpty());
        for (const std::uint64_t world_size : {1U, 4U}) {
            const auto view = world_size_view(*checkpoint, world_size, {});
            ASSERT_TRUE(view.ok()) << view.error().message();
            for (std::size_t i = 0; i < (*view)->file_count(); ++i) {
                if ((*view)->file_name(i).find("optim_states") != std::string::npos) {
                    const auto archive = pt::Archive::open((*view)->open(i).value()).value();
                    EXPECT_NE(pickle::find(at_path(archive->root(), GetParam().state), "RMS"), nullptr);
                }
            }
        }
    }
}

}  // namespace
}  // namespace ckptfs::view
