// Real tags, whole and broken in every way that the reader promises to name.
#include "zero/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/posix_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"

namespace ckptfs::zero {
namespace reader {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path data = test_data() / "zero";
const std::string rank_1 = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt";
const std::string model_states = "mp_rank_00_model_states.pt";

fs::path tag_of(const std::string& fixture) {
    std::ifstream stream(data / fixture / "latest");
    std::string tag;
    stream >> tag;
    return data / fixture / tag;
}

Result<std::shared_ptr<const Written>> read(const fs::path& tag) {
    const auto source = io::DirectorySource::open_directory(tag.parent_path().string());
    EXPECT_TRUE(source.ok());
    return read_checkpoint(**source, tag.filename().string());
}

/// A copy of a fixture's tag that a test may break.
class BrokenTag : public testing::Test {
 protected:
    BrokenTag() { fs::copy(tag_of("stage1_bf16_ws3"), tag_, fs::copy_options::recursive); }

    void expect_error(ErrorCode code, const std::string& text) const {
        const auto checkpoint = read(tag_);
        ASSERT_FALSE(checkpoint.ok());
        EXPECT_EQ(checkpoint.error().code(), code) << checkpoint.error().message();
        EXPECT_THAT(checkpoint.error().message(), HasSubstr(text));
    }

    void copy_from(const std::string& fixture, const std::string& name, const std::string& as) const {
        fs::copy_file(tag_of(fixture) / name, tag_ / as, fs::copy_options::overwrite_existing);
    }

