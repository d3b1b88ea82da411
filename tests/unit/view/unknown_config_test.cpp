// Checkpoints whose stored config is a path, nothing, or not what the files are cut for: what they do not show is asked
// for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/edited_tag.h"
#include "view/world_size_kind.h"
#include "view/zero12_files.h"
#include "view/zero3_files.h"
#include "zero/reader.h"
#include "zero/sub_group_sizes.h"

namespace ckptfs::view {
namespace {

using test::EditedTag;
using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

/// A fixture all of whose files store something else than a config.
class WithoutConfig {
 public:
    explicit WithoutConfig(const std::string& fixture, const std::string& stored = "") : tag(fixture) {
        for (const std::string& name : tag.names("states.pt")) {
            if (!name.starts_with("layer_")) {
                tag.set(name, {"ds_config"},
                        [&](pickle::Editor& pickle) { return stored.empty() ? pickle.none() : pickle.string(stored); });
            }
        }
    }

    std::shared_ptr<const zero::Written> read() {
        source_ = tag.source();
        auto checkpoint = zero::read_checkpoint(*source_, "tag");
        EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
        return checkpoint.value();
    }

    EditedTag tag;

 private:
    std::shared_ptr<const test::MemorySource> source_;
};

void expect_question(const Result<std::shared_ptr<const View>>& view, const std::string& about) {
    ASSERT_FALSE(view.ok());
    EXPECT_EQ(view.error().code(), ErrorCode::invalid_argument) << view.error().message();
    EXPECT_THAT(view.error().message(), AllOf(HasSubstr("memory:tag/"), HasSubstr(about), HasSubstr("--ds-config")));
}

TEST(SubGroupSizes, AreThoseThatGiveTheFilesCut) {
    const auto checkpoint = WithoutConfig("stage3_sub_groups_ws3").read();
    EXPECT_FALSE(checkpoint->config.known);
    const auto sizes = zero::sizes_that_explain(*checkpoint);
    ASSERT_TRUE(sizes);
    EXPECT_LE(sizes->least, 20U);
    EXPECT_GE(sizes->most, 20U);
    EXPECT_TRUE(zero::explains_cut(*checkpoint, sizes->least));
    EXPECT_TRUE(zero::explains_cut(*checkpoint, sizes->most));
    EXPECT_FALSE(zero::explains_cut(*checkpoint, sizes->least - 1));
    EXPECT_FALSE(zero::explains_cut(*checkpoint, sizes->most + 1));
}

class StoredStage3 : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Anything, StoredStage3, testing::Values("", "/job/ds_config.json", "{}"));

// One sub-group: a size that holds all at the source holds the smaller shares of more ranks too, but perhaps not the
// larger ones of fewer.
TEST_P(StoredStage3, IsCutAsTheSourceShowsOrAskedFor) {
    const auto checkpoint = WithoutConfig("stage3_bf16_ws3", GetParam()).read();
    ASSERT_THAT(checkpoint->warnings, SizeIs(1));
    EXPECT_THAT(checkpoint->warnings.front(), AllOf(HasSubstr("sub_group_size is not known"), HasSubstr("at least")));
    expect_question(world_size_view(checkpoint, 2, {}), "zero_optimization.sub_group_size");
    const auto more = zero3_target(*checkpoint, 4, std::nullopt);
    ASSERT_TRUE(more.ok()) << more.error().message();
    EXPECT_EQ(more->families.front().size(), checkpoint->families.front().zero3->sub_groups.size());
    EXPECT_EQ(more->sub_group_size, std::nullopt);
    EXPECT_TRUE(world_size_view(checkpoint, 4, {}).ok());
    const auto same = zero3_target(*checkpoint, 3, std::nullopt);
    ASSERT_TRUE(same.ok());
    EXPECT_TRUE(same->same_as_source);
    ViewOptions options;
    options.sub_group_size = zero::default_sub_group_size;
    EXPECT_TRUE(world_size_view(checkpoint, 2, options).ok());
    options.sub_group_size = std::nullopt;
    options.target = zero::LayoutConfig{};
    EXPECT_TRUE(world_size_view(checkpoint, 2, options).ok());
}

TEST(StoredStage3Config, ThatLacksTheSizeHasDeepSpeedsDefault) {
    EditedTag tag("stage3_bf16_ws3");
    const auto source = tag.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok());
    EXPECT_TRUE((*checkpoint)->config.known);
    EXPECT_THAT((*checkpoint)->warnings, SizeIs(0));
    EXPECT_EQ(zero3_target(**checkpoint, 2, std::nullopt)->sub_group_size, zero::default_sub_group_size);
}

