// Texts of inspect, check, verify and diff within the terminal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "broken_source.h"
#include "cli/environment.h"
#include "harness.h"
#include "util/layout.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

/// A name that is longer than the terminal may stand in a line of its own.
void expect_to_fit(const std::string& text, std::size_t columns) {
    for (const std::string& line : lines_of(text)) {
        const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
        const bool is_one_word = line.find(' ', begin) == std::string::npos;
        EXPECT_TRUE(shown_width(line) <= columns || is_one_word) << columns << ": " << line;
        EXPECT_EQ(line.find('\x01'), std::string::npos) << line;
    }
}

/// Short paths, wherever the checkout lies.
class Terminal : public testing::TestWithParam<std::size_t> {
 protected:
    void run(const std::vector<std::string>& arguments, std::set<int> statuses = {0}) {
        harness_.columns = GetParam();
        const int status = harness_.run(arguments);
        EXPECT_TRUE(statuses.contains(status)) << arguments.front() << ": " << harness_.error();
        expect_to_fit(harness_.out(), GetParam());
    }

    Harness harness_;
};

TEST_P(Terminal, TextsOfEveryFixtureFit) {
    const std::string config = (harness_.directory() / "c.json").string();
    ASSERT_TRUE(io::write_whole_file(config, R"({"fp16": {"enabled": true}, "zero_optimization": {"stage": 2}})"));
    for (const fs::path& fixture : fixtures_of_one_thread()) {
        const std::string source = (harness_.directory() / "run").string();
        fs::create_directory_symlink(fixture, source);
        SCOPED_TRACE(fixture.string());
        run({"inspect", source, "--params", "--dp-size=5"});
        run({"check", source, "--dp-size=3", "--ds-config", config}, {0, 1});
        run({"diff", source, (fixtures / "stage1_bf16_ws3").string()}, {0, 1, 5});
        fs::remove(source);
    }
    run({"verify", (fixtures / "stage3_groups_ws3").string(), "--view=weights-bf16"});
}

TEST_P(Terminal, ProblemsFitToo) {
    const fs::path source = harness_.copy("stage1_bf16_ws3", "run");
    fs::copy(source / tag_name(source), source / "a tag with spaces", fs::copy_options::recursive);
    fs::remove(source / "a tag with spaces" / rank_1);
    flip_byte(source / tag_name(source) / rank_1, state_offset(source / tag_name(source), rank_1, "exp_avg"));
    run({"inspect", source.string()});
    EXPECT_THAT(harness_.out(), HasSubstr("a tag with spaces"));
    run({"verify", source.string()}, {1});
    EXPECT_THAT(harness_.out(), HasSubstr("problem:"));
}

INSTANTIATE_TEST_SUITE_P(Columns, Terminal, testing::Values(80, 100, 200));

TEST(TerminalWords, NumbersAreNotWrittenToTheLastDigit) {
    Harness harness;
    harness.columns = 80;
    ASSERT_EQ(harness.run({"inspect", (fixtures / "stage2_bf16_ws4").string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("lr 0.00301, betas [0.9, 0.999], eps 1e-08\n")) << "what all groups have";
    EXPECT_THAT(harness.out(), HasSubstr("5 on rank 3  weight_decay 0.05\n"));
}

TEST(TerminalWords, AViewThatHasNoPlaceIsNoNoise) {
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", (fixtures / "stage1_bf16_ws3").string()}), 0);
    EXPECT_THAT(harness.out(), Not(HasSubstr("lightning")));
    // Where it could stand, it says why it does not.
    const fs::path source = harness.directory() / "run.ckpt";
    fs::create_directory(source);
    const fs::path fixture = fixtures / "tensor_parallel_stage1_ws4";
    fs::create_directory_symlink(fixture / tag_name(fixture), source / "checkpoint");
    ASSERT_EQ(harness.run({"inspect", source.string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("lightning: "));
}

TEST(TerminalWords, AReasonThatSeveralViewsShareIsSaidOnce) {
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", (fixtures / "tensor_parallel_stage1_ws4").string()}), 0);
    const std::string out = harness.out();
    const std::string reason = "it does not say how the slices";
    ASSERT_THAT(out, HasSubstr(reason));
    EXPECT_EQ(out.find(reason, out.find(reason) + 1), std::string::npos) << out;
}

TEST(TerminalWords, AProblemIsSaidOnceWhereBothStreamsLeadToTheSame) {
    Harness harness;
    harness.streams_are_one = true;
    const std::string config = (harness.directory() / "config.json").string();
    ASSERT_TRUE(io::write_whole_file(config, R"({"bf16": {"enabled": true}, "zero_optimization": {"stage": 3}})"));
    const std::vector<std::string> check{"check", (fixtures / "stage2_bf16_ws4").string(), "--world-size=2",
                                         "--ds-config", config};
    ASSERT_EQ(harness.run(check), 1);
    EXPECT_THAT(harness.out(), HasSubstr("the checkpoint is of stage 2"));
    EXPECT_THAT(harness.error(), testing::AllOf(HasSubstr("see above"), Not(HasSubstr("of stage 2"))));
    harness.streams_are_one = false;
    ASSERT_EQ(harness.run(check), 1);
    EXPECT_THAT(harness.error(), HasSubstr("the checkpoint is of stage 2")) << "who reads one stream alone";
}

TEST(TerminalWords, ColumnsAreTheVariablesElseTheTerminals) {
    std::map<std::string, std::string> variables;
    const share::Variables variable = [&](const std::string& name) {
        const auto found = variables.find(name);
        return found == variables.end() ? std::nullopt : std::optional(found->second);
    };
    EXPECT_EQ(columns(variable, 0), 80U);
    EXPECT_EQ(columns(variable, 120), 120U);
    variables["COLUMNS"] = "100";
    EXPECT_EQ(columns(variable, 120), 100U);
    EXPECT_EQ(columns(variable, 0), 100U);
    variables["COLUMNS"] = "7";
    EXPECT_EQ(columns(variable, 0), 40U);
    variables["COLUMNS"] = "9000000000";
    EXPECT_EQ(columns(variable, 0), 1'000U);
    Harness harness;
    harness.columns = columns(variable, 0);
    ASSERT_EQ(harness.run({"inspect", (fixtures / "stage2_bf16_ws4").string(), "--world-size=3"}), 0);
    expect_to_fit(harness.out(), 1'000);
    for (const char* none : {"", "0", "wide", "-1"}) {
        variables["COLUMNS"] = none;
        EXPECT_EQ(columns(variable, 90), 90U) << none;
    }
}

}  // namespace
}  // namespace ckptfs::cli::test
