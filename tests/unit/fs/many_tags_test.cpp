// Many tags, and less memory than they take: which are let go of, and who waits for whom.
#include <gmock/gmock.h>

#include <array>
#include <thread>
#include <vector>

#include "fixture.h"
#include "util/memory_budget.h"

namespace ckptfs {
namespace {

class ManyTags : public fake::FileSystemTest {
 protected:
    static constexpr int count = 100;

    void SetUp() override {
        fake::FileSystemTest::SetUp();
        source_->put_directory("many");
        for (int i = 0; i < count; ++i) {
            source_->put_directory(tag(i));
            source_->put_file(tag(i) + "/a.shard", "A");
            source_->put_file(tag(i) + "/b.shard", "B");
        }
    }
    static std::string tag(int i) { return "many/tag" + std::to_string(i); }
};

TEST_F(ManyTags, AreLookedAtAFewAtATimeAndRarelyWhileNobodyUsesThem) {
    const auto fs = make(3);
    std::vector<std::uint64_t> files;
    for (int i = 0; i < count; ++i) {
        files.push_back(inode(*fs, tag(i) + "/rank_0.pt"));
    }
    fs->tidy();  // looks once for each at what else is remembered of them
    inode(*fs, tag(0) + "/rank_0.pt");
    int before = source_->looks();
    fs->tidy();
    EXPECT_GE(source_->looks() - before, 1);
    EXPECT_LE(source_->looks() - before, 16);

    ASSERT_TRUE(fs->open(files[1]).ok());  // or they would all be let go of
    before = source_->looks();
    const int releases = source_->releases();
    constexpr int idle_calls = 1024;
    for (int i = 0; i < idle_calls; ++i) {
        fs->tidy();
    }
    EXPECT_LE(source_->looks() - before, 16 * (11 + idle_calls / 32));
    EXPECT_EQ(source_->releases(), releases + idle_calls) << "descriptors are let go of all the same";

    source_->fail(tag(7), Error(ErrorCode::not_found, "it was removed"));
    for (int calls = 0; calls < count / 16 + 1; ++calls) {
        EXPECT_TRUE(fs->getattr(files[0]).ok());
        inode(*fs, tag(0) + "/rank_0.pt");
        fs->tidy();
    }
    EXPECT_EQ(fs->getattr(files[7]).error, ESTALE) << "all had their turn";
}

TEST_F(ManyTags, OnesThatAreGoneAreNotRememberedForEver) {
    const auto fs = make(3);
    const auto many = inode(*fs, "many");
    for (int i = 0; i < count; ++i) {
        const auto directory = fs->lookup(many, "tag" + std::to_string(i)).value.attributes.inode;
        const auto file = fs->lookup(directory, "rank_0.pt").value.attributes.inode;
        fs->forget(file, 1);
        fs->forget(directory, 1);
    }
    EXPECT_FALSE(reader_->is_last_held());
    source_->fail(tag(0), Error(ErrorCode::not_found, "it was removed"));
    fs->tidy();
    source_->heal();
    source_->put_file(tag(0) + "/b.shard", "X");
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(0) + "/rank_0.pt")).value, "rank 0 of 3: AX")
        << "what it was made of then no longer counts";
}

TEST_F(ManyTags, AreLetGoOfWhenNobodyAsksAndReadAgainWhenSomebodyDoes) {
    const auto fs = make(3);
    const auto file = inode(*fs, tag(0) + "/rank_0.pt");
    inode(*fs, tag(1) + "/rank_0.pt");
    const auto opened = fs->open(file);
    ASSERT_TRUE(opened.ok());
    const int reads = reader_->reads();
    const auto quarter_of_an_hour = [&] {
        constexpr int calls = 450;
        for (int i = 0; i < calls; ++i) {
            fs->tidy();
        }
    };
    quarter_of_an_hour();
    EXPECT_TRUE(reader_->is_last_held()) << "a file is open";
    fs->release(opened.value.handle);
    quarter_of_an_hour();
    EXPECT_FALSE(reader_->is_last_held());
    EXPECT_EQ(reader_->reads(), reads);
    EXPECT_EQ(fs->getattr(file).error, ESTALE) << "the kernel looks its name up again";
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(0) + "/rank_0.pt")).value, "rank 0 of 3: AB");
    EXPECT_EQ(inode(*fs, tag(0) + "/rank_0.pt"), file);
    EXPECT_EQ(reader_->reads(), reads + 1) << "one of them was asked for";
}

TEST_F(ManyTags, OneOfWhichAFileIsOpenIsNotReadTwice) {
    const auto fs = make(3);
    const auto file = inode(*fs, tag(0) + "/rank_0.pt");
    const auto opened = fs->open(file);
    ASSERT_TRUE(opened.ok());
    MemoryBudget& budget = MemoryBudget::of_process();
    MemoryReservation held(budget);
    ASSERT_TRUE(held.resize(1));
    const auto let_go = [&] {
        MemoryReservation wanted(budget);
        EXPECT_FALSE(wanted.resize(budget.limit()));
    };
    let_go();
    const int reads = reader_->reads();
    EXPECT_TRUE(fs->getattr(file).ok());
    EXPECT_EQ(inode(*fs, tag(0) + "/rank_1.pt"), walk(*fs, tag(0) + "/rank_1.pt").attributes.inode);
    EXPECT_EQ(reader_->reads(), reads) << "what is open has it";
    let_go();
    source_->put_file(tag(0) + "/a.shard", "C");
    source_->put_file(tag(0) + "/b.shard", "D");
    pass(1000);
    EXPECT_NE(inode(*fs, tag(0) + "/rank_0.pt"), file);
    EXPECT_TRUE(fs->getattr(file).ok()) << "open, although it was saved over";
    fs->release(opened.value.handle);
    let_go();
    EXPECT_EQ(fs->getattr(file).error, ESTALE);
}

