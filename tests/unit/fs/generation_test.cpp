// Sources that change: generations, staleness, broken tags.
#include <gmock/gmock.h>

#include <thread>

#include "fixture.h"
#include "fs/source_tree.h"

namespace ckptfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

class Generation : public fake::FileSystemTest {
 protected:
    void save(const std::string& a, const std::string& b) {
        source_->put_file("step1/a.shard", a);
        source_->put_file("step1/b.shard", b);
    }
};

TEST_F(Generation, ADirectoryIsListedAtMostOnceASecond) {
    const auto fs = make(3);
    inode(*fs, "plain");
    const int before = source_->lists();
    pass(999);
    inode(*fs, "plain");
    inode(*fs, "plain/notes");
    EXPECT_EQ(source_->lists(), before);
    pass(1);
    inode(*fs, "plain");
    EXPECT_GT(source_->lists(), before);
}

TEST_F(Generation, TheKernelAsksAgainWhenTheListingIsASecondOld) {
    const auto fs = make(3);
    EXPECT_EQ(walk(*fs, "step1").entry_lifetime, Lifetime{1});
    pass(400);
    EXPECT_NEAR(walk(*fs, "step1").entry_lifetime.count(), 0.6, 1e-9);
    EXPECT_NEAR(walk(*fs, "step1/rank_0.pt").entry_lifetime.count(), 0.6, 1e-9);
}

TEST_F(Generation, AnUnchangedTagIsNotReadAgain) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    names(*fs, tag);
    pass(5000);
    source_->put_file("step1/readme", "other notes");
    EXPECT_EQ(inode(*fs, "step1"), tag);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/readme")).value, "other notes");
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(Generation, AChangedShardMakesNewInodesAndNewContent) {
    const auto fs = make(3);
    const auto old_tag = inode(*fs, "step1");
    const auto old_file = inode(*fs, "step1/rank_0.pt");
    save("YYY", "XXX");
    pass(1000);
    const auto tag = inode(*fs, "step1");
    const auto file = inode(*fs, "step1/rank_0.pt");
    EXPECT_NE(tag, old_tag);
    EXPECT_NE(file, old_file);
    EXPECT_EQ(read_all(*fs, file).value, "rank 0 of 3: YYYXXX");
    EXPECT_EQ(fs->open(old_file).error, ESTALE);
    EXPECT_EQ(reader_->reads(), 2);
}

TEST_F(Generation, ATouchedShardIsANewGenerationToo) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    source_->put_file("step1/b.shard", "BBB");
    pass(1000);
    EXPECT_NE(inode(*fs, "step1"), tag);
}

TEST_F(Generation, AnOpenFileGoesStaleAndTheNextLookupIsFresh) {
    const auto fs = make(3);
    const auto handle = fs->open(inode(*fs, "step1/rank_0.pt")).value.handle;
    EXPECT_EQ(read_handle(*fs, handle).value, "rank 0 of 3: AAABBB");
    save("NEW", "new");
    EXPECT_EQ(read_handle(*fs, handle).error, ESTALE);
    EXPECT_EQ(read_handle(*fs, handle).error, ESTALE);
    EXPECT_EQ(logged("rank_0.pt changed"), 1);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: NEWnew")
        << "being stale is reason enough to look again at once";
}

TEST_F(Generation, AnOpenAtOnceAfterASaveSeesTheSave) {
    const auto fs = make(3);
    const auto old_file = inode(*fs, "step1/rank_0.pt");
    save("YYY", "XXX");
    EXPECT_EQ(fs->open(old_file).error, ESTALE);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: YYYXXX");
}

