// ckptfs diff over real checkpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "broken_source.h"
#include "harness.h"
#include "support/edited_tag.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string fixture(const std::string& name) {
    return (fixtures / name).string();
}

class Diff : public testing::Test {
 protected:
    json diff(const std::string& a, const std::string& b, std::vector<std::string> options = {}) {
        options.insert(options.begin(), {"diff", a, b, "--json"});
        status_ = harness_.run(options);
        return json::parse(harness_.out(), nullptr, false);
    }

    Harness harness_;
    int status_ = -1;
};

TEST_F(Diff, EveryFixtureIsTheSameAtEveryWorldSizeThatItWasSavedAt) {
    int compared = 0;
    for (const fs::path& source : whole_fixtures()) {
        for (const auto& entry : fs::directory_iterator(source.parent_path())) {
            const std::string name = entry.path().filename().string();
            if (name == source.filename() || name.starts_with(source.filename().string() + "_at_ws")) {
                json found = diff(source.string(), entry.path().string());
                // Muon's momentum is bfloat16 in these files, and float32 in what DeepSpeed makes of it.
                const bool has_other_dtype = name.starts_with("muon_ws3_at_ws");
                EXPECT_EQ(status_, has_other_dtype ? 1 : 0) << source << " and " << name << ": " << harness_.error();
                for (const json& kind : found["kinds"]) {
                    EXPECT_EQ(kind["numel_different"], 0) << source << " and " << name << ": " << kind;
                }
                EXPECT_TRUE(found["values"].empty()) << found["values"];
                ++compared;
            }
        }
    }
    EXPECT_EQ((diff(fixture("stage3_groups_ws3"), fixture("stage3_groups_ws3"), {"--world-size=5"}), status_), 0);
    EXPECT_GT(compared, 60);
}

TEST_F(Diff, OneElementIsFoundInEveryKind) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    const fs::path tag = source / tag_name(source);
    flip_byte(tag / rank_1, state_offset(tag, rank_1, "exp_avg") + 3);
    const json found = diff(fixture("stage1_bf16_ws3"), source.string());
    EXPECT_EQ(status_, 1);
    EXPECT_EQ(harness_.error(), "") << "a difference is no error";
    EXPECT_EQ(found["same"], false);
    ASSERT_THAT(found["tensors"], SizeIs(1));
    EXPECT_EQ(found["tensors"][0]["kind"], "exp_avg");
    EXPECT_EQ(found["tensors"][0]["numel_different"], 1);
    EXPECT_GT(found["tensors"][0]["max_absolute"], 0);
    EXPECT_EQ(harness_.run({"diff", fixture("stage1_bf16_ws3"), source.string()}), 1);
    EXPECT_THAT(harness_.out(), HasSubstr("\ndifferent: 1 tensor; "));
    // At another world size the same element differs, and the weights alone do not.
    EXPECT_EQ(diff(fixture("stage1_bf16_ws3_at_ws2"), source.string())["tensors"], found["tensors"]);
    EXPECT_EQ((diff(fixture("stage1_bf16_ws3"), source.string(), {"--view=weights-fp32"}), status_), 0);
    const json states = diff(fixture("stage1_bf16_ws3"), source.string(), {"--view=states"});
    EXPECT_EQ(status_, 1);
    EXPECT_EQ(states["tensors"], found["tensors"]);
}

TEST_F(Diff, StatesOfTheOtherOptimizerAndNamesAreSaid) {
    const json found = diff(fixture("stage1_bf16_ws3"), fixture("momentum_ws2"));
    EXPECT_EQ(status_, 1);
    EXPECT_FALSE(found["tensors"].empty());
    bool lacks = false;
    for (const json& tensor : found["tensors"]) {
        lacks = lacks || (tensor["kind"] == "exp_avg" && tensor["b"].is_null());
    }
    EXPECT_TRUE(lacks);
    ASSERT_EQ(harness_.run({"diff", fixture("stage1_bf16_ws3"), fixture("frozen_tied_ws2")}), 1);
    EXPECT_THAT(harness_.out(), HasSubstr("different: "));
}

