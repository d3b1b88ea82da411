// The names of a tag directory, in all the forms that DeepSpeed wrote.
#include "zero/file_names.h"

#include <gtest/gtest.h>

namespace ckptfs::zero {
namespace {

TEST(FileNames, OptimizerShards) {
    const auto name = parse_shard_name("bf16_zero_pp_rank_12_mp_rank_00_optim_states.pt");
    ASSERT_TRUE(name);
    EXPECT_EQ(name->role, FileRole::optimizer_shard);
    EXPECT_EQ(name->prefix, "bf16_");
    EXPECT_EQ(name->data_rank, 12U);
    EXPECT_EQ(name->model_rank, "00");
    EXPECT_EQ(optimizer_file_name("bf16_", 12, "00", name->suffix), "bf16_zero_pp_rank_12_mp_rank_00_optim_states.pt");
}

TEST(FileNames, OldOptimizerShardsHaveNoUnderscore) {
    const auto name = parse_shard_name("zero_pp_rank_3_mp_rank_00optim_states.pt");
    ASSERT_TRUE(name);
    EXPECT_EQ(name->role, FileRole::optimizer_shard);
    EXPECT_EQ(optimizer_file_name("", 3, "00", name->suffix), "zero_pp_rank_3_mp_rank_00optim_states.pt");
}

TEST(FileNames, ModelStates) {
    EXPECT_EQ(parse_shard_name("mp_rank_00_model_states.pt")->role, FileRole::model_states);
    EXPECT_EQ(parse_shard_name("zero_pp_rank_0_mp_rank_00_model_states.pt")->role, FileRole::model_states_shard);
    EXPECT_EQ(parse_shard_name("layer_3_expert_1_mp_rank_00_model_states.pt")->role, FileRole::expert);
    EXPECT_EQ(parse_shard_name("expp_rank_1_mp_rank_00_optim_states.pt")->role, FileRole::expert);
}

TEST(FileNames, Layers) {
    const auto alone = parse_shard_name("layer_03-model_states.pt");
    ASSERT_TRUE(alone);
    EXPECT_EQ(alone->role, FileRole::layer);
    EXPECT_EQ(alone->layer, 3U);
    EXPECT_EQ(alone->slice, 0U);
    const auto sliced = parse_shard_name("layer_117-model_05-model_states.pt");
    ASSERT_TRUE(sliced);
    EXPECT_EQ(sliced->layer, 117U);
    EXPECT_EQ(sliced->slice, 5U);
}

TEST(FileNames, EverythingElseIsNone) {
    for (const char* name :
         {"", "latest", "zero_pp_rank_", "zero_pp_rank_x_mp_rank_00_optim_states.pt",
          "layer_00-model_0x-model_states.pt", "zero_pp_rank_99999999999999999999_mp_rank_00_optim_states.pt",
          "bf16_mp_rank_00_model_states.pt", "mp_rank_00_model_states.pt.tmp", "mp_rank_model_states.pt",
          "zero_to_fp32.py"}) {
        EXPECT_FALSE(parse_shard_name(name)) << name;
    }
}

}  // namespace
}  // namespace ckptfs::zero