TEST_F(Generation, ASaveThatHasReplacedOnlySomeFilesIsNotShown) {
    const auto fs = make(3);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAABBB");
    source_->put_file("step1/b.shard", "XXX");
    pass(1000);
    EXPECT_EQ(fs->lookup(inode(*fs, "step1"), "rank_0.pt").error, ENOENT);
    EXPECT_EQ(fs->open(inode(*fs, "step1/a.shard")).error, EIO);
    EXPECT_EQ(logged("1 of its 2 files, 'b.shard' among them, were replaced since the tag was whole, 'a.shard'"), 1);
    source_->put_file("step1/a.shard", "YYY");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: YYYXXX");
    source_->put_file("step1/a.shard", "ZZZ");
    pass(1000);
    EXPECT_EQ(fs->open(inode(*fs, "step1/a.shard")).error, EIO) << "measured against the last whole one";
}

TEST_F(Generation, ALinkToAFileIsNoReplacement) {
    const auto fs = make(3);
    inode(*fs, "step1/rank_0.pt");
    const auto tag = inode(*fs, "step1");
    source_->put_link("step1/copy", "step1/a.shard");
    pass(1000);
    EXPECT_NE(inode(*fs, "step1"), tag) << "who may read it, for one, can be another matter now";
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAABBB");
}

TEST_F(Generation, ACopyOfAFileInItsPlaceIsNoReplacement) {
    const auto fs = make(3);
    inode(*fs, "step1/rank_0.pt");
    source_->replace_by_copy("step1/a.shard");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAABBB");
    EXPECT_EQ(reader_->reads(), 2) << "it is another file all the same";
}

TEST_F(Generation, FilesLeftOverFromALargerSaveDoNotCount) {
    source_->put_file("step1/left_over.shard", "-");
    const auto fs = make(3);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAABBB-");
    save("YYY", "XXX");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: YYYXXX-");
}

TEST_F(Generation, ATagThatJustChangedIsReadOnceItHasSettled) {
    wall_now_ns_ = source_->stat("step1/b.shard")->stamp.ctime_ns + 1'000'000;
    const auto fs = make(3);
    while_asleep_ = [&] {
        source_->rewrite_under_its_stamp("step1/a.shard", "NEW");
        source_->rewrite_under_its_stamp("step1/b.shard", "new");
    };
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: NEWnew");
    EXPECT_EQ(slept_ms_, settling_time.count());
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_1.pt")).value, "rank 1 of 3: NEWnew");
    EXPECT_EQ(slept_ms_, settling_time.count()) << "once is enough";
}

TEST_F(Generation, ASaveOverATagIsGivenMoreTime) {
    const auto fs = make(3);
    inode(*fs, "step1/rank_0.pt");
    save("YYY", "XXX");
    wall_now_ns_ = source_->stat("step1/b.shard")->stamp.ctime_ns;
    while_asleep_ = [&] { save("2nd", "2ND"); };
    pass(1000);
    EXPECT_NE(fs->lookup(inode(*fs, "step1"), "a.shard").error, 0);
    while_asleep_ = [] {};
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: 2nd2ND") << "it went on meanwhile";
    EXPECT_EQ(slept_ms_, 2 * settling_time_of_save.count());
}

TEST_F(Generation, ATagOfOldFilesIsReadAtOnce) {
    wall_now_ns_ = source_->stat("step1/b.shard")->stamp.ctime_ns + 2'000'000'000;
    const auto fs = make(3);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAABBB");
    EXPECT_EQ(slept_ms_, 0);
}

TEST_F(Generation, ATagThatWasReadBeforeItSettledIsNotAdopted) {
    const auto fs = make(3);
    const auto tag = reader_->read(*source_, "step1");
    wall_now_ns_ = source_->stat("step1/b.shard")->stamp.ctime_ns;
    fs->adopt("step1", tag);
    names(*fs, inode(*fs, "step1"));
    EXPECT_EQ(reader_->reads(), 2);
}

TEST_F(Generation, ARemovedTagIsLetGoWithoutBeingAskedFor) {
    const auto fs = make(3);
    fs->adopt("step1", reader_->read(*source_, "step1"));
    const auto file = inode(*fs, "step1/rank_0.pt");
    fs->tidy();
    EXPECT_TRUE(reader_->is_last_held()) << "as long as it is there";
    for (const auto* path : {"step1/a.shard", "step1/b.shard", "step1/readme", "step1"}) {
        source_->remove(path);
    }
    fs->tidy();
    EXPECT_FALSE(reader_->is_last_held()) << "although the kernel has not forgotten its inodes";
    EXPECT_EQ(fs->getattr(file).error, ESTALE);
    EXPECT_FALSE(fs->open(file).ok());
}

