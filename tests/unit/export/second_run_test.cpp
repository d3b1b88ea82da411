// Exports that did not come to their end, and what a second run makes of what they left.
#include "export/journal.h"
#include "fixture.h"
#include "support/effort.h"

namespace ckptfs::exporting::test {
namespace {

using testing::HasSubstr;
using How = BreakingCalls::How;

TEST_F(ExportTest, AnyCallMayFailAndASecondRunEndsIt) {
    BreakingCalls counting;
    ASSERT_TRUE(run(counting).ok());
    const std::size_t most = counting.count();
    ASSERT_GT(most, 40U);
    for (std::size_t at = 1; at <= most; at += unless_looking_for_races(1, 7)) {
        const int failure = at % 2 == 0 ? ENOSPC : EIO;
        SCOPED_TRACE(std::to_string(failure) + " at call " + std::to_string(at) + " of " + std::to_string(most));
        std::filesystem::remove_all(request_.destination);
        std::filesystem::remove_all(partial());
        warnings_.clear();
        const auto done = run(BreakingCalls(at, How::fails, failure));
        if (!done.ok()) {
            EXPECT_EQ(done.error().code(), ErrorCode::io) << done.error().message();
            EXPECT_EQ(done.error().system_errno(), failure);
            EXPECT_EQ(failure == ENOSPC, done.error().message().find("make room") != std::string::npos);
        }
        if (!is_there()) {
            ASSERT_FALSE(done.ok());
            const auto again = run(BreakingCalls());
            ASSERT_TRUE(again.ok()) << again.error().message();
        } else if (std::filesystem::exists(partial())) {  // it had its name, and only clearing up was left
            EXPECT_NE(done.ok(), warnings_.empty());
            const auto again = run(BreakingCalls());
            ASSERT_TRUE(again.ok() || !std::filesystem::exists(partial() + "/.ckptfs-export.manifest"))
                << again.error().message();
            std::filesystem::remove_all(partial());
        }
        expect_exported();
    }
}

TEST_F(ExportTest, AKillAtAnyCallLeavesNothingHalfWrittenUnderItsName) {
    BreakingCalls counting;
    ASSERT_TRUE(run(counting).ok());
    const std::size_t most = counting.count();
    bool has_saved_work = false;
    for (const bool power_is_lost : {false, true}) {
        for (std::size_t at = 1; at <= most; at += unless_looking_for_races(1, 7)) {
            SCOPED_TRACE((power_is_lost ? "power lost" : "killed") + (" at call " + std::to_string(at)));
            std::filesystem::remove_all(request_.destination);
            std::filesystem::remove_all(partial());
            BreakingCalls calls(at, How::is_killed, EIO);
            const auto done = run(calls);
            if (power_is_lost) {
                calls.lose_power(at);
            }
            if (!is_there()) {
                ASSERT_FALSE(done.ok());
                const auto again = run(BreakingCalls());
                ASSERT_TRUE(again.ok()) << again.error().message();
                has_saved_work = has_saved_work || counters_.earlier > 0;
                EXPECT_EQ(counters_.earlier + counters_.written(), counters_.total);
            }
            std::filesystem::remove_all(partial());
            expect_exported();
        }
    }
    EXPECT_TRUE(has_saved_work);
}

TEST_F(ExportTest, FinishedFilesAreNotOpenedAgain) {
    request_.jobs = 1;
    request_.memory_nbytes = 1U << 17U;
    std::vector<std::string> opened;
    tree_->before_open = [&](const std::string& path) { opened.push_back(path); };
    constexpr std::size_t looked_at = 6;  // all of them, before anything is written
    stops_ = [&] { return opened.size() > looked_at + 3; };
    const auto stopped = run(BreakingCalls());
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.error().system_errno(), EINTR);
    EXPECT_FALSE(is_there());
    const std::vector<std::string> first = opened;
    opened.clear();
    stops_ = [] { return false; };
    ASSERT_TRUE(run(BreakingCalls()).ok());
    EXPECT_GT(counters_.earlier, 0U);
    EXPECT_EQ(counters_.earlier + counters_.written(), counters_.total);
    const std::string& finished = first[looked_at];
    EXPECT_EQ(std::count(opened.begin(), opened.end(), finished), 1) << finished;
    EXPECT_EQ(std::count(opened.begin(), opened.end(), first.back()), 2) << first.back();
    tree_->before_open = [](const std::string&) {};
    expect_exported();
}

TEST_F(ExportTest, SegmentsOfALargeFileAreGoneOnWith) {
    request_.jobs = 1;
    request_.memory_nbytes = 1U << 17U;
    const std::uint64_t size = (*tree_->open("step5/shard.pt"))->size();
    for (const bool punches : {true, false}) {
        std::filesystem::remove_all(request_.destination);
        int asked = 0;
        // In the last segment.
        stops_ = [&] { return counters_.phase == Phase::writing && ++asked > 4; };
        ASSERT_FALSE(run(BreakingCalls()).ok());
        stops_ = [] { return false; };
        BreakingCalls calls;
        calls.punches = punches;
        const auto done = run(calls);
        ASSERT_TRUE(done.ok()) << done.error().message();
        EXPECT_GE(counters_.earlier, request_.segment_nbytes);
        EXPECT_LT(counters_.earlier, size);
        expect_exported();
    }
}

TEST_F(ExportTest, ASourceThatChangesBetweenRunsIsRefused) {
    stops_ = [&] { return counters_.phase == Phase::writing; };
    ASSERT_FALSE(run(WriteCalls()).ok());
    stops_ = [] { return false; };
    tree_->change("latest");
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(refused.error().message(), HasSubstr(partial() + "' was begun before 'latest' changed: remove that"));
    std::filesystem::remove_all(partial());
    EXPECT_TRUE(run(WriteCalls()).ok());
}

TEST_F(ExportTest, WhatHasGoneSinceItWasRecordedIsWrittenAnew) {
    class WithoutTheLastStep final : public WriteCalls {
     public:
        int rename(const std::string& from, const std::string& to) const override {
            return from.ends_with("/content") ? -EIO : WriteCalls::rename(from, to);
        }
    };
    const std::string finished = partial() + "/content/run.py";
    const std::string elsewhere = directory_ / "elsewhere";
    for (const auto& change : std::vector<std::function<void()>>{
             [&] { std::filesystem::remove(finished); },
             [&] { std::filesystem::resize_file(finished, 1); },
             [&] {
                 std::filesystem::rename(finished, elsewhere);
                 std::filesystem::create_symlink(elsewhere, finished);
             },
             [&] { std::filesystem::remove_all(partial() + "/content/step5"); },
         }) {
        ASSERT_FALSE(run(WithoutTheLastStep()).ok());
        change();
        warnings_.clear();
        const auto done = run(WriteCalls());
        ASSERT_TRUE(done.ok()) << done.error().message();
        EXPECT_THAT(warnings_, testing::Each(HasSubstr("since an earlier run wrote it, and is written anew")));
        EXPECT_FALSE(warnings_.empty());
        EXPECT_GT(counters_.earlier, 0U);
        EXPECT_GT(counters_.written(), 0U);
        expect_exported();
        std::filesystem::remove_all(request_.destination);
    }
    EXPECT_EQ(file_bytes(elsewhere), *read_all(**tree_->open("run.py")));
    ASSERT_FALSE(run(WithoutTheLastStep()).ok());
    ASSERT_TRUE(run(WriteCalls()).ok());
    EXPECT_EQ(counters_.earlier, counters_.total);
    expect_exported();
}

TEST_F(ExportTest, AJournalOfSomethingElseIsRefused) {
    for (const JournalEntry& entry :
         {JournalEntry{JournalEntry::Kind::complete, 99'999}, JournalEntry{JournalEntry::Kind::segment, 0, 99'999}}) {
        stops_ = [&] { return counters_.phase == Phase::writing; };
        ASSERT_FALSE(run(WriteCalls()).ok());
        stops_ = [] { return false; };
        std::ofstream(partial() + "/.ckptfs-export.journal", std::ios::app) << journal_line(entry);
        const auto refused = run(WriteCalls());
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("has a journal of something else: remove that directory"));
        std::filesystem::remove_all(partial());
    }
}

