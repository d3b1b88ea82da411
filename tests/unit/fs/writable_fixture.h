// A FileSystem that writes a directory, with tags that know no ZeRO and a clock that a test moves.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "fs/file_system.h"
#include "io/posix_source.h"
#include "support/cut_tags.h"
#include "support/faulty_system_calls.h"
#include "support/program.h"
#include "support/temporary_directory.h"
#include "util/log.h"

namespace ckptfs::test {

/// Mounts of one SOURCE. `file_system_` shows it at world size 2.
class WritableTest : public ::testing::Test {
 protected:
    static constexpr std::uint64_t own_size = 2;

    void SetUp() override { ASSERT_TRUE(log::to_file(log_ / "log").ok()); }
    void TearDown() override { log::to_stderr(); }

    std::unique_ptr<FileSystem> make(std::uint64_t world_size, bool in_place = false, bool allow_other = false) {
        const auto source = io::DirectorySource::open_directory(directory_.path(), calls_).value();
        FileSystemOptions options;
        options.request = ViewRequest::at_world_size(world_size);
        options.writer = source->writer();
        options.in_place = in_place;
        options.allow_other = allow_other;
        options.now = [this] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(now_ms_)); };
        // Files have the time of the system, which does not stand still: they settle as fast as this clock goes.
        options.wall_now_ns = [this] { return system_time_ns() + std::int64_t{now_ms_ - start_ms} * 1'000'000; };
        options.sleep = [this](std::chrono::milliseconds duration) { slept_ms_ += static_cast<int>(duration.count()); };
        return FileSystem::create(source, reader_, std::move(options)).value();
    }
    void pass(int ms) { now_ms_ += ms; }
    /// Until what was written through the mount is looked at.
    void settle() { pass(2'100); }

    /// Writes in SOURCE, past the mount, as a trainer of `world_size` ranks.
    void save_in_source(const std::string& tag, std::uint64_t world_size, const std::string& save) {
        std::filesystem::create_directories(directory_ / tag);
        for (const auto& [name, text] : saved_files(world_size, save)) {
            directory_.write(tag + "/" + name, text);
        }
        pass(1'000);
    }
    [[nodiscard]] std::set<std::string> in_source(const std::string& path = "") const {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(directory_ / path)) {
            names.insert(entry.path().filename());
        }
        return names;
    }
    [[nodiscard]] std::string source_text(const std::string& path) const { return file_bytes(directory_ / path); }
    [[nodiscard]] struct stat source_stat(const std::string& path) const {
        struct stat status {};
        EXPECT_EQ(::lstat((directory_ / path).c_str(), &status), 0) << path;
        return status;
    }

    static constexpr int start_ms = 1'000'000;

    TemporaryDirectory directory_;
    TemporaryDirectory log_;
    std::shared_ptr<FaultySystemCalls> calls_ = std::make_shared<FaultySystemCalls>();
    std::shared_ptr<CutReader> reader_ = std::make_shared<CutReader>();
    std::atomic<int> now_ms_ = start_ms;
    std::atomic<int> slept_ms_ = 0;
    std::unique_ptr<FileSystem> file_system_ = make(own_size);
    Program program_{*file_system_};
};

/// "tag" is cut for 4 ranks, the mount is of 2.
class RecutTagTest : public WritableTest {
 protected:
    void SetUp() override {
        WritableTest::SetUp();
        save_in_source("tag", 4, "s1");
        directory_.write("tag/readme", "kept");
        directory_.write("other", "others");
    }
    static std::string cut(const std::string& name) { return cut_text(name, own_size, 4, "s1"); }
    void expect_unchanged() {
        EXPECT_THAT(in_source("tag"), ::testing::UnorderedElementsAre("model.shard", "rank_0.shard", "rank_1.shard",
                                                                      "rank_2.shard", "rank_3.shard", "readme"));
        EXPECT_EQ(source_text("tag/rank_0.shard"), "4 s1 rank 0");
        EXPECT_EQ(program_.read("tag/rank_0.shard").value, cut("rank_0.shard"));
    }
};

}  // namespace ckptfs::test