TEST_F(Generation, ATagThatComesBackAsItWasIsReadAgain) {
    const auto fs = make(3);
    const auto file = inode(*fs, "step1/rank_0.pt");
    source_->fail("step1", Error(ErrorCode::not_found, "it was moved away"));
    fs->tidy();
    EXPECT_FALSE(reader_->is_last_held());
    source_->heal();
    pass(1000);
    EXPECT_EQ(inode(*fs, "step1/rank_0.pt"), file);
    EXPECT_EQ(read_all(*fs, file).value, "rank 0 of 3: AAABBB");
    EXPECT_EQ(reader_->reads(), 2);
}

TEST_F(Generation, ARemovedTagThatIsBeingReadIsLetGoLater) {
    const auto fs = make(3);
    const auto tidy_without_the_tag = [&] {
        source_->fail("step1", Error(ErrorCode::not_found, "it was removed"));
        std::thread([&] { fs->tidy(); }).join();
        source_->heal();
    };
    reader_->while_cut(tidy_without_the_tag);
    const auto file = inode(*fs, "step1/rank_0.pt");
    EXPECT_TRUE(fs->getattr(file).ok()) << "it is being read";
    tidy_without_the_tag();
    EXPECT_EQ(fs->getattr(file).error, ESTALE);
}

TEST_F(Generation, AnAdoptedTagThatWasReplacedIsLetGoWithItsInodes) {
    const auto fs = make(3);
    fs->adopt("step1", reader_->read(*source_, "step1"));
    fs->tidy();
    EXPECT_TRUE(reader_->is_last_held()) << "before anybody asks for it";
    save("YYY", "XXX");
    pass(1000);
    const auto tag = inode(*fs, "step1");
    const auto file = fs->lookup(tag, "rank_0.pt").value.attributes.inode;
    EXPECT_EQ(reader_->reads(), 2);
    EXPECT_TRUE(reader_->is_last_held());
    fs->tidy();
    fs->forget(file, 1);
    fs->forget(tag, 1);
    EXPECT_FALSE(reader_->is_last_held());
}

TEST_F(Generation, TidyingLetsTheSourceTidyToo) {
    const auto fs = make(3);
    const int refreshes = source_->refreshes();
    fs->tidy();
    EXPECT_EQ(source_->refreshes(), refreshes + 1);
    EXPECT_EQ(source_->releases(), 1);
}

TEST_F(Generation, WhereTheSourceIsIsAskedAnewWithEveryListing) {
    const auto fs = make(3);
    inode(*fs, "plain");
    const int refreshes = source_->refreshes();
    inode(*fs, "plain");
    EXPECT_EQ(source_->refreshes(), refreshes);
    pass(1000);
    names(*fs, root_inode);
    EXPECT_GT(source_->refreshes(), refreshes);
}

TEST_F(Generation, ASourceThatIsGoneIsAnErrorAndNoEmptyDirectory) {
    const auto fs = make(3);
    names(*fs, root_inode);
    source_->fail("", Error(ErrorCode::stale, "the source is gone"));
    pass(1000);
    EXPECT_EQ(fs->opendir(root_inode).error, ESTALE);
    EXPECT_EQ(fs->lookup(root_inode, "latest").error, ESTALE);
    EXPECT_EQ(fs->getattr(root_inode).error, ESTALE);
    source_->heal();
    EXPECT_EQ(read_all(*fs, inode(*fs, "latest")).value, "step1");
}

TEST_F(Generation, ATagThatChangedBeforeItWasReadIsLookedAtAgainAtOnce) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    source_->put_file("step1/b.shard", "XXX");
    ASSERT_TRUE(fs->lookup(tag, "rank_0.pt").ok());
    const auto next = inode(*fs, "step1");
    EXPECT_NE(next, tag);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAAXXX");
    EXPECT_EQ(inode(*fs, "step1"), next) << "and then it stays";
}

