// Where lines of the log go, which there are, and how they look.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/temporary_directory.h"
#include "util/log.h"

namespace ckptfs {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class LogFile : public testing::Test {
 protected:
    ~LogFile() override {
        log::set_level(log::Level::info);
        log::flush_held_back();
        log::to_stderr();
    }
    void open(log::Format format = log::Format::text) const {
        ASSERT_TRUE(log::to_file(directory_ / "log", format).ok());
    }
    [[nodiscard]] std::vector<std::string> lines(const std::string& name = "log") const {
        std::vector<std::string> result;
        std::istringstream stream(test::file_bytes(directory_ / name));
        for (std::string line; std::getline(stream, line);) {
            result.push_back(line);
        }
        return result;
    }

    const test::TemporaryDirectory directory_;
};

TEST_F(LogFile, AMissingDirectoryIsAnErrorAndStaysMissing) {
    const auto opened = log::to_file(directory_ / "missing/log");
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(opened.error().message(), HasSubstr("is not a directory"));
    EXPECT_FALSE(std::filesystem::exists(directory_ / "missing"));
}

TEST_F(LogFile, ALineArrivesWithItsLevel) {
    open();
    log::warn("a line");
    EXPECT_THAT(lines(), ElementsAre(HasSubstr(" warning a line")));
}

TEST_F(LogFile, TheLevelSaysWhichLinesThereAre) {
    open();
    log::debug("not yet");
    log::set_level(log::Level::debug);
    log::debug("now");
    log::set_level(log::Level::error);
    log::info("no");
    log::warn("neither");
    log::error("yes");
    EXPECT_THAT(lines(), ElementsAre(HasSubstr(" debug now"), HasSubstr(" error yes")));
}

TEST_F(LogFile, LevelsHaveTheWordsOfTheirLines) {
    for (const auto level : {log::Level::debug, log::Level::info, log::Level::warning, log::Level::error}) {
        EXPECT_EQ(log::level_called(log::name_of(level)), level);
    }
    EXPECT_EQ(log::level_called("warn"), std::nullopt);
}

TEST_F(LogFile, LinesOfJsonHoldAnyText) {
    open(log::Format::json);
    const std::string message = "a \"file\"\n{} \\ of \x07 and \xff";
    log::error(message);
    ASSERT_EQ(lines().size(), 1U);
    const auto line = nlohmann::json::parse(lines().front());
    EXPECT_EQ(line.at("level"), "error");
    EXPECT_EQ(line.at("message"), "a \"file\"\n{} \\ of \x07 and \xef\xbf\xbd");
    EXPECT_THAT(line.at("time").get<std::string>(), testing::MatchesRegex("....-..-..T..:..:..\\....[+-]..:.."));
}

TEST_F(LogFile, AFileThatWasPutAsideIsLeftWhenTheLogIsReopened) {
    open();
    log::info("before");
    std::filesystem::rename(directory_ / "log", directory_ / "log.1");
    log::info("still there");
    EXPECT_TRUE(log::reopen());
    log::info("after");
    EXPECT_THAT(lines("log.1"), ElementsAre(HasSubstr("before"), HasSubstr("still there")));
    EXPECT_THAT(lines(), ElementsAre(HasSubstr("after")));
}

TEST_F(LogFile, ALogThatCannotBeReopenedGoesOnWhereItWas) {
    open();
    std::filesystem::create_directory(directory_ / "aside");
    std::filesystem::rename(directory_ / "log", directory_ / "aside/log");
    std::filesystem::create_directory(directory_ / "log");
    EXPECT_FALSE(log::reopen());
    log::info("after");
    EXPECT_THAT(lines("aside/log"), ElementsAre(HasSubstr("cannot be opened again"), HasSubstr("after")));
}

TEST_F(LogFile, AFifoIsNoLogFile) {
    open();
    std::filesystem::rename(directory_ / "log", directory_ / "log.1");
    ASSERT_EQ(::mkfifo((directory_ / "log").c_str(), 0600), 0);
    EXPECT_FALSE(log::reopen());
    EXPECT_THAT(lines("log.1"), ElementsAre(HasSubstr("it is a fifo by now")));
    const auto begun = log::to_file(directory_ / "log");
    ASSERT_FALSE(begun.ok());
    EXPECT_THAT(begun.error().message(), HasSubstr("it is a fifo"));
}

TEST_F(LogFile, ARepeatedErrorIsWrittenOnceAndCounted) {
    open();
    for (int i = 0; i < 5; ++i) {
        log::error("the disk is gone");
        log::info("an event");
    }
    const auto before = lines();
    EXPECT_EQ(std::count_if(before.begin(), before.end(), [](const auto& line) { return line.ends_with("gone"); }), 1);
    EXPECT_EQ(before.size(), 6U) << "events are never held back";
    log::flush_held_back();
    EXPECT_THAT(lines().back(), AllOf(HasSubstr(" warning 4 times more"), HasSubstr("the disk is gone")));
    EXPECT_GE(log::lines_held_back(), 4U);
}

TEST_F(LogFile, TheLastLinesAreKept) {
    open();
    EXPECT_THAT(log::last_lines(), IsEmpty());
    for (int i = 0; i < 300; ++i) {
        log::info("line " + std::to_string(i) + " of many");
    }
    EXPECT_THAT(log::last_lines(),
                AllOf(HasSubstr("line 100 of"), HasSubstr("line 299 of"), Not(HasSubstr("line 99 of"))));
}

}  // namespace
}  // namespace ckptfs
