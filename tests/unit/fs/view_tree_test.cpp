// What a mount would show, read by paths: the same as FileSystem answers the kernel, and nothing that grows.
#include "fs/view_tree.h"

#include <gmock/gmock.h>

#include <thread>

#include "fixture.h"
#include "support/fake_files.h"
#include "support/source_contract.h"

namespace ckptfs {
namespace {

using ::testing::HasSubstr;

class ContractedView final : public test::ContractTree {
 public:
    void add_file(const std::string& path, const std::string& bytes) override { source_->put_file(path, bytes); }
    void add_directory(const std::string& path) override { source_->put_directory(path); }
    void add_link(const std::string& path, const std::string& target) override { source_->put_symlink(path, target); }
    void remove(const std::string& path) override { source_->remove(path); }
    std::shared_ptr<const Source> source() override {
        FileSystemOptions options;
        options.request = ViewRequest::at_world_size(2);
        // Nothing that was found is relied on.
        const auto now = [at = std::make_shared<std::atomic<int>>(0)] {
            return TimePoint(std::chrono::minutes(++*at));
        };
        options.now = now;
        return std::make_shared<const ViewTree>(
            FileSystem::create(source_, std::make_shared<fake::ShardReader>(), options).value(), "the view", now);
    }

 private:
    std::shared_ptr<fake::MemorySource> source_ = std::make_shared<fake::MemorySource>();
};

using test::SourceContract;
INSTANTIATE_TEST_SUITE_P(ViewTree, SourceContract,
                         test::contract_cases([] { return std::make_unique<ContractedView>(); },
                                              {.directories = true, .links = true, .changes = true}),
                         test::contract_case_name);

class ViewTreeTest : public fake::FileSystemTest {
 protected:
    std::shared_ptr<const ViewTree> tree(std::optional<ViewRequest> request = ViewRequest::at_world_size(3)) {
        FileSystemOptions options;
        options.request = request;
        options.catalogue_entries = {{.path = "guard/text", .text = "read me"},
                                     {.path = "guard/link", .is_link = true, .text = "nowhere"}};
        return std::make_shared<const ViewTree>(make(options), name_of_view(*source_, request), clock());
    }
    std::function<TimePoint()> clock() {
        return [this] { return TimePoint(std::chrono::milliseconds(now_ms_)); };
    }

    /// Holds `path` of the tree, and all that lies below, against what the kernel would be told.
    void expect_equal_below(const ViewTree& tree, FileSystem& fs, const std::string& path, std::uint64_t inode) {
        const auto attributes = fs.getattr(inode).value.attributes;
        const auto info = tree.stat(path);
        ASSERT_TRUE(info.ok()) << path << ": " << info.error().message();
        EXPECT_EQ(info->stamp.inode, attributes.inode) << path;
        EXPECT_EQ(info->stamp.size, attributes.size) << path;
        EXPECT_EQ(info->stamp.mtime_ns, attributes.mtime_ns) << path;
        EXPECT_EQ(info->stamp.ctime_ns, attributes.ctime_ns) << path;
        EXPECT_EQ(info->atime_ns, attributes.atime_ns) << path;
        EXPECT_EQ(info->type, attributes.type) << path;
        EXPECT_EQ(info->mode, attributes.mode) << path;
        EXPECT_EQ(info->uid, attributes.uid) << path;
        EXPECT_EQ(info->gid, attributes.gid) << path;
        EXPECT_EQ(info->nlink, attributes.nlink) << path;
        EXPECT_EQ(info->blocks, attributes.blocks) << path;
        ++compared_;
        if (attributes.type == FileType::symlink) {
            EXPECT_EQ(*tree.read_link(path), fs.readlink(inode).value) << path;
        } else if (attributes.type == FileType::regular) {
            const auto opened = tree.open(path);
            const auto expected = read_all(fs, inode);
            ASSERT_EQ(opened.ok(), expected.ok()) << path;
            if (opened.ok()) {
                EXPECT_EQ(*test::read_all(**opened), expected.value) << path;
            }
        } else if (attributes.type == FileType::directory) {
            auto expected = names(fs, inode);
            std::erase(expected, ".");
            std::erase(expected, "..");
            std::sort(expected.begin(), expected.end());
            std::vector<std::string> listed;
            const auto entries = tree.list(path);
            ASSERT_TRUE(entries.ok()) << path << ": " << entries.error().message();
            for (const DirectoryEntry& entry : *entries) {
                const std::string below = path.empty() ? entry.name : path + "/" + entry.name;
                const auto found = fs.lookup(inode, entry.name);
                ASSERT_TRUE(found.ok()) << below;
                listed.push_back(entry.name);
                EXPECT_EQ(entry.type, found.value.attributes.type) << below;
                expect_equal_below(tree, fs, below, found.value.attributes.inode);
            }
            EXPECT_EQ(listed, expected) << path;
        }
    }

