// Files of two saves in one tag, each of them whole: what is refused, what is warned of, and what no save may be taken
// for.
#include "zero/save_signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>

#include "io/posix_source.h"
#include "support/other_save.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "zero/passing_weights.h"
#include "zero/reader.h"

namespace ckptfs::zero {
namespace save_signals {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const fs::path data = test_data() / "zero";
const std::string accept = "--accept-mixed serves them";

fs::path tag_of(const fs::path& checkpoint) {
    return checkpoint / test::file_bytes((checkpoint / "latest").string());
}

using Read = Result<std::shared_ptr<const Written>>;

Read read(const fs::path& tag, const ReadOptions& options = {}) {
    const auto source = io::DirectorySource::open_directory(tag.parent_path().string());
    EXPECT_TRUE(source.ok());
    return read_checkpoint(**source, tag.filename().string(), options);
}

bool is_model_states(const fs::path& file) {
    return file.filename().string().ends_with("model_states.pt");
}

bool is_optimizer(const fs::path& file) {
    return file.filename().string().ends_with("optim_states.pt");
}

bool is_of_rank_1(const fs::path& file) {
    return is_optimizer(file) && file.filename().string().find("_rank_1_") != std::string::npos;
}

/// A copy of a fixture's tag, some of whose files are made those of another save.
class Mix {
 public:
    explicit Mix(const std::string& fixture) {
        fs::copy(tag_of(data / fixture), tag_, fs::copy_options::recursive);
        set_times([](const fs::path&) { return true; }, 0);
    }

    using Which = bool (*)(const fs::path&);

    Mix& change(Which which, const test::OtherSave& how) {
        int changed = 0;
        for (const auto& entry : fs::directory_iterator(tag_)) {
            if (which(entry.path())) {
                const auto time = fs::last_write_time(entry.path());
                test::make_other_save(entry.path(), how);
                fs::last_write_time(entry.path(), time);
                ++changed;
            }
        }
        EXPECT_GT(changed, 0);
        return *this;
    }

    template <class Which>
    Mix& set_times(const Which& which, int minutes) {
        const fs::file_time_type then = fs::file_time_type::clock::now() - std::chrono::hours(1);
        for (const auto& entry : fs::directory_iterator(tag_)) {
            if (which(entry.path())) {
                fs::last_write_time(entry.path(), then + std::chrono::minutes(minutes));
            }
        }
        return *this;
    }

    [[nodiscard]] Read read(const ReadOptions& options = {}) const { return save_signals::read(tag_, options); }
    [[nodiscard]] const fs::path& tag() const { return tag_; }