TEST(StoredStage3Config, ThatTheFilesAreNotCutForIsNotBelieved) {
    EditedTag tag("stage3_sub_groups_ws3");
    for (const std::string& name : tag.names("model_states")) {
        tag.set(name, {"ds_config", "zero_optimization", "sub_group_size"},
                [](pickle::Editor& pickle) { return pickle.integer(1'000'000'000); });
    }
    const auto source = tag.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok());
    ASSERT_THAT((*checkpoint)->warnings, SizeIs(1));
    EXPECT_THAT((*checkpoint)->warnings.front(), HasSubstr("are not cut for"));
    bool asked = false;
    for (const std::uint64_t world_size : {1U, 2U, 4U, 5U, 7U}) {
        const auto view = world_size_view(*checkpoint, world_size, {});
        if (view.ok()) {
            // No size that the files show cuts otherwise, so it is the cut that the real size gives.
            EXPECT_EQ(zero3_target(**checkpoint, world_size, std::nullopt)->families,
                      zero3_target(**checkpoint, world_size, 20)->families);
        } else {
            asked = true;
            expect_question(view, "zero_optimization.sub_group_size");
        }
    }
    EXPECT_TRUE(asked);
}

class StoredStage12 : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kinds, StoredStage12,
                         testing::Values("stage1_bf16_ws3", "round_robin_ws3", "alignment_ws3", "elastic_ws3",
                                         "muon_ws3", "offload_ws3"),
                         [](const auto& param_info) { return param_info.param; });

// The files of several ranks tell how they are cut, and what they tell is what the config said.
TEST_P(StoredStage12, FollowsWhatTheFilesShow) {
    EditedTag tag(GetParam());
    const auto source = tag.source();
    const auto described = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(described.ok()) << described.error().message();
    const auto checkpoint = WithoutConfig(GetParam()).read();
    const auto expected = target_layout(**described, 2, std::nullopt);
    const auto found = target_layout(*checkpoint, 2, std::nullopt);
    ASSERT_TRUE(expected.ok());
    if (!found.ok()) {
        EXPECT_THAT(found.error().message(), HasSubstr("give --ds-config"));
        // As many parameters as ranks lie alike in both orders; aligned ones are not in param_slice_mappings' order.
        EXPECT_THAT(GetParam(), testing::AnyOf("muon_ws3", "alignment_ws3")) << found.error().message();
        return;
    }
    for (std::size_t g = 0; g < expected->families.front().size(); ++g) {
        const auto& a = expected->families.front()[g].slots;
        const auto& b = found->families.front()[g].slots;
        EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end(),
                               [](const zero::Slot& left, const zero::Slot& right) {
                                   return left.parameter == right.parameter && left.offset_numel == right.offset_numel;
                               }))
            << g;
    }
}

// One rank's files look the same with round robin and without.
TEST(StoredStage12Config, OfOneRankIsAskedFor) {
    EditedTag several("stage2_bf16_ws4");
    auto source = several.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok());
    const auto one = world_size_view(*checkpoint, 1, {});
    ASSERT_TRUE(one.ok());
    EditedTag tag("stage2_bf16_ws4");
    tag.files().clear();
    for (std::size_t i = 0; i < (*one)->file_count(); ++i) {
        const auto file = (*one)->open(i).value();
        std::string bytes(file->size(), '\0');
        ASSERT_TRUE(file->read(0, std::as_writable_bytes(std::span(bytes))).ok());
        tag.files()[(*one)->file_name(i)] = bytes;
    }
    for (const std::string& name : tag.names("states.pt")) {
        tag.set(name, {"ds_config"}, [](pickle::Editor& pickle) { return pickle.string("ds_config.json"); });
    }
    const auto copy = tag.source();
    const auto unknown = zero::read_checkpoint(*copy, "tag");
    ASSERT_TRUE(unknown.ok()) << unknown.error().message();
    EXPECT_TRUE(world_size_view(*unknown, 1, {}).ok());
    expect_question(world_size_view(*unknown, 2, {}), "zero_optimization.round_robin_gradients");
    ViewOptions options;
    options.target = zero::LayoutConfig{};
    EXPECT_TRUE(world_size_view(*unknown, 2, options).ok());
}

TEST(StoredConfig, DecidesBetweenFilesOfTwoPrefixes) {
    WithoutConfig without("stage1_bf16_ws3");
    for (const std::string& name : without.tag.names("bf16_zero")) {
        without.tag.files()[name.substr(5)] = without.tag.files().at(name);
    }
    const auto source = without.tag.source();
    const auto checkpoint = zero::read_checkpoint(*source, "tag");
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code(), ErrorCode::inconsistent);
    EXPECT_THAT(checkpoint.error().message(), HasSubstr("no ds_config is stored"));
}

}  // namespace
}  // namespace ckptfs::view