    void change_byte(const std::string& name, std::streamoff offset) const {
        std::fstream file(tag_ / name, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(offset);
        const int byte = file.get();
        file.seekp(offset);
        file.put(static_cast<char>(byte ^ 1));
    }

    test::TemporaryDirectory temporary_;
    fs::path tag_ = fs::path(temporary_.path()) / "tag";
};

TEST_F(BrokenTag, IsReadAsLongAsItIsWhole) {
    EXPECT_TRUE(read(tag_).ok());
}

TEST_F(BrokenTag, MissingRank) {
    fs::remove(tag_ / rank_1);
    expect_error(ErrorCode::incomplete, "rank 1 is missing: dp_world_size is 3");
}

TEST_F(BrokenTag, TruncatedRank) {
    fs::resize_file(tag_ / rank_1, fs::file_size(tag_ / rank_1) / 2);
    expect_error(ErrorCode::incomplete, rank_1);
}

TEST_F(BrokenTag, EmptyRank) {
    fs::resize_file(tag_ / rank_1, 0);
    expect_error(ErrorCode::incomplete, rank_1);
}

TEST_F(BrokenTag, CorruptPickle) {
    change_byte(rank_1, 200);
    expect_error(ErrorCode::damaged, rank_1);
}

TEST_F(BrokenTag, CorruptDirectory) {
    change_byte(rank_1, static_cast<std::streamoff>(fs::file_size(tag_ / rank_1)) - 150);
    expect_error(ErrorCode::damaged, rank_1);
}

TEST_F(BrokenTag, MissingModelStates) {
    fs::remove(tag_ / model_states);
    expect_error(ErrorCode::incomplete, model_states);
}

TEST_F(BrokenTag, WeightsOnly) {
    for (const auto& entry : fs::directory_iterator(tag_)) {
        if (entry.path().filename().string().find("optim_states") != std::string::npos) {
            fs::remove(entry.path());
        }
    }
    expect_error(ErrorCode::incomplete, "without optimizer files");
}

TEST_F(BrokenTag, RankOfAnotherWorldSize) {
    copy_from("stage1_bf16_ws3_at_ws2", rank_1, rank_1);
    expect_error(ErrorCode::inconsistent, "was written by 2 ranks");
}

TEST_F(BrokenTag, RankOfAnotherStep) {
    std::uint64_t step_offset = 0;
    {
        const auto source = io::DirectorySource::open_directory(tag_.string());
        const auto archive = pt::Archive::open(*(*source)->open(rank_1));
        const pickle::Node* optimizer = pickle::find((*archive)->root(), "optimizer_state_dict");
        const pickle::Node* state = pickle::find(pickle::find(optimizer, "base_optimizer_state"), "state");
        const auto step = pt::tensor_ref(pickle::find(pickle::find(state, 0), "step"));
        ASSERT_TRUE(step.ok());
        step_offset = (*archive)->storages()[*(*archive)->storage_index(step->storage.key)].place.offset;
    }
    std::fstream file(tag_ / rank_1, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(step_offset));
    const float other_step = 7;
    file.write(reinterpret_cast<const char*>(&other_step), sizeof other_step);
    file.close();
    expect_error(ErrorCode::inconsistent, "at optimizer step 7, rank 0 at step 2");
}

TEST_F(BrokenTag, ModelStatesOfAnotherWorldSize) {
    copy_from("stage1_bf16_ws3_at_ws2", model_states, model_states);
    expect_error(ErrorCode::inconsistent, "dp_world_size 2");
}

TEST_F(BrokenTag, StrayShardsOfALargerRunAreIgnored) {
    copy_from("stage1_bf16_ws3", rank_1, "bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt");
    copy_from("stage1_bf16_ws3", rank_1, "bf16_zero_pp_rank_10_mp_rank_00_optim_states.pt");
    const auto checkpoint = read(tag_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->families.front().optimizer.size(), 3U);
}

TEST_F(BrokenTag, Experts) {
    copy_from("stage1_bf16_ws3", model_states, "layer_0_expert_0_mp_rank_00_model_states.pt");
    expect_error(ErrorCode::unsupported, "mixture of experts");
}

TEST_F(BrokenTag, SwappedToNvme) {
    fs::create_directory(tag_ / "offloaded_tensors");
    expect_error(ErrorCode::unsupported, "NVMe");
}

TEST_F(BrokenTag, FilesOfTwoStages) {
    copy_from("stage1_bf16_ws3", model_states, "zero_pp_rank_0_mp_rank_00_model_states.pt");
    expect_error(ErrorCode::inconsistent, "which only stage 3 writes");
}

TEST_F(BrokenTag, ForeignObjectAsModelStates) {
    fs::copy_file(tag_ / rank_1, tag_ / model_states, fs::copy_options::overwrite_existing);
    expect_error(ErrorCode::not_a_checkpoint, model_states);
}

TEST_F(BrokenTag, UniversalDirectoryIsNoTag) {
    fs::create_directory(tag_ / "zero");
    expect_error(ErrorCode::not_a_checkpoint, "expected ZeRO model states");
}

struct Expected {
    std::string fixture;
    Format format;
    int stage;
    std::uint64_t world_size;
    std::vector<std::string> states;  // of group 0
};

class WholeTag : public testing::TestWithParam<Expected> {};

TEST_P(WholeTag, IsReadAsWhatItIs) {
    const Expected& expected = GetParam();
    const auto read_result = read(tag_of(expected.fixture));
    ASSERT_TRUE(read_result.ok()) << read_result.error().message();
    const Written& checkpoint = **read_result;
    EXPECT_EQ(checkpoint.format, expected.format);
    EXPECT_EQ(checkpoint.stage, expected.stage);
    EXPECT_EQ(checkpoint.dp_world_size, expected.world_size);
    EXPECT_EQ(checkpoint.content.ranks.front().groups.front().states, expected.states);
    EXPECT_EQ(checkpoint.families.front().groups.front().states.size(), expected.states.size());
}

INSTANTIATE_TEST_SUITE_P(
    Real, WholeTag,
    testing::Values(Expected{"stage1_bf16_ws3", Format::zero12, 1, 3, {"exp_avg", "exp_avg_sq"}},
                    Expected{"stage2_fp16_ws3", Format::zero12, 2, 3, {"exp_avg", "exp_avg_sq"}},
                    Expected{"amsgrad_ws2", Format::zero12, 2, 2, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}},
                    Expected{"bf16_optimizer_ws3", Format::bf16_optimizer, 1, 3, {"exp_avg", "exp_avg_sq"}},
                    Expected{"elastic_ws3", Format::zero12_elastic, 2, 3, {"exp_avg", "exp_avg_sq"}},
                    Expected{"muon_ws3", Format::zero12, 2, 3, {"momentum_buffer"}},
                    Expected{"zero_steps_ws2", Format::zero12, 2, 2, {}},
                    Expected{"sgd_ws2", Format::zero12, 2, 2, {}}),
    [](const auto& param_info) { return param_info.param.fixture; });

}  // namespace
}  // namespace reader
}  // namespace ckptfs::zero
