// Many threads at once; meant to run under the thread sanitizer too.
#include <functional>
#include <thread>

#include "fixture.h"
#include "util/memory_budget.h"

namespace ckptfs {
namespace {

using Concurrency = fake::FileSystemTest;

/// However slow the machine is; what never happens fails the test rather than hanging it.
[[nodiscard]] bool comes_true(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

TEST_F(Concurrency, FirstLookupsOfOneTagReadItOnceAndHinderNobodyElse) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    reader_->hold(true);
    std::vector<std::thread> threads;
    std::atomic<int> back = 0;
    std::atomic<int> found = 0;
    const int looks = clock_looks();
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            found += fs->lookup(tag, "rank_0.pt").ok() ? 1 : 0;
            ++back;
        });
    }
    reader_->wait_for_reads(1);
    EXPECT_TRUE(comes_true([&] { return clock_looks() == looks + 8; })) << "all eight are on their way";
    // The reading has not come back, and all else works.
    EXPECT_EQ(read_all(*fs, inode(*fs, "plain/notes")).value, "some notes");
    EXPECT_TRUE(fs->getattr(tag).ok());
    EXPECT_EQ(inode(*fs, "step1"), tag);
    EXPECT_EQ(names(*fs, root_inode).size(), 7U);
    EXPECT_TRUE(fs->statfs().ok());
    EXPECT_EQ(back, 0);
    reader_->hold(false);
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(found, 8);
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(Concurrency, ReadersMeetOneGenerationOrStaleNeverAMix) {
    source_->put_file("step1/a.shard", "=");
    source_->put_file("step1/b.shard", "=");
    const auto fs = make(std::nullopt);
    std::atomic<bool> stop = false;
    std::atomic<int> refused = 0;
    std::atomic<int> whole = 0;
    std::vector<std::thread> threads;
    threads.reserve(5);
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            const auto directory = "world-size-" + std::to_string(i % 2 + 2);
            while (!stop) {
                const auto top = fs->lookup(root_inode, directory);
                const auto tag = fs->lookup(top.value.attributes.inode, "step1");
                const auto file = fs->lookup(tag.value.attributes.inode, "rank_1.pt");
                if (file.ok()) {
                    const auto content = read_all(*fs, file.value.attributes.inode);
                    if (content.ok()) {
                        const auto text = content.value.substr(content.value.find(": ") + 2);
                        EXPECT_EQ(text.substr(0, text.size() / 2), text.substr(text.size() / 2)) << text;
                        ++whole;
                    } else {
                        EXPECT_EQ(content.error, ESTALE);
                    }
                    fs->forget(file.value.attributes.inode, 1);
                } else {
                    ++refused;
                }
                fs->forget(tag.value.attributes.inode, 1);
                fs->forget(top.value.attributes.inode, 1);
            }
        });
    }
    for (int save = 0; save < 30 && !HasFailure(); ++save) {
        // The two shards change one after the other: a tag read in between is what a reader must not believe.
        const std::string content{'=', static_cast<char>('a' + save % 26)};
        source_->put_file("step1/a.shard", content);
        const int refused_before = refused;
        EXPECT_TRUE(comes_true([&] { return refused > refused_before; })) << "somebody met the torn tag";
        source_->put_file("step1/b.shard", content);
        pass(1000);
        const int whole_before = whole;
        EXPECT_TRUE(comes_true([&] { return whole > whole_before; })) << "somebody read what was saved";
    }
    stop = true;
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(fs->live_inodes(), 0U);
}

TEST_F(Concurrency, TagsAreLetGoOfWhileTheyAreRead) {
    const auto fs = make(3);
    std::atomic<int> left = 4;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 100; ++round) {
                const auto tag = fs->lookup(root_inode, "step1");
                const auto file = fs->lookup(tag.value.attributes.inode, "rank_1.pt");
                EXPECT_TRUE(file.ok());
                const auto attributes = fs->getattr(file.value.attributes.inode);
                EXPECT_TRUE(attributes.ok() || attributes.error == ESTALE) << "let go of since the lookup";
                EXPECT_EQ(read_all(*fs, file.value.attributes.inode).value, "rank 1 of 3: AAABBB");
                fs->forget(file.value.attributes.inode, 1);
                fs->forget(tag.value.attributes.inode, 1);
            }
            --left;
        });
    }
    MemoryBudget& budget = MemoryBudget::of_process();
    MemoryReservation held(budget);
    ASSERT_TRUE(held.resize(1));
    MemoryReservation wanted(budget);
    int refused = 0;
    while (left > 0) {
        refused += wanted.resize(budget.limit()) ? 0 : 1;  // when all have let go of what they have
        std::this_thread::yield();
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_GT(refused, 0);
    EXPECT_GT(reader_->reads(), 1);
    EXPECT_EQ(fs->live_inodes(), 0U);
}

TEST_F(Concurrency, LookupsAndForgetsBalance) {
    const auto fs = make(4);
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 200; ++round) {
                const auto file = fs->lookup(root_inode, "latest");
                EXPECT_EQ(read_all(*fs, file.value.attributes.inode).value, "step1");
                fs->forget(file.value.attributes.inode, 1);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(fs->live_inodes(), 0U);
}

}  // namespace
}  // namespace ckptfs
