// What a checkpoint of many ranks costs at its source: looks and reads grow with files, not with files times ranks.
#include <gtest/gtest.h>
#include <utime.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "fs/file_system.h"
#include "fs/tag_generation.h"
#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "view/zero_tag.h"

namespace ckptfs {
namespace {

constexpr std::uint64_t ranks = 1024;
const std::string tag_name = "global_step2";

std::shared_ptr<const Source> opened(const std::string& path) {
    auto source = io::DirectorySource::open_directory(path);
    EXPECT_TRUE(source.ok());
    return *source;
}

/// A whole checkpoint of stage 3 at 1,024 ranks: a small one, cut anew by its own view.
class Ranks1024 : public testing::Test {
 protected:
    static void SetUpTestSuite() {
        directory_ = new test::TemporaryDirectory;
        std::filesystem::create_directory(tag_path());
        std::ofstream(*directory_ / "latest") << tag_name;
        saved_ = new Files(files_at(ranks));
        save(*saved_);
    }
    static void TearDownTestSuite() {
        delete saved_;
        saved_ = nullptr;
        delete directory_;
        directory_ = nullptr;
    }
    static std::string tag_path() { return *directory_ / tag_name; }

    using Files = std::vector<std::pair<std::string, std::string>>;  // name and bytes

    static Files files_at(std::uint64_t world_size) {
        Files files;
        const auto source = opened((test_data() / "zero" / "stage3_groups_ws3").string());
        const auto tag = view::zero_tag_reader({})->read(*source, tag_name);
        const auto view = tag->show(ViewRequest::at_world_size(world_size));
        EXPECT_TRUE(view.ok());
        for (std::size_t i = 0; i < (*view)->file_count(); ++i) {
            const auto file = (*view)->open(i).value();
            std::string bytes(file->size(), '\0');
            EXPECT_TRUE(file->read(0, std::as_writable_bytes(std::span(bytes))).ok());
            files.emplace_back((*view)->file_name(i), std::move(bytes));
        }
        return files;
    }
    /// In place, as a save over the tag does it.
    static void save(const Files& files) {
        for (const auto& [name, bytes] : files) {
            directory_->write(tag_name + "/" + name, bytes);
        }
    }
    static void set_age(const std::string& name, std::time_t seconds) {
        const utimbuf times{seconds, seconds};
        ASSERT_EQ(::utime((tag_path() + "/" + name).c_str(), &times), 0);
    }
    static std::string optimizer(std::uint64_t rank) {
        return "bf16_zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_optim_states.pt";
    }
    static std::string model_states(std::uint64_t rank) {
        return "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_model_states.pt";
    }

    /// A file system whose clock stands still.
    std::unique_ptr<FileSystem> mounted(std::uint64_t world_size) {
        source_ = std::make_shared<io::CountingSource>(opened(directory_->path()));
        FileSystemOptions options;
        options.request = ViewRequest::at_world_size(world_size);
        options.now = [this] { return now_; };
        options.wall_now_ns = [] { return system_time_ns() + std::int64_t{3'600'000'000'000}; };  // all has settled
        auto made = FileSystem::create(source_, view::zero_tag_reader({}), std::move(options));
        EXPECT_TRUE(made.ok());
        return std::move(made).value();
    }
    static std::uint64_t inode(FileSystem& fs, const std::string& name) {
        const auto tag = fs.lookup(root_inode, tag_name);
        EXPECT_TRUE(tag.ok());
        const auto file = fs.lookup(tag.value.attributes.inode, name);
        EXPECT_TRUE(file.ok()) << name;
        return file.value.attributes.inode;
    }
    static int open_error(FileSystem& fs, std::uint64_t inode) {
        const auto file = fs.open(inode);
        if (file.ok()) {
            fs.release(file.value.handle);
        }
        return file.error;
    }
    [[nodiscard]] std::uint64_t looks() const {
        const io::WorkCounters& counters = source_->counters();
        return counters.stats + counters.lists + counters.opens + counters.checks;
    }

    std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
    std::shared_ptr<io::CountingSource> source_;