    int compared_ = 0;
};

TEST_F(ViewTreeTest, ShowsWhatTheKernelWouldBeTold) {
    source_->put_directory("/elsewhere");
    source_->put_file("/elsewhere/far", "away");
    source_->put_symlink("plain/out", "/elsewhere");
    source_->put_symlink("plain/to_shard", "../step1/a.shard");
    source_->put_symlink("plain/absolute", "/src/plain/notes");
    source_->put_link("plain/same", "plain/notes");
    source_->put_directory("broken");
    source_->put_file("broken/a.shard", "broken");
    reader_->show_at({.in_tag = true}, {"model.bin", "below/one", "below/two"});
    ViewRequest weights;
    weights.kind = ViewKind::weights;
    for (const auto& request :
         {std::optional(ViewRequest::at_world_size(3)), std::optional(ViewRequest::at_world_size(13)),
          std::optional(weights), std::optional<ViewRequest>()}) {
        const auto shown = tree(request);
        FileSystemOptions options;
        options.request = request;
        options.catalogue_entries = {{.path = "guard/text", .text = "read me"},
                                     {.path = "guard/link", .is_link = true, .text = "nowhere"}};
        const auto fs = make(options);
        compared_ = 0;
        expect_equal_below(*shown, *fs, "", root_inode);
        EXPECT_GE(compared_, request ? 15 : 4) << (request ? request->name() : "catalogue");
    }
}

TEST_F(ViewTreeTest, AFileOfTheCatalogueIsReachedThoughItsRequestIsNotListed) {
    const auto shown = tree(std::nullopt);
    EXPECT_EQ(*test::read_all(**shown->open("world-size-5/step1/rank_4.pt")), "rank 4 of 5: AAABBB");
}

TEST_F(ViewTreeTest, LinksAreFollowedWithinTheTree) {
    source_->put_symlink("newest", "step1");
    source_->put_symlink("plain/up", "../newest/rank_1.pt");
    const auto shown = tree();
    EXPECT_EQ(*test::read_all(**shown->open("newest/rank_0.pt")), "rank 0 of 3: AAABBB");
    EXPECT_EQ(*test::read_all(**shown->open("link/up")), "rank 1 of 3: AAABBB");
    EXPECT_EQ(*shown->resolve("link/up"), "step1/rank_1.pt");
    EXPECT_EQ(shown->stat("newest")->type, FileType::symlink);
    EXPECT_EQ(shown->stat_target("newest")->type, FileType::directory);
}

TEST_F(ViewTreeTest, LinksInACircleAreAnError) {
    source_->put_symlink("one", "two");
    source_->put_symlink("two", "one");
    const auto shown = tree();
    const auto opened = shown->open("one/file");
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), ErrorCode::io);
    EXPECT_EQ(opened.error().system_errno(), ELOOP);
    EXPECT_THAT(opened.error().message(), HasSubstr("in a circle"));
}

TEST_F(ViewTreeTest, WhatCannotBeShownIsListedAndSaysWhyItCannotBeOpened) {
    source_->put_file("step1/a.shard", "broken");
    const auto shown = tree();
    EXPECT_EQ(shown->list("step1")->size(), 3U);
    const auto opened = shown->open("step1/a.shard");
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), ErrorCode::damaged);
    EXPECT_THAT(opened.error().message(),
                testing::AllOf(HasSubstr("'SRC/ (world-size-3)/step1/a.shard' cannot be opened"),
                               HasSubstr("SRC/step1"), HasSubstr("world-size-3"), HasSubstr("broken")));
    const auto refused = tree(ViewRequest::at_world_size(13));
    source_->put_file("step1/a.shard", "AAA");
    pass(1000);
    EXPECT_THAT(refused->open("step1/a.shard").error().message(), HasSubstr("thirteen is not supported"));
    EXPECT_TRUE(shown->open("step1/rank_2.pt").ok()) << "repaired meanwhile";
}

TEST_F(ViewTreeTest, ErrorsOfTheSourceComeBackWithTheirWords) {
    const auto shown = tree();
    source_->fail("plain", Error(ErrorCode::io, "SRC/plain: the disk is gone", EIO));
    const auto listed = shown->list("plain");
    ASSERT_FALSE(listed.ok());
    EXPECT_EQ(listed.error().system_errno(), EIO);
    EXPECT_THAT(listed.error().message(), HasSubstr("the disk is gone"));
    source_->heal();
    EXPECT_TRUE(shown->list("plain").ok());
    EXPECT_EQ(shown->list("latest").error().system_errno(), ENOTDIR);
    EXPECT_EQ(shown->stat("latest/x").error().system_errno(), ENOTDIR);
    EXPECT_EQ(shown->open("fifo").error().code(), ErrorCode::unsupported);
    EXPECT_EQ(shown->stat(std::string(256, 'n')).error().system_errno(), ENAMETOOLONG);
}

