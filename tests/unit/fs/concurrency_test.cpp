// Many threads at once; meant to run under the thread sanitizer too.
#include <thread>

#include "fixture.h"

namespace ckptfs {
namespace {

using Concurrency = fake::FileSystemTest;

TEST_F(Concurrency, FirstLookupsOfOneTagReadItOnceAndHinderNobodyElse) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    reader_->hold(true);
    std::vector<std::thread> threads;
    std::atomic<int> found = 0;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] { found += fs->lookup(tag, "rank_0.pt").ok() ? 1 : 0; });
    }
    reader_->wait_for_reads(1);
    // The reading has not come back, and all else works.
    EXPECT_EQ(read_all(*fs, inode(*fs, "plain/notes")).value, "some notes");
    EXPECT_TRUE(fs->getattr(tag).ok());
    EXPECT_EQ(inode(*fs, "step1"), tag);
    EXPECT_EQ(names(*fs, root_inode).size(), 7U);
    EXPECT_TRUE(fs->statfs().ok());
    EXPECT_EQ(found, 0);
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
                }
                fs->forget(tag.value.attributes.inode, 1);
                fs->forget(top.value.attributes.inode, 1);
            }
        });
    }
    for (int save = 0; save < 30 || whole < 20; ++save) {
        // The two shards change one after the other: a tag read in between is what a reader must not believe.
        const std::string content{'=', static_cast<char>('a' + save % 26)};
        source_->put_file("step1/a.shard", content);
        source_->put_file("step1/b.shard", content);
        pass(1000);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    stop = true;
    for (auto& thread : threads) {
        thread.join();
    }
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
