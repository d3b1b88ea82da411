// Checkpoints of several model-parallel ranks: what makes them whole, and which world sizes fit them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/posix_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "zero/reader.h"

namespace ckptfs::zero {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path data = test_data() / "zero";

fs::path tag_of(const std::string& fixture) {
    return data / fixture / test::file_bytes((data / fixture / "latest").string());
}

Result<std::shared_ptr<const Written>> read(const fs::path& tag) {
    const auto source = io::DirectorySource::open_directory(tag.parent_path().string());
    EXPECT_TRUE(source.ok());
    return read_checkpoint(**source, tag.filename().string());
}

class Families : public testing::Test {
 protected:
    Families() { fs::copy(tag_of("tensor_parallel_stage2_ws4"), tag_, fs::copy_options::recursive); }

    void expect_error(ErrorCode code, const std::string& text) const {
        const auto checkpoint = read(tag_);
        ASSERT_FALSE(checkpoint.ok());
        EXPECT_EQ(checkpoint.error().code(), code) << checkpoint.error().message();
        EXPECT_THAT(checkpoint.error().message(), HasSubstr(text));
    }

    /// The file of `fixture` whose name ends like `name` in place of `name`.
    void copy_from(const std::string& fixture, const std::string& name) const {
        fs::copy_file(tag_of(fixture) / name, tag_ / name, fs::copy_options::overwrite_existing);
    }

    test::TemporaryDirectory temporary_;
    fs::path tag_ = fs::path(temporary_.path()) / "tag";
};

TEST_F(Families, EachIsReadWithItsOwnRanks) {
    const auto checkpoint = read(tag_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->dp_world_size, 2U);
    EXPECT_EQ((*checkpoint)->world_size(), 4U);
    ASSERT_EQ((*checkpoint)->families.size(), 2U);
    EXPECT_EQ((*checkpoint)->families[0].rank, "00");
    EXPECT_EQ((*checkpoint)->families[1].rank, "01");
    for (const Family& family : (*checkpoint)->families) {
        ASSERT_EQ(family.optimizer.size(), 2U);
        for (const RankFile& rank : family.optimizer) {
            EXPECT_THAT(rank.name, HasSubstr("mp_rank_" + family.rank));
        }
        EXPECT_FALSE(family.groups.empty());
    }
}

TEST_F(Families, MissingModelStates) {
    fs::remove(tag_ / "mp_rank_01_model_states.pt");
    expect_error(ErrorCode::incomplete, "mp_rank_01_model_states.pt is missing, but mp_world_size counts it");
}

TEST_F(Families, MissingOptimizerFile) {
    for (const auto& entry : fs::directory_iterator(tag_)) {
        if (entry.path().filename().string().find("zero_pp_rank_1_mp_rank_01_optim") != std::string::npos) {
            fs::remove(entry.path());
        }
    }
    expect_error(ErrorCode::incomplete, "the optimizer file of rank 1 (mp_rank_01) is missing");
}

TEST_F(Families, ModelStatesOfAnotherWorldSize) {
    copy_from("tensor_parallel_stage2_ws4_at_ws2", "mp_rank_01_model_states.pt");
    const auto checkpoint = read(tag_);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code(), ErrorCode::inconsistent) << checkpoint.error().message();
}

TEST_F(Families, OfALargerDegreeAreLeftOver) {
    for (const auto& entry : fs::directory_iterator(tag_of("tensor_parallel_stage2_ws4"))) {
        std::string name = entry.path().filename().string();
        const std::size_t at = name.find("mp_rank_01");
        if (at != std::string::npos) {
            fs::copy_file(entry.path(), tag_ / name.replace(at, 10, "mp_rank_02"));
        }
    }
    const auto checkpoint = read(tag_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->families.size(), 2U);
}

}  // namespace
}  // namespace ckptfs::zero