/// Between two looks at its directory, whose inodes the kernel trusts.
TEST_F(ManyTags, OneThatWasReplacedAfterItWasLetGoOfIsStale) {
    const auto fs = make(3);
    const auto file = inode(*fs, tag(0) + "/rank_2.pt");
    MemoryBudget& budget = MemoryBudget::of_process();
    MemoryReservation held(budget);
    ASSERT_TRUE(held.resize(1));
    MemoryReservation wanted(budget);
    ASSERT_FALSE(wanted.resize(budget.limit()));
    source_->put_file(tag(0) + "/a.shard", "C");
    source_->put_file(tag(0) + "/b.shard", "D");
    EXPECT_EQ(fs->getattr(file).error, ESTALE);
    EXPECT_EQ(fs->open(file).error, ESTALE);
    EXPECT_EQ(fs->getattr(file).error, ESTALE) << "also once somebody has looked";
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(0) + "/rank_2.pt")).value, "rank 2 of 3: CD");
}

TEST_F(ManyTags, AreLetGoOfBeforeMemoryIsRefused) {
    const auto fs = make(3);
    const auto file = inode(*fs, tag(0) + "/rank_0.pt");
    ASSERT_TRUE(reader_->is_last_held());
    MemoryBudget& budget = MemoryBudget::of_process();
    MemoryBudget::limit_process(budget.held() + 1000);
    MemoryReservation held(budget);
    MemoryReservation wanted(budget);
    EXPECT_TRUE(held.resize(900));
    EXPECT_TRUE(reader_->is_last_held());
    EXPECT_FALSE(wanted.resize(900)) << "these tags have nothing that is counted";
    MemoryBudget::limit_process(0);
    EXPECT_FALSE(reader_->is_last_held());
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(0) + "/rank_0.pt")).value, "rank 0 of 3: AB");
    EXPECT_EQ(inode(*fs, tag(0) + "/rank_0.pt"), file);
}

/// There is room for one tag at a time.
class ShortOfMemory : public ManyTags {
 protected:
    void SetUp() override {
        ManyTags::SetUp();
        reader_->set_memory_of_a_tag(700);
        set_limit(1000);
    }
    void TearDown() override {
        MemoryBudget::limit_process(0);
        ManyTags::TearDown();
    }
    void set_limit(std::uint64_t nbytes) { MemoryBudget::limit_process(held_before_ + nbytes); }

 private:
    const std::uint64_t held_before_ = MemoryBudget::of_process().held();
};

TEST_F(ShortOfMemory, ATagWaitsForOneOfWhichAFileIsOpen) {
    const auto fs = make(3);
    const auto opened = fs->open(inode(*fs, tag(0) + "/rank_0.pt"));
    ASSERT_TRUE(opened.ok());
    int pauses = 0;
    while_asleep_ = [&] {
        if (++pauses == 3) {
            fs->release(opened.value.handle);
        }
    };
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(1) + "/rank_2.pt")).value, "rank 2 of 3: AB");
    EXPECT_EQ(pauses, 3);
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(0) + "/rank_0.pt")).value, "rank 0 of 3: AB");
    EXPECT_EQ(pauses, 3) << "nobody has the other";
}

TEST_F(ShortOfMemory, ATagWaitsFiveSecondsAndIsRefusedByName) {
    const auto fs = make(3);
    const auto opened = fs->open(inode(*fs, tag(0) + "/rank_0.pt"));
    ASSERT_TRUE(opened.ok());
    const auto directory = inode(*fs, tag(1));
    const auto refused = fs->lookup(directory, "rank_2.pt");
    EXPECT_EQ(refused.error, ENOMEM);
    ASSERT_TRUE(refused.reason);
    EXPECT_THAT(refused.reason->message(), ::testing::HasSubstr(tag(1)));
    EXPECT_NEAR(slept_ms_, 5000, 160);
    EXPECT_EQ(fs->opendir(directory).error, ENOMEM) << "the files of SOURCE would be taken for those of the view";
    EXPECT_EQ(fs->lookup(directory, "a.shard").error, ENOMEM);
    EXPECT_NEAR(slept_ms_, 5000, 160) << "once is enough for a second";
    fs->release(opened.value.handle);
    pass(1001);
    EXPECT_EQ(read_all(*fs, inode(*fs, tag(1) + "/rank_2.pt")).value, "rank 2 of 3: AB");
}

TEST_F(ShortOfMemory, WhatFitsNeverIsNotWaitedFor) {
    set_limit(600);
    const auto fs = make(3);
    EXPECT_EQ(fs->lookup(inode(*fs, "step1"), "rank_2.pt").error, ENOMEM);
    EXPECT_EQ(slept_ms_, 0);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/readme")).value, "kept");
    set_limit(1000);
    pass(1001);
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_2.pt")).value, "rank 2 of 3: AAABBB");
}

TEST_F(ShortOfMemory, ReadersOfTwoTagsReadBoth) {
    while_asleep_ = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
    const auto fs = make(3);
    const std::array directories{inode(*fs, tag(0)), inode(*fs, tag(1))};
    std::vector<std::thread> threads;
    threads.reserve(directories.size());
    for (const auto directory : directories) {
        threads.emplace_back([&fs, directory] {
            for (int round = 0; round < 50; ++round) {
                const auto file = fs->lookup(directory, "rank_1.pt");
                ASSERT_TRUE(file.ok()) << file.error;
                EXPECT_EQ(read_all(*fs, file.value.attributes.inode).value, "rank 1 of 3: AB");
                fs->forget(file.value.attributes.inode, 1);
                std::this_thread::yield();
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
}

}  // namespace
}  // namespace ckptfs