TEST_F(Diff, CountersAndHyperParameters) {
    ckptfs::test::EditedTag tag("stage1_bf16_ws3");
    for (const std::string& name : tag.names("model_states.pt")) {
        tag.set(name, {"skipped_steps"}, [](pickle::Editor& pickle) { return pickle.integer(7); });
    }
    const fs::path source = harness_.directory() / "edited";
    tag.write_to(source / "global_step2");
    const json found = diff(fixture("stage1_bf16_ws3"), source.string());
    EXPECT_EQ(status_, 1) << harness_.error();
    ASSERT_THAT(found["values"], SizeIs(1)) << found.dump(1);
    EXPECT_EQ(found["values"][0]["name"], "skipped_steps");
    EXPECT_EQ(found["values"][0]["b"], "7");
    EXPECT_THAT(found["tensors"], IsEmpty());
}

TEST_F(Diff, WhatOnlyOneSideHasIsAbsentFromTheOther) {
    ckptfs::test::EditedTag tag("stage1_bf16_ws3");
    for (const std::string& name : tag.names("optim_states")) {
        tag.add_real(name, {"optimizer_state_dict", "base_optimizer_state", "param_groups", std::int64_t{0}}, "nu",
                     0.5);
    }
    const fs::path source = harness_.directory() / "edited";
    tag.write_to(source / "global_step2");
    EXPECT_EQ(harness_.run({"diff", fixture("stage1_bf16_ws3"), source.string()}), 1);
    EXPECT_THAT(harness_.out(), HasSubstr("absent -> 0.5\n"));
}

TEST_F(Diff, StagesThatHoldTheSameNamesAreComparedByMasters) {
    const json found = diff(fixture("stage2_fp32_ws2"), fixture("stage3_fp32_ws4"));
    EXPECT_NE(status_, 70);
    EXPECT_FALSE(found["notes"].empty());
    EXPECT_THAT(found["only_in_a"], IsEmpty()) << found.dump(1);
    EXPECT_THAT(found["only_in_b"], IsEmpty());
    for (const json& tensor : found["tensors"]) {
        EXPECT_NE(tensor["kind"], "weight") << "a frozen one would be";
    }
}

TEST_F(Diff, ModelParallelRanksAreComparedOneByOne) {
    diff(fixture("tensor_parallel_stage1_ws4"), fixture("tensor_parallel_stage1_ws4_at_ws6"));
    EXPECT_EQ(status_, 0) << harness_.out();
    // Another degree: as one model, which this checkpoint does not say how to make.
    EXPECT_EQ((diff(fixture("tensor_parallel_stage1_ws4"), fixture("stage1_bf16_ws3")), status_), 5);
    EXPECT_THAT(harness_.error(), HasSubstr("universal_checkpoint_info"));
    EXPECT_EQ((diff(fixture("described_tensor_parallel_stage1_ws4"), fixture("stage1_bf16_ws3")), status_), 1)
        << harness_.error();
}

TEST_F(Diff, TroubleHasTheStatusOfOtherCommands) {
    EXPECT_EQ(harness_.run({"diff", fixture("stage1_bf16_ws3")}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("B is missing"));
    EXPECT_EQ(harness_.run({"diff", fixture("stage1_bf16_ws3"), "/absent"}), 3);
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::remove(source / tag_name(source) / rank_1);
    EXPECT_EQ(harness_.run({"diff", source.string(), fixture("stage1_bf16_ws3")}), 4);
    EXPECT_EQ(harness_.run({"diff", fixture("stage1_bf16_ws3"), fixture("stage1_bf16_ws3"), "--view=nothing"}), 2);
}

}  // namespace
}  // namespace ckptfs::cli::test