TEST_F(ExportTest, AnotherRequestIsRefused) {
    stops_ = [&] { return counters_.phase == Phase::writing; };
    ASSERT_FALSE(run(WriteCalls()).ok());
    request_.settings = {{"--view", "states"}};
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(refused.error().message(), HasSubstr("with --view=weights, and this is with --view=states"));
}

TEST_F(ExportTest, WhatComesBackOtherwiseIsFoundAndWrittenAnew) {
    request_.verify = true;
    BreakingCalls calls;
    calls.copies = false;
    ASSERT_TRUE(run(calls).ok());
    EXPECT_EQ(counters_.verified, counters_.total);
    std::filesystem::remove_all(request_.destination);

    calls.garbles = true;
    const auto wrong = run(calls);
    ASSERT_FALSE(wrong.ok());
    EXPECT_EQ(wrong.error().code(), ErrorCode::verification) << wrong.error().message();
    EXPECT_FALSE(is_there());
    const auto again = run(calls);
    ASSERT_TRUE(again.ok()) << again.error().message();
    EXPECT_GT(counters_.earlier, 0U);
    EXPECT_GT(counters_.written(), 0U);
    expect_exported();
}

TEST_F(ExportTest, AnArchiveThatHasLostItsEndBetweenRunsIsFoundAndWrittenAnew) {
    request_.verify = true;
    stops_ = [&] { return counters_.phase == Phase::verifying; };
    ASSERT_FALSE(run(WriteCalls()).ok());
    stops_ = [] { return false; };
    {
        std::fstream file(partial() + "/content/step5/shard.pt", std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(-10, std::ios::end);
        file << std::string(10, '\0');
    }
    const auto damaged = run(WriteCalls());
    ASSERT_FALSE(damaged.ok());
    EXPECT_EQ(damaged.error().code(), ErrorCode::verification) << damaged.error().message();
    ASSERT_TRUE(run(WriteCalls()).ok());
    expect_exported();
}

}  // namespace
}  // namespace ckptfs::exporting::test
