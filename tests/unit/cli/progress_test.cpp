// What is said on a terminal while commands go on.
#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "broken_source.h"
#include "harness.h"

namespace ckptfs::cli::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* line_begin = "\r\x1b[K";

/// Opens after the first when something has been printed, or when nobody prints.
class SlowSource final : public Source {
 public:
    SlowSource(std::shared_ptr<const Source> source, std::function<void()> wait)
        : source_(std::move(source)), wait_(std::move(wait)) {}

    [[nodiscard]] std::string display(std::string_view path) const override { return source_->display(path); }
    Result<FileInfo> stat(const std::string& path) const override { return source_->stat(path); }
    Result<FileInfo> stat_target(const std::string& path) const override { return source_->stat_target(path); }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override { return source_->list(path); }
    Result<std::string> read_link(const std::string& path) const override { return source_->read_link(path); }
    Result<std::string> resolve(const std::string& path) const override { return source_->resolve(path); }
    Result<std::shared_ptr<const File>> open(const std::string& path) const override {
        if (path.ends_with("optim_states.pt")) {
            wait_();
        }
        return source_->open(path);
    }

 private:
    std::shared_ptr<const Source> source_;
    std::function<void()> wait_;
};

class ProgressOfCommands : public testing::Test {
 protected:
    ProgressOfCommands() {
        harness_.error_columns = [this] {
            const std::lock_guard lock(mutex_);
            printed_ = true;
            changed_.notify_all();
            return std::size_t{80};
        };
        harness_.open_source = [this](const std::string& path) -> Result<std::shared_ptr<const Source>> {
            CKPTFS_ASSIGN(auto source, ckptfs::open_directory(path));
            return std::shared_ptr<const Source>(std::make_shared<const SlowSource>(std::move(source), [this] {
                std::unique_lock lock(mutex_);
                // The limit ends a test that would hang; nothing depends on how long anything takes.
                changed_.wait_for(lock, std::chrono::seconds(60), [this] { return printed_ || !waits_; });
            }));
        };
    }

    void run(const std::vector<std::string>& arguments, bool is_terminal) {
        harness_.error_is_terminal = is_terminal;
        printed_ = false;
        waits_ = is_terminal;
        EXPECT_EQ(harness_.run(arguments), 0) << harness_.error();
    }

    Harness harness_;

 private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool printed_ = false;
    bool waits_ = true;
};

TEST_F(ProgressOfCommands, IsOneLineOnATerminalAndNothingElsewhere) {
    const std::string source = (fixtures / "stage1_bf16_ws3").string();
    const std::string config = (harness_.directory() / "config.json").string();
    ASSERT_TRUE(io::write_whole_file(config, R"({"bf16": {"enabled": true}, "zero_optimization": {"stage": 1}})"));
    const std::vector<std::vector<std::string>> commands{
        {"inspect", source},
        {"inspect", source, "--world-size=2", "--html", (harness_.directory() / "page.html").string()},
        {"verify", source},
        {"check", source, "--world-size=2", "--ds-config", config},
        {"diff", source, source}};
    for (const std::vector<std::string>& command : commands) {
        SCOPED_TRACE(command.front());
        run(command, false);
        EXPECT_EQ(harness_.error(), "");
        const std::string out = harness_.out();
        run(command, true);
        EXPECT_EQ(harness_.out(), out);
        EXPECT_THAT(harness_.error(), testing::StartsWith(line_begin));
        EXPECT_THAT(harness_.error(), testing::EndsWith(line_begin)) << "the line is gone at the end";
        EXPECT_THAT(harness_.error(), Not(HasSubstr("\n")));
        EXPECT_THAT(harness_.error(), testing::AnyOf(HasSubstr("reading "), HasSubstr("looking for ")));
    }
}

TEST_F(ProgressOfCommands, CountsTheFilesOfTheTag) {
    run({"inspect", (fixtures / "stage1_bf16_ws3").string()}, true);
    EXPECT_THAT(harness_.error(), testing::ContainsRegex("reading global_step2: [1-4] of 4 files"));
}

}  // namespace
}  // namespace ckptfs::cli::test