 private:
    test::TemporaryDirectory temporary_;
    fs::path tag_ = fs::path(temporary_.path()) / "tag";
};

void expect_refused(const Mix& mix, const std::vector<std::string>& says) {
    const Read refused = mix.read();
    ASSERT_FALSE(refused.ok()) << testing::PrintToString((*refused)->warnings);
    EXPECT_EQ(refused.error().code(), ErrorCode::inconsistent);
    const Read accepted = mix.read({.accept_mixed = true, .rank_values_of = std::nullopt});
    ASSERT_TRUE(accepted.ok()) << accepted.error().message();
    ASSERT_EQ((*accepted)->warnings.size(), 1U);
    for (const std::string& message : {refused.error().message(), (*accepted)->warnings.front()}) {
        EXPECT_THAT(message, AllOf(HasSubstr("files of two saves"), HasSubstr(accept)));
        for (const std::string& part : says) {
            EXPECT_THAT(message, HasSubstr(part));
        }
    }
}

void expect_warned(const Mix& mix, const std::vector<std::string>& says) {
    const Read found = mix.read();
    ASSERT_TRUE(found.ok()) << found.error().message();
    ASSERT_EQ((*found)->warnings.size(), 1U);
    EXPECT_THAT((*found)->warnings.front(), AllOf(HasSubstr("expected where the training"), Not(HasSubstr(accept))));
    for (const std::string& part : says) {
        EXPECT_THAT((*found)->warnings.front(), HasSubstr(part));
    }
}

TEST(TwoSaves, NoFixtureLooksLikeThem) {
    std::vector<fs::path> checkpoints{test_data() / ".." / ".." / "mount_scripts" / "sample"};
    for (const auto& entry : fs::recursive_directory_iterator(data)) {
        const fs::path directory = entry.path().parent_path();
        if (entry.path().filename() == "latest" && directory.filename() != "universal") {
            checkpoints.push_back(directory);
        }
    }
    int of_16_bits = 0;
    for (const fs::path& checkpoint : checkpoints) {
        const Read found = read(tag_of(checkpoint));
        ASSERT_TRUE(found.ok()) << found.error().message();
        EXPECT_THAT((*found)->warnings, IsEmpty()) << checkpoint;
        const auto weights = PassingWeights(**found).compare();
        ASSERT_TRUE(weights.ok()) << weights.error().message();
        EXPECT_EQ(weights->different_numel(), 0U) << checkpoint;
        if ((*found)->stage == 1 || (*found)->stage == 2) {
            EXPECT_EQ(weights->ranks.size(), (*found)->dp_world_size * (*found)->families.size()) << checkpoint;
            of_16_bits += (*found)->families.front().groups.front().flat->weights_itemsize == 2 ? 1 : 0;
        }
    }
    EXPECT_GT(checkpoints.size(), 80U);
    EXPECT_GT(of_16_bits, 40);
}

/// Checkpoints of stages 1 and 2 whose optimizer counts its steps.
class WithSteps : public testing::TestWithParam<const char*> {};

TEST_P(WithSteps, LaterModelStates) {
    Mix mix(GetParam());
    mix.change(is_model_states, {.steps_later = 1});
    expect_refused(mix,
                   {"the optimizer files are at step ", "global_steps - skipped_steps of mp_rank_00_model_states.pt",
                    "the weights are not the fp32 masters", "parameters '", "load_optimizer_states=False"});
}

TEST_P(WithSteps, LaterOptimizerFiles) {
    Mix mix(GetParam());
    mix.change(is_optimizer, {.steps_later = 1});
    if (std::string(GetParam()) == "zero_steps_ws2") {
        // The later ones would hold states; these are still those of no step.
        expect_warned(mix, {"the weights are not the fp32 masters"});
        return;
    }
    expect_refused(mix, {"the optimizer files are at step ", "the weights are not the fp32 masters"});
}

TEST_P(WithSteps, ModelStatesOfTheSameStep) {
    Mix mix(GetParam());
    mix.change(is_model_states, {.steps_later = 0});
    expect_warned(mix, {"the weights are not the fp32 masters, rounded, on ranks 0-", "safe_set_full_fp32_param"});
}

TEST_P(WithSteps, OneOptimizerFileOfTheSameStep) {
    Mix mix(GetParam());
    mix.change(is_of_rank_1, {.steps_later = 0});
    expect_refused(mix, {"the weights are not the fp32 masters, rounded, on rank 1", ", while they are on rank"});
}

TEST_P(WithSteps, CountersAlone) {
    Mix mix(GetParam());
    mix.change(is_model_states, {.steps_later = 5, .other_numbers = false});
    expect_warned(mix, {"the optimizer files are at step ", "load_optimizer_states=False"});
}

INSTANTIATE_TEST_SUITE_P(Fixtures, WithSteps,
                         testing::Values("stage1_bf16_ws3", "stage1_fp16_ws2", "stage2_bf16_ws4", "stage2_fp16_ws3",
                                         "stage2_fp32_ws2", "bf16_optimizer_ws3", "elastic_ws3", "round_robin_ws3",
                                         "alignment_ws3", "round_robin_alignment_ws3", "muon_ws3", "offload_ws3",
                                         "frozen_tied_ws2", "zero_steps_ws2", "overflow_ws3", "amsgrad_ws2",
                                         "client_state_ws2", "tiny_group_ws5", "pipeline_stage1_ws4",
                                         "tensor_parallel_stage1_ws4", "tensor_parallel_stage2_ws4",
                                         "old/0.14.5_stage1_bf16_ws3", "old/0.14.5_tiny_group_ws5",
                                         "old/0.16.9_stage2_fp16_ws3"),
                         [](const auto& parameter) {
                             std::string name = parameter.param;
                             std::replace_if(
                                 name.begin(), name.end(), [](char c) { return c == '/' || c == '.'; }, '_');
                             return name;
                         });

/// Stages 1 and 2, without any step.
class WithoutSteps : public testing::TestWithParam<const char*> {};

TEST_P(WithoutSteps, LaterModelStates) {
    Mix mix(GetParam());
    mix.change(is_model_states, {.steps_later = 1});
    expect_warned(mix, {"the weights are not the fp32 masters, rounded, on ranks 0-1 ("});
}

TEST_P(WithoutSteps, LaterOptimizerFiles) {
    Mix mix(GetParam());
    mix.change(is_optimizer, {.steps_later = 1});
    expect_warned(mix, {"the weights are not the fp32 masters, rounded, on ranks 0-1 ("});
}

TEST_P(WithoutSteps, OneOptimizerFile) {
    Mix mix(GetParam());
    mix.change(is_of_rank_1, {.steps_later = 1});
    expect_refused(mix, {"rounded, on rank 1, while they are on rank 0"});
}

INSTANTIATE_TEST_SUITE_P(Fixtures, WithoutSteps, testing::Values("sgd_ws2", "momentum_ws2"),
                         [](const auto& parameter) { return std::string(parameter.param); });

/// Stage 3 keeps no weights; what the times say depends on which files came last.
class OfStage3 : public testing::TestWithParam<const char*> {};

TEST_P(OfStage3, LaterModelStates) {
    Mix mix(GetParam());
    mix.change(is_model_states, {.steps_later = 1}).set_times(is_model_states, 10);
    expect_refused(mix, {"the optimizer files are at step ", "the model states are newer than every optimizer file"});
}

TEST_P(OfStage3, LaterModelStatesWhoseTimesSayNothing) {
    Mix mix(GetParam());
    mix.change(is_model_states, {.steps_later = 1}).set_times(is_model_states, 10).set_times(is_of_rank_1, 11);
    expect_warned(mix, {"the optimizer files are at step "});
}

TEST_P(OfStage3, LaterOptimizerFiles) {
    Mix mix(GetParam());
    mix.change(is_optimizer, {.steps_later = 1}).set_times(is_optimizer, 10);
    expect_warned(mix, {"the optimizer files are at step "});
}

// What a run has for good that began under a DeepSpeed before 0.14, which was a step ahead, and was resumed by a newer.
TEST_P(OfStage3, OptimizerFilesAStepAheadWhateverTheTimesSay) {
    Mix mix(GetParam());
    mix.change(is_optimizer, {.steps_later = 1, .other_numbers = false}).set_times(is_model_states, 10);
    expect_warned(mix, {"the optimizer files are at step ", "began under a DeepSpeed before 0.14"});
}

TEST_P(OfStage3, NewerModelStatesAlone) {
    const Read found = Mix(GetParam()).set_times(is_model_states, 10).read();
    ASSERT_TRUE(found.ok()) << found.error().message();
    EXPECT_THAT((*found)->warnings, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, OfStage3,
                         testing::Values("stage3_ws2", "stage3_bf16_ws3", "stage3_fp16_ws2", "stage3_fp32_ws4",
                                         "stage3_groups_ws3", "stage3_sub_groups_ws3", "stage3_frozen_tied_ws2",
                                         "stage3_offload_ws3", "stage3_zero_init_ws3", "stage3_hpz_ws4",
                                         "tensor_parallel_stage3_ws4", "old/0.12.6_stage3_bf16_ws3",
                                         "old/0.12.6_stage3_fp16_ws3"),
                         [](const auto& parameter) {
                             std::string name = parameter.param;
                             std::replace_if(
                                 name.begin(), name.end(), [](char c) { return c == '/' || c == '.'; }, '_');
                             return name;
                         });

TEST(TwoSaves, FamiliesAreToldApart) {
    Mix mix("tensor_parallel_stage2_ws4");
    mix.change([](const fs::path& file) { return file.filename() == "mp_rank_01_model_states.pt"; },
               {.steps_later = 0});
    expect_refused(mix, {"rounded, on ranks 0-1 of mp_rank_01, while they are on ranks 0-1 of mp_rank_00"});
}

TEST(TwoSaves, LayerFilesOfAPipeline) {
    const auto is_layer = [](const fs::path& file) { return file.filename().string().starts_with("layer_"); };
    Mix mix("pipeline_stage1_ws4");
    mix.change(is_layer, {.steps_later = 0});
    expect_warned(mix, {"rounded, on ranks 0-1 of mp_rank_00; ranks 0-1 of mp_rank_01"});
}

TEST(TwoSaves, LayerFilesOfOnePipelineStage) {
    Mix mix("pipeline_stage1_ws4");
    mix.change([](const fs::path& file) { return file.filename() == "layer_03-model_states.pt"; }, {.steps_later = 0});
    expect_refused(mix, {"of mp_rank_01, while they are on ranks 0-1 of mp_rank_00", "parameters '3."});
}

TEST(TwoSaves, BeforeTheFirstStepAndAfterIt) {
    Mix mix("stage3_zero_steps_ws2");
    mix.change(is_model_states, {.steps_later = 1});
    expect_warned(mix, {"the optimizer files are at step 0, but global_steps - skipped_steps of "});
}

TEST(TwoSaves, AreNotLookedForWhenNotAsked) {
    Mix mix("stage1_bf16_ws3");
    mix.change(is_model_states, {.steps_later = 1});
    const Read found = mix.read({.accept_mixed = false, .rank_values_of = std::nullopt, .look_for_two_saves = false});
    ASSERT_TRUE(found.ok()) << found.error().message();
    EXPECT_THAT((*found)->warnings, IsEmpty());
}

TEST(TwoSaves, OldVersionsAreAStepAhead) {
    Mix mix("old/0.12.6_stage3_bf16_ws3");
    mix.change(is_model_states, {.steps_later = 1});
    expect_warned(mix, {"to which DeepSpeed 0.12.6 adds 1"});
}

}  // namespace
}  // namespace save_signals
}  // namespace ckptfs::zero
