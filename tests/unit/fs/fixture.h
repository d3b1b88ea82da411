// A file system over a MemorySource, with a clock that stands still until a test moves it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "fakes.h"
#include "util/log.h"

namespace ckptfs::fake {

class FileSystemTest : public ::testing::Test {
 protected:
    void SetUp() override {
        log_ = std::filesystem::temp_directory_path() / ("ckptfs_fs_test_" + std::to_string(::getpid()) + ".log");
        ASSERT_TRUE(log::to_file(log_.string()).ok());
        source_->put_file("latest", "step1");
        source_->put_directory("plain");
        source_->put_file("plain/notes", "some notes");
        source_->put_symlink("link", "plain");
        source_->put_special("fifo");
        source_->put_directory("step1");
        source_->put_file("step1/a.shard", "AAA");
        source_->put_file("step1/b.shard", "BBB");
        source_->put_file("step1/readme", "kept");
    }
    void TearDown() override {
        log::to_stderr();
        std::filesystem::remove(log_);
    }

    std::unique_ptr<FileSystem> make(std::optional<std::uint64_t> world_size) {
        FileSystemOptions options;
        if (world_size) {
            options.request = ViewRequest::at_world_size(*world_size);
        }
        return make(std::move(options));
    }
    std::unique_ptr<FileSystem> make(FileSystemOptions options) {
        options.now = [this] {
            ++clock_looks_;
            return std::chrono::steady_clock::time_point(std::chrono::milliseconds(now_ms_));
        };
        options.wall_now_ns = [this] { return wall_now_ns_.load(); };
        options.sleep = [this](std::chrono::milliseconds duration) {
            slept_ms_ += static_cast<int>(duration.count());
            while_asleep_();
        };
        return FileSystem::create(source_, reader_, std::move(options)).value();
    }
    void pass(int ms) { now_ms_ += ms; }
    /// Every lookup in a directory looks at the clock before anything else: so many have begun.
    [[nodiscard]] int clock_looks() const { return clock_looks_; }

    static LookedUpEntry walk(FileSystem& fs, const std::string& path) {
        LookedUpEntry entry;
        entry.attributes.inode = root_inode;
        std::istringstream parts(path);
        std::string part;
        while (std::getline(parts, part, '/')) {
            const auto found = fs.lookup(entry.attributes.inode, part);
            EXPECT_EQ(found.error, 0) << path << " at " << part;
            entry = found.value;
        }
        return entry;
    }
    static std::uint64_t inode(FileSystem& fs, const std::string& path) { return walk(fs, path).attributes.inode; }

    static std::vector<std::string> names(FileSystem& fs, std::uint64_t inode) {
        std::vector<std::string> found;
        const auto opened = fs.opendir(inode);
        EXPECT_EQ(opened.error, 0);
        EXPECT_TRUE(fs.readdir(opened.value, 0, [&](const ListedEntry& entry) {
                          found.emplace_back(entry.name);
                          return true;
                      }).ok());
        fs.releasedir(opened.value);
        return found;
    }
    static Outcome<std::string> read_all(FileSystem& fs, std::uint64_t inode) {
        const auto opened = fs.open(inode);
        if (!opened.ok()) {
            return Errno{opened.error};
        }
        auto content = read_handle(fs, opened.value.handle);
        fs.release(opened.value.handle);
        return content;
    }
    static Outcome<std::string> read_handle(FileSystem& fs, std::uint64_t handle) {
        std::string content(1000, '?');
        const auto got = fs.read(handle, 0, std::as_writable_bytes(std::span(content)));
        if (!got.ok()) {
            return Errno{got.error};
        }
        content.resize(got.value);
        return content;
    }

    /// Lines of the log that contain `text`.
    [[nodiscard]] int logged(const std::string& text) const {
        std::ifstream log(log_);
        std::string line;
        int count = 0;
        while (std::getline(log, line)) {
            count += line.find(text) != std::string::npos ? 1 : 0;
        }
        return count;
    }

    std::shared_ptr<MemorySource> source_ = std::make_shared<MemorySource>();
    std::shared_ptr<ShardReader> reader_ = std::make_shared<ShardReader>();
    std::atomic<int> now_ms_ = 1'000'000;
    std::atomic<int> clock_looks_ = 0;
    std::atomic<std::int64_t> wall_now_ns_ = 1'000'000'000'000'000'000;  // long after every time of MemorySource
    std::atomic<int> slept_ms_ = 0;
    std::function<void()> while_asleep_ = [] {};
    std::filesystem::path log_;
};

}  // namespace ckptfs::fake
