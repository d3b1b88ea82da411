// `latest` and --tag: every spelling that DeepSpeed loads means the same tag to every command.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "broken_source.h"
#include "harness.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

/// SOURCE with a tag at epoch1/step5, and a newer one at its top that is broken.
class Latest : public testing::Test {
 protected:
    void SetUp() override {
        fs::create_directories(source_ / "epoch1");
        fs::create_directories(source_ / "other");
        const fs::path whole = fixtures / "stage1_bf16_ws3";
        fs::copy(whole / tag_name(whole), source_ / "epoch1/step5", fs::copy_options::recursive);
        fs::copy(whole / tag_name(whole), source_ / "zz_newer", fs::copy_options::recursive);
        fs::remove(source_ / "zz_newer" / rank_1);
        std::ofstream(harness_.directory() / "ds.json")
            << R"({"train_batch_size": 6, "bf16": {"enabled": true}, "zero_optimization": {"stage": 1}})";
    }
    void write_latest(const std::string& text) const { std::ofstream(source_ / "latest", std::ios::trunc) << text; }
    int run(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin() + 1, source_.string());
        return harness_.run(arguments);
    }

    Harness harness_;
    fs::path source_ = harness_.directory() / "source";
};

class EveryCommand : public Latest, public testing::WithParamInterface<const char*> {};

TEST_P(EveryCommand, TakesTheTagThatDeepSpeedWouldLoad) {
    write_latest(GetParam());
    ASSERT_EQ(run({"inspect", "--json"}), 0) << harness_.error();
    const json description = json::parse(harness_.out());
    EXPECT_EQ(description["checkpoint"]["tag"], "epoch1/step5");
    EXPECT_EQ(description["tags"][0]["name"], "epoch1/step5");
    EXPECT_EQ(description["tags"][0]["latest"], true);
    EXPECT_EQ(description["tags"].size(), 2U);
    EXPECT_THAT(harness_.out(), Not(HasSubstr("correct the file")));

    run({"check", "--json", "--world-size=2", "--ds-config=" + (harness_.directory() / "ds.json").string()});
    EXPECT_EQ(json::parse(harness_.out())["tag"], "epoch1/step5") << harness_.error();

    // The tag that a mount starts from is whole, so that there is nothing to warn of.
    EXPECT_EQ(harness_.run({source_.string(), "mnt", "--world-size=2"}), 0);
    EXPECT_EQ(harness_.error(), "");

    EXPECT_EQ(run({"verify", std::string("--tag=") + GetParam()}), 0) << harness_.error();
    EXPECT_THAT(harness_.out(), testing::StartsWith("epoch1/step5\n"));
}

INSTANTIATE_TEST_SUITE_P(Spellings, EveryCommand,
                         testing::Values("epoch1/step5", "./epoch1/step5", "epoch1/step5/", "epoch1//./step5/.",
                                         "other/../epoch1/step5"));

TEST_F(Latest, VerifyWithoutATagTakesTheOneThatLatestNames) {
    fs::remove_all(source_ / "zz_newer");
    fs::copy(source_ / "epoch1/step5", source_ / "top", fs::copy_options::recursive);
    write_latest("./epoch1/step5/\n");
    EXPECT_EQ(run({"verify"}), 0) << harness_.error();
    EXPECT_THAT(harness_.out(), HasSubstr("2 tags whole"));
}

TEST_F(Latest, WhatDoesNotLieBelowIsRefusedWithItsReason) {
    fs::create_directory_symlink("epoch1", source_ / "link");
    const std::pair<std::string, const char*> wrong[] = {
        {(source_ / "epoch1/step5").string(), "absolute path"},
        {"../source/epoch1/step5", "leads out of"},
        {"epoch1/../../x", "leads out of"},
        {"nowhere/../epoch1/step5", "goes through '..'"},
        {"link/../epoch1/step5", "goes through '..'"},
        {"./", "write that name into it"},
        {" \n", "holds nothing"},
    };
    for (const auto& [text, reason] : wrong) {
        write_latest(text);
        run({"inspect"});
        EXPECT_THAT(harness_.out(), HasSubstr("expected the name of a tag directory beside it")) << text;
        EXPECT_THAT(harness_.out(), HasSubstr(reason)) << text;
    }
    EXPECT_EQ(run({"verify", "--tag=../elsewhere"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("--tag=../elsewhere: it leads out of"));
    EXPECT_EQ(run({"verify", "--tag=other"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("has no tag 'other'"));
}

TEST_F(Latest, ADeepNameThatIsNotThereIsNamed) {
    write_latest("epoch1/step6");
    run({"inspect"});
    EXPECT_THAT(harness_.out(), HasSubstr("names the tag 'epoch1/step6', but there is no such directory"));
}

}  // namespace
}  // namespace ckptfs::cli::test