TEST_F(Generation, AnOldDirectoryInodeLeadsToTheNewGeneration) {
    const auto fs = make(3);
    const auto old_tag = inode(*fs, "step1");
    source_->put_file("step1/c.shard", "CCC");
    pass(1000);
    const auto found = fs->lookup(old_tag, "rank_0.pt");
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(read_all(*fs, found.value.attributes.inode).value, "rank 0 of 3: AAABBBCCC");
    EXPECT_EQ(found.value.entry_lifetime, Lifetime{1});
}

TEST_F(Generation, AListingStaysAsItWasWhenOpened) {
    const auto fs = make(3);
    const auto handle = fs->opendir(root_inode).value;
    source_->remove("plain/notes");
    source_->remove("plain");
    pass(2000);
    EXPECT_THAT(names(*fs, root_inode), Not(Contains("plain")));
    std::vector<std::string> found;
    ASSERT_TRUE(fs->readdir(handle, 0, [&](const ListedEntry& entry) {
                      found.emplace_back(entry.name);
                      return true;
                  }).ok());
    EXPECT_THAT(found, Contains("plain"));
}

TEST_F(Generation, ThingsComeAndGo) {
    const auto fs = make(3);
    EXPECT_EQ(fs->lookup(root_inode, "step2").error, ENOENT);
    source_->put_directory("step2");
    source_->put_file("step2/a.shard", "2");
    source_->remove("latest");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step2/rank_0.pt")).value, "rank 0 of 3: 2");
    EXPECT_EQ(fs->lookup(root_inode, "latest").error, ENOENT);
}

TEST_F(Generation, APassedThroughFileThatChangedHasANewInode) {
    const auto fs = make(3);
    const auto old_file = inode(*fs, "latest");
    const auto handle = fs->open(old_file).value.handle;
    source_->put_file("latest", "step2");
    const auto file = inode(*fs, "latest");
    EXPECT_NE(file, old_file);
    EXPECT_EQ(read_all(*fs, file).value, "step2");
    EXPECT_EQ(fs->open(old_file).error, ESTALE) << "its pages are another generation's";
    EXPECT_EQ(read_handle(*fs, handle).error, ESTALE);
}

TEST_F(Generation, ADirectoryThatBecomesATagChangesItsInode) {
    const auto fs = make(3);
    const auto plain = inode(*fs, "plain");
    source_->put_file("plain/z.shard", "Z");
    pass(1000);
    EXPECT_NE(inode(*fs, "plain"), plain);
    EXPECT_THAT(names(*fs, inode(*fs, "plain")),
                ElementsAre(".", "..", "notes", "rank_0.pt", "rank_1.pt", "rank_2.pt"));
}

TEST_F(Generation, AShardThatJustAppearedIsNeverShownAsItIs) {
    const auto fs = make(3);
    inode(*fs, "plain");
    inode(*fs, "step1/rank_0.pt");
    source_->put_file("plain/z.shard", "Z");
    source_->put_file("step1/c.shard", "C");
    EXPECT_EQ(fs->lookup(inode(*fs, "plain"), "z.shard").error, ENOENT);
    EXPECT_EQ(fs->lookup(inode(*fs, "step1"), "c.shard").error, ENOENT);
}

TEST_F(Generation, ABrokenTagIsListedButItsShardsAreNotOpened) {
    source_->put_file("step1/b.shard", "broken");
    const auto fs = make(3);
    EXPECT_THAT(names(*fs, inode(*fs, "step1")), ElementsAre(".", "..", "a.shard", "b.shard", "readme"));
    const auto shard = walk(*fs, "step1/a.shard");
    EXPECT_EQ(shard.attributes.size, 3U);
    EXPECT_EQ(shard.entry_lifetime, Lifetime{1});
    EXPECT_EQ(logged("a shard is broken"), 0) << "nobody opened anything yet";
    EXPECT_EQ(fs->open(shard.attributes.inode).error, EIO);
    EXPECT_EQ(fs->open(inode(*fs, "step1/b.shard")).error, EIO);
    EXPECT_EQ(logged("SRC/step1 cannot be shown as world-size-3: a shard is broken"), 1);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/readme")).value, "kept");
    EXPECT_EQ(fs->lookup(inode(*fs, "step1"), "rank_0.pt").error, ENOENT);
}

