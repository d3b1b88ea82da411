// What the commands say of files of two saves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "broken_source.h"
#include "harness.h"
#include "support/other_save.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using ckptfs::test::make_other_save;
using ckptfs::test::OtherSave;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string model_states = "mp_rank_00_model_states.pt";

class TwoSaves : public testing::Test {
 protected:
    void change(const std::string& file, const OtherSave& how) const { make_other_save(tag_ / file, how); }

    Harness harness_;
    fs::path source_ = harness_.copy("stage2_fp32_ws2");
    fs::path tag_ = source_ / tag_name(source_);
};

TEST_F(TwoSaves, InspectWarns) {
    change(model_states, {.steps_later = 1, .other_numbers = false});
    ASSERT_EQ(harness_.run({"inspect", source_.string()}), 0) << harness_.error();
    EXPECT_THAT(harness_.out(), AllOf(HasSubstr("none found"), HasSubstr("\nwarnings\n  "),
                                      HasSubstr("the optimizer files are at step 2, but")));
    ASSERT_EQ(harness_.run({"inspect", "--json", source_.string()}), 0);
    const json tag = json::parse(harness_.out())["tags"][0];
    EXPECT_EQ(tag["whole"], true);
    ASSERT_EQ(tag["warnings"].size(), 1U);
    EXPECT_THAT(tag["warnings"][0].get<std::string>(), HasSubstr("the optimizer files are at step 2, but"));
}

TEST_F(TwoSaves, InspectHasNoWarningsOfAWholeTag) {
    ASSERT_EQ(harness_.run({"inspect", source_.string()}), 0);
    EXPECT_THAT(harness_.out(), Not(HasSubstr("warnings")));
    ASSERT_EQ(harness_.run({"inspect", "--json", source_.string()}), 0);
    EXPECT_TRUE(json::parse(harness_.out())["tags"][0]["warnings"].empty());
}

TEST_F(TwoSaves, CheckWarns) {
    change(model_states, {.steps_later = 1, .other_numbers = false});
    const fs::path config = harness_.directory() / "config.json";
    std::ofstream(config) << R"({"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 1})";
    const std::vector<std::string> command{"check", source_.string(), "--ds-config", config.string(), "--world-size=3"};
    harness_.run(command);
    EXPECT_THAT(harness_.out(), HasSubstr("\nwarnings\n  " + tag_.string() + ": the optimizer files are at step 2"));
    std::vector<std::string> as_json = command;
    as_json.emplace_back("--json");
    harness_.run(as_json);
    EXPECT_EQ(json::parse(harness_.out())["warnings"].size(), 1U);
}

TEST_F(TwoSaves, VerifyWarnsAndCounts) {
    change(model_states, {.steps_later = 0});
    ASSERT_EQ(harness_.run({"verify", source_.string(), "--world-size=3"}), 0) << harness_.error();
    EXPECT_THAT(harness_.out(),
                AllOf(HasSubstr("  weights: 282 elements compared with the masters, 282 not equal when rounded\n"),
                      HasSubstr("  warning: " + tag_.string() +
                                ": the weights are not the fp32 masters, rounded, on "
                                "ranks 0-1 (282 of 282 compared elements differ"),
                      HasSubstr("OK: ")));
}

TEST_F(TwoSaves, VerifyRefusesUnlessTheyAreAccepted) {
    change(model_states, {.steps_later = 1});
    EXPECT_EQ(harness_.run({"verify", source_.string(), "--world-size=3"}), 1);
    EXPECT_THAT(harness_.out(), AllOf(HasSubstr("  problem: "), Not(HasSubstr("OK: "))));
    EXPECT_THAT(harness_.error(), HasSubstr("--accept-mixed serves them"));
    EXPECT_EQ(harness_.run({"verify", source_.string(), "--world-size=3", "--accept-mixed"}), 0);
    EXPECT_THAT(harness_.out(), AllOf(HasSubstr("  warning: "), HasSubstr("OK: ")));
}

TEST_F(TwoSaves, VerifyWarnsOfTheOneElementThatASampleMisses) {
    for (std::uint64_t element = 0; element < 100; ++element) {
        change(model_states, {.only_element = element});
        ASSERT_EQ(harness_.run({"inspect", source_.string()}), 0) << harness_.error();
        if (harness_.out().find("warnings") == std::string::npos) {
            EXPECT_EQ(harness_.run({"verify", source_.string()}), 0) << harness_.error();
            EXPECT_THAT(harness_.out(), HasSubstr("rounded, on rank 0 (1 of 282 compared elements differ"));
            return;
        }
        EXPECT_THAT(harness_.out(), HasSubstr("rounded, on rank 0 (1 of "));
        change(model_states, {.only_element = element});  // as it was
    }
    FAIL() << "the sample is of all elements: use a larger fixture";
}

TEST_F(TwoSaves, ADamagedMasterIsNoOtherSave) {
    const std::string rank_0 = "zero_pp_rank_0_mp_rank_00_optim_states.pt";
    const auto source = ckptfs::open_directory(tag_.string());
    const auto archive = pt::Archive::open(*(*source)->open(rank_0));
    const pickle::Node* optimizer = pickle::find((*archive)->root(), "optimizer_state_dict");
    const auto master = pt::tensor_ref(pickle::find(optimizer, "single_partition_of_fp32_groups")->items.front());
    ASSERT_TRUE(master.ok());
    const auto index = (*archive)->storage_index(master->storage.key);
    flip_byte(tag_ / rank_0, static_cast<std::streamoff>((*archive)->storages()[*index].place.offset + 2));
    EXPECT_EQ(harness_.run({"verify", source_.string()}), 1);
    EXPECT_THAT(harness_.error(), AllOf(HasSubstr("the CRC-32 of record"), Not(HasSubstr("two saves"))));
}

}  // namespace
}  // namespace ckptfs::cli::test
