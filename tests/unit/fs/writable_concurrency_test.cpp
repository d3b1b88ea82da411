// Ranks that save, readers and removals at the same time.
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "writable_fixture.h"

namespace writable_concurrency {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Concurrently : public WritableTest {
 protected:
    /// All at once, until each has ended.
    static void run(const std::vector<std::function<void()>>& actions) {
        std::vector<std::thread> threads;
        threads.reserve(actions.size());
        for (const auto& action : actions) {
            threads.emplace_back(action);
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
    }
    std::function<void()> reading(const std::string& tag, std::atomic<bool>& ends,
                                  const std::function<void(const std::string&, const std::string&)>& seen) {
        return [this, tag, &ends, seen] {
            while (!ends) {
                Program reader(*file_system_);
                const auto names = reader.list(tag);
                for (const std::string& name : names.value) {
                    const auto text = reader.read(tag + "/" + name);
                    if (text.ok()) {
                        seen(name, text.value);
                    } else {
                        EXPECT_THAT(text.error, AnyOf(ENOENT, ESTALE)) << name;
                    }
                }
                pass(10);
            }
        };
    }
};

TEST_F(Concurrently, RanksSaveAndRotate) {
    file_system_ = make(4);
    constexpr int saves = 20;
    constexpr std::size_t ranks = 4;
    for (int step = 0; step < saves; ++step) {
        const std::string tag = "tag" + std::to_string(step);
        const std::string save = "s" + std::to_string(step);
        const auto files = saved_files(ranks, save);
        std::atomic<bool> ends = false;
        std::atomic<std::size_t> left = ranks;
        std::vector<std::function<void()>> actions;
        for (std::size_t rank = 0; rank < ranks; ++rank) {
            actions.emplace_back([&, rank] {
                Program program(*file_system_);
                EXPECT_THAT(program.mkdir(tag), AnyOf(0, EEXIST));
                EXPECT_EQ(program.write(tag + "/" + files[rank + 1].first, files[rank + 1].second), 0);
                if (rank == 0) {
                    EXPECT_EQ(program.write(tag + "/.tmp", files[0].second), 0);
                    EXPECT_EQ(program.rename(tag + "/.tmp", tag + "/" + files[0].first), 0);
                    EXPECT_THAT(program.remove_tree("tag" + std::to_string(step - 1)), AnyOf(0, ENOENT));
                }
                if (--left == 0) {
                    ends = true;  // one that stored what it finds could take it back
                }
            });
        }
        actions.push_back(reading(tag, ends, [](const std::string&, const std::string&) {}));
        run(actions);
        pass(3'000);
        Program program(*file_system_);
        for (const auto& [name, text] : files) {
            EXPECT_EQ(program.read(tag + "/" + name).value, text);
        }
    }
    EXPECT_THAT(in_source(), ElementsAre("tag19"));
}

TEST_F(Concurrently, ATagIsRemovedWhileItIsRead) {
    for (int round = 0; round < 20; ++round) {
        save_in_source("tag", 4, "s1");
        pass(3'000);
        std::atomic<bool> ends = false;
        std::atomic<int> removed = 0;
        const auto remove = [&](bool backwards) {
            Program program(*file_system_);
            std::vector<std::string> names{"model.shard", "rank_0.shard", "rank_1.shard"};
            if (backwards) {
                std::reverse(names.begin(), names.end());
            }
            for (const std::string& name : names) {
                const int error = program.unlink("tag/" + name);
                EXPECT_THAT(error, AnyOf(0, ENOENT));
                removed += error == 0 ? 1 : 0;
            }
            ends = true;
        };
        run({[&] { remove(false); }, [&] { remove(true); },
             reading("tag", ends, [](const std::string& name, const std::string& text) {
                 EXPECT_EQ(text, cut_text(name, own_size, 4, "s1"));
             })});
        EXPECT_EQ(removed, 3);
        Program program(*file_system_);
        EXPECT_THAT(in_source("tag"), IsEmpty());
        EXPECT_EQ(program.rmdir("tag"), 0);
    }
}

TEST_F(Concurrently, ATagIsSavedAnewWhileItIsRead) {
    for (int round = 0; round < 20; ++round) {
        const std::string tag = "tag" + std::to_string(round);
        save_in_source(tag, 4, "s1");
        const auto files = saved_files(own_size, "s2");
        std::atomic<bool> ends = false;
        std::atomic<std::size_t> left = files.size();
        std::vector<std::function<void()>> actions;
        for (const auto& file : files) {
            actions.emplace_back([&] {
                Program program(*file_system_);
                EXPECT_EQ(program.write(tag + "/" + file.first, file.second), 0);
                if (--left == 0) {
                    ends = true;  // one that stored what it finds could take it back
                }
            });
        }
        // A file that has been cut off and not yet written is empty.
        actions.push_back(reading(tag, ends, [&](const std::string& name, const std::string& text) {
            const auto saved = saved_files(4, "s1");
            const auto is_of = [&](const auto& of_save) {
                return std::find(of_save.begin(), of_save.end(), std::pair(name, text)) != of_save.end();
            };
            EXPECT_TRUE(text.empty() || is_of(saved) || is_of(files) || text == cut_text(name, own_size, 4, "s1"))
                << name << ": " << text;
        }));
        run(actions);
        pass(3'000);
        Program program(*file_system_);
        for (const auto& [name, text] : files) {
            EXPECT_EQ(program.read(tag + "/" + name).value, text);
        }
    }
}

}  // namespace
}  // namespace writable_concurrency