TEST_F(ViewTreeTest, ANewGenerationIsSeenByWhoeverOpens) {
    const auto shown = tree();
    const auto before = *shown->stat("step1/rank_0.pt");
    const auto old = *shown->open("step1/rank_0.pt");
    EXPECT_EQ(*test::read_all(*old), "rank 0 of 3: AAABBB");
    source_->put_file("step1/a.shard", "CCC");
    source_->put_file("step1/b.shard", "DDD");
    // At once, although every entry may be relied on still.
    EXPECT_EQ(*test::read_all(**shown->open("step1/rank_0.pt")), "rank 0 of 3: CCCDDD");
    EXPECT_NE(shown->stat("step1/rank_0.pt")->stamp, before.stamp);
    EXPECT_EQ(test::read_all(*old).error().code(), ErrorCode::stale);
    source_->put_directory("step2");
    source_->put_file("step2/a.shard", "EEE");
    pass(1000);
    EXPECT_EQ(*test::read_all(**shown->open("step2/rank_0.pt")), "rank 0 of 3: EEE");
    for (const char* path : {"step1/a.shard", "step1/b.shard", "step1/readme", "step1"}) {
        source_->remove(path);
    }
    pass(1000);
    EXPECT_EQ(shown->open("step1/rank_0.pt").error().code(), ErrorCode::not_found);
}

TEST_F(ViewTreeTest, FilesOutliveTheTree) {
    auto shown = tree();
    const auto file = *shown->open("step1/rank_2.pt");
    shown.reset();
    EXPECT_EQ(*test::read_all(*file), "rank 2 of 3: AAABBB");
}

TEST_F(ViewTreeTest, NoMoreIsKeptThanABoundedNumberOfDirectories) {
    constexpr int many = 1200;
    for (int i = 0; i < many; ++i) {
        source_->put_directory("plain/d" + std::to_string(i));
        source_->put_file("plain/d" + std::to_string(i) + "/file", "x");
        source_->put_file("plain/f" + std::to_string(i), "y");
    }
    const auto shown = tree();
    for (int i = 0; i < many; ++i) {
        EXPECT_TRUE(shown->stat("plain/f" + std::to_string(i)).ok());
        EXPECT_TRUE(shown->open("plain/f" + std::to_string(i)).ok());
        EXPECT_FALSE(shown->open("plain/g" + std::to_string(i)).ok());
    }
    EXPECT_TRUE(shown->stat("link").ok());
    EXPECT_TRUE(shown->stat_target("link").ok());
    EXPECT_TRUE(shown->list("").ok());
    EXPECT_EQ(shown->file_system().live_inodes(), 1U) << "the directory alone";
    for (int i = 0; i < many; ++i) {
        EXPECT_TRUE(shown->open("plain/d" + std::to_string(i) + "/file").ok());
    }
    EXPECT_EQ(shown->file_system().live_inodes(), 1024U);
}

TEST_F(ViewTreeTest, ATagStaysInMemoryAsLongAsItIsUsed) {
    const auto shown = tree();
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(shown->open("step1/rank_0.pt").ok());
        pass(5000);
    }
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(ViewTreeTest, WhatNobodyUsesIsLetGoOfNowAndThen) {
    const auto shown = tree();
    EXPECT_TRUE(shown->stat("latest").ok());
    EXPECT_EQ(source_->releases(), 0);
    pass(2000);
    EXPECT_TRUE(shown->stat("latest").ok());
    EXPECT_TRUE(shown->stat("latest").ok());
    EXPECT_EQ(source_->releases(), 1);
    shown->release_unused();
    EXPECT_EQ(source_->releases(), 2);
}

TEST_F(ViewTreeTest, ALongPathCostsWhatItsLastNameCosts) {
    std::string path = "plain";
    for (int depth = 0; depth < 20; ++depth) {
        path += "/deeper";
        source_->put_directory(path);
    }
    source_->put_file(path + "/file", "x");
    const auto shown = tree();
    ASSERT_TRUE(shown->stat(path + "/file").ok());
    const int looks = source_->looks();
    const int lists = source_->lists();
    constexpr int times = 100;
    for (int i = 0; i < times; ++i) {
        ASSERT_TRUE(shown->stat(path + "/file").ok());
    }
    EXPECT_LE(source_->looks() - looks, times);
    EXPECT_EQ(source_->lists(), lists);
}

TEST_F(ViewTreeTest, ThreadsWalkWhileDirectoriesComeAndGo) {
    constexpr int many = 1100;  // more than are kept
    for (int i = 0; i < many; ++i) {
        source_->put_directory("plain/d" + std::to_string(i));
        source_->put_file("plain/d" + std::to_string(i) + "/file", std::to_string(i));
    }
    const auto shown = tree();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (int i = 0; i < many; ++i) {
                const int at = (i * 7 + thread * 275) % many;
                const auto file = shown->open("plain/d" + std::to_string(at) + "/file");
                right += file.ok() && *test::read_all(**file) == std::to_string(at) ? 1 : 0;
                right += shown->open("step1/rank_1.pt").ok() ? 1 : 0;
                now_ms_ += 7;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(right, 4 * 2 * many);
    EXPECT_LE(shown->file_system().live_inodes(), 1024U);
}

}  // namespace
}  // namespace ckptfs