    static test::TemporaryDirectory* directory_;
    static Files* saved_;
};

test::TemporaryDirectory* Ranks1024::directory_ = nullptr;
Ranks1024::Files* Ranks1024::saved_ = nullptr;

TEST_F(Ranks1024, EverythingOpenedOnceByNameLooksAtTheSourceInProportionToFiles) {
    for (const std::uint64_t world_size : {ranks, std::uint64_t{512}, std::uint64_t{2}}) {
        const auto fs = mounted(world_size);
        const io::WorkCounters& counters = source_->counters();
        inode(*fs, model_states(0));
        const std::uint64_t looks_to_mount = looks();
        const std::uint64_t reads_to_mount = counters.reads;
        RecordProperty("stats_to_mount_at_" + std::to_string(world_size), static_cast<int>(counters.stats));
        RecordProperty("checks_to_mount_at_" + std::to_string(world_size), static_cast<int>(counters.checks));
        RecordProperty("reads_to_mount_at_" + std::to_string(world_size), static_cast<int>(reads_to_mount));
        EXPECT_LE(looks_to_mount, 12 * 2 * ranks) << "files of " << world_size;
        EXPECT_LE(reads_to_mount, 8 * 2 * ranks);
        const std::uint64_t stats = counters.stats;
        const std::uint64_t lists = counters.lists;
        for (std::uint64_t rank = 0; rank < world_size; ++rank) {
            for (const std::string& name : {model_states(rank), optimizer(rank)}) {
                ASSERT_EQ(open_error(*fs, inode(*fs, name)), 0) << name;
            }
        }
        const std::uint64_t opened = 2 * world_size;
        RecordProperty("stats_at_" + std::to_string(world_size), static_cast<int>(counters.stats - stats));
        // Each looks at what tells of a save, and at the shards behind it: each shard is behind few files.
        EXPECT_LE(counters.stats - stats, 3 * (opened + 2 * ranks)) << world_size;
        EXPECT_GE(counters.stats - stats, opened) << "each open looks";
        EXPECT_EQ(counters.lists, lists);
        EXPECT_LE(counters.reads - reads_to_mount, opened);
    }
}

TEST_F(Ranks1024, AnOpenAfterASaveSeesTheSave) {
    const auto fs = mounted(100);
    const auto file = inode(*fs, optimizer(99));
    ASSERT_EQ(open_error(*fs, file), 0);
    save(*saved_);
    EXPECT_EQ(open_error(*fs, file), ESTALE) << "the clock stands still";
    EXPECT_EQ(open_error(*fs, inode(*fs, optimizer(99))), 0);
}

TEST_F(Ranks1024, ASaveOfFewerRanksIsSeenByAFileOfShardsThatItLeavesAlone) {
    const auto fs = mounted(512);
    const auto last = inode(*fs, optimizer(511));  // of ranks 1022 and 1023
    ASSERT_EQ(open_error(*fs, last), 0);
    save(files_at(3));
    EXPECT_EQ(open_error(*fs, last), ESTALE);
    save(*saved_);
}

TEST_F(Ranks1024, AnOpenSeesWhatHappensToTheShardsBehindTheFile) {
    const auto fs = mounted(512);
    const auto last = inode(*fs, optimizer(511));
    const auto first = inode(*fs, optimizer(0));
    ASSERT_EQ(open_error(*fs, last), 0);
    set_age(optimizer(511), 1'000'000'000);  // its pickle is the one that is edited
    EXPECT_EQ(open_error(*fs, last), ESTALE);
    EXPECT_NE(open_error(*fs, first), 0) << "the tag is another generation as soon as one file has seen it";
    save(*saved_);
}

TEST_F(Ranks1024, WhatHappensToAnotherShardIsSeenWithinASecond) {
    const auto fs = mounted(512);
    const auto first = inode(*fs, optimizer(0));
    ASSERT_EQ(open_error(*fs, first), 0);
    set_age(optimizer(1000), 1'000'000'000);
    EXPECT_EQ(open_error(*fs, first), 0) << "none of its bytes are from there";
    now_ += std::chrono::seconds(1);
    EXPECT_EQ(open_error(*fs, first), ESTALE);
    save(*saved_);
}

}  // namespace
}  // namespace ckptfs