TEST_F(Generation, ARepairedTagIsWholeAgain) {
    source_->put_file("step1/b.shard", "broken");
    const auto fs = make(3);
    EXPECT_EQ(fs->open(inode(*fs, "step1/a.shard")).error, EIO);
    source_->put_file("step1/b.shard", "BBB");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAABBB");
}

TEST_F(Generation, AWorldSizeThatCannotBeShownDoesNotHarmOthers) {
    const auto fs = make(std::nullopt);
    EXPECT_EQ(fs->open(inode(*fs, "world-size-13/step1/a.shard")).error, EIO);
    EXPECT_EQ(logged("thirteen is not supported"), 1);
    EXPECT_EQ(read_all(*fs, inode(*fs, "world-size-2/step1/rank_1.pt")).value, "rank 1 of 2: AAABBB");
}

TEST_F(Generation, AReadErrorIsTriedAgainALaterSecond) {
    source_->put_file("step1/b.shard", "unreadable");
    const auto fs = make(3);
    names(*fs, inode(*fs, "step1"));
    names(*fs, inode(*fs, "step1"));
    EXPECT_EQ(reader_->reads(), 1);
    pass(1000);
    names(*fs, inode(*fs, "step1"));
    EXPECT_EQ(reader_->reads(), 2);
}

TEST_F(Generation, AnAdoptedTagIsNotReadAgainUntilItChanges) {
    const auto fs = make(3);
    fs->adopt("step1", reader_->read(*source_, "step1"));
    names(*fs, inode(*fs, "step1"));
    EXPECT_EQ(reader_->reads(), 1);
    source_->put_file("step1/b.shard", "XXX");
    pass(1000);
    names(*fs, inode(*fs, "step1"));
    EXPECT_EQ(reader_->reads(), 2);
}

TEST_F(Generation, ATagThatIsNoLongerTheSourcesIsNotAdopted) {
    const auto tag = reader_->read(*source_, "step1");
    source_->put_file("step1/b.shard", "XXX");
    const auto fs = make(3);
    fs->adopt("step1", tag);
    fs->adopt("plain", tag);
    fs->adopt("nowhere", tag);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_0.pt")).value, "rank 0 of 3: AAAXXX");
}

TEST_F(Generation, FaultsAreReportedAndWorkGoesOnAfterThem) {
    const auto fs = make(3);
    source_->fail("plain", Error(ErrorCode::io, "the disk is on fire", EIO));
    EXPECT_EQ(fs->lookup(root_inode, "plain").error, EIO);
    EXPECT_EQ(logged("the disk is on fire"), 1);
    source_->throw_at("plain/notes");
    source_->heal();
    EXPECT_EQ(read_all(*fs, inode(*fs, "plain/notes")).value, "some notes");
    source_->throw_at("plain/notes");
    EXPECT_EQ(fs->lookup(inode(*fs, "plain"), "notes").error, EIO);
    EXPECT_EQ(logged("lookup failed unexpectedly: planted"), 1);
    source_->heal();
    EXPECT_EQ(read_all(*fs, inode(*fs, "plain/notes")).value, "some notes");
}

TEST_F(Generation, AListingThatFailsOnceDoesNotCostTheTag) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    names(*fs, tag);
    pass(1000);
    source_->fail("step1", Error(ErrorCode::io, "not now", EAGAIN));
    EXPECT_EQ(fs->opendir(tag).error, EIO) << "a reader would take EAGAIN for the end";
    source_->heal();
    names(*fs, tag);
    EXPECT_EQ(reader_->reads(), 1);
}

}  // namespace
}  // namespace ckptfs
