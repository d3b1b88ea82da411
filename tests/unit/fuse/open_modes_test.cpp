// The table of open inodes, against a model of what the kernel accepts.
#include "fuse/open_modes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/unique_fd.h"
#include "support/temporary_directory.h"

namespace ckptfs {
namespace {

class Root final : public Caller {
 public:
    [[nodiscard]] std::uint32_t uid() const override { return 0; }
    [[nodiscard]] std::uint32_t gid() const override { return 0; }
    [[nodiscard]] std::uint32_t umask() const override { return 0; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override { return std::vector<std::uint32_t>{}; }
};

class FakeBackingFiles final : public BackingFiles {
 public:
    Outcome<std::int32_t> open(int /*descriptor*/, const Caller& /*caller*/) override {
        ++asked;
        if (refusal != 0) {
            return Errno{refusal};
        }
        if (out_of_memory) {
            throw std::bad_alloc();
        }
        open_now.insert(++last);
        return last;
    }
    void close(std::int32_t backing) noexcept override { EXPECT_EQ(open_now.erase(backing), 1U); }

    int refusal = 0;
    bool out_of_memory = false;
    int asked = 0;
    std::int32_t last = 0;
    std::set<std::int32_t> open_now;
};

class OpenModesTest : public ::testing::Test {
 protected:
    int file(const std::string& name) {
        files_.emplace_back(::open((directory_ / name).c_str(), O_RDWR | O_CREAT, 0644));
        EXPECT_TRUE(files_.back().valid());
        return files_.back().get();
    }
    Outcome<OpenModes::Opening> enter(std::uint64_t inode, int descriptor) {
        return modes_.enter(inode, descriptor, root_);
    }
    std::int32_t backing(std::uint64_t inode, int descriptor) {
        const auto opening = enter(inode, descriptor);
        EXPECT_EQ(opening.error, 0);
        return opening.value.backing;
    }

    FakeBackingFiles kernel_;
    OpenModes modes_{kernel_};

 private:
    test::TemporaryDirectory directory_;
    std::vector<io::UniqueFd> files_;
    Root root_;
};

TEST_F(OpenModesTest, AllOpensOfAnInodeShareOneBackingFile) {
    const int written = file("a");
    const int read = file("a");
    EXPECT_EQ(backing(5, written), 1);
    EXPECT_EQ(backing(5, read), 1);
    EXPECT_EQ(backing(6, file("b")), 2);
    EXPECT_EQ(kernel_.asked, 2);
    modes_.leave(5);
    EXPECT_EQ(kernel_.open_now, (std::set<std::int32_t>{1, 2}));
    EXPECT_EQ(backing(5, written), 1);  // one is still open
    modes_.leave(5);
    modes_.leave(5);
    EXPECT_EQ(kernel_.open_now, (std::set<std::int32_t>{2}));
    EXPECT_EQ(backing(5, written), 3);
    EXPECT_EQ(modes_.passed_through(), 5U);
}

TEST_F(OpenModesTest, WhoeverIsFirstDecidesForAll) {
    const int a = file("a");
    EXPECT_EQ(backing(5, -1), 0);
    EXPECT_EQ(backing(5, a), 0);
    modes_.leave(5);
    EXPECT_EQ(backing(5, a), 0);
    modes_.leave(5);
    modes_.leave(5);
    EXPECT_EQ(backing(5, a), 1);
    EXPECT_EQ(backing(5, a), 1);
}

TEST_F(OpenModesTest, WhatHasNoFileOfSourcesIsNeverPassedThrough) {
    EXPECT_EQ(backing(5, -1), 0);
    EXPECT_EQ(kernel_.asked, 0);
}

TEST_F(OpenModesTest, AnotherFileUnderAnOpenInodeIsStale) {
    const int a = file("a");
    EXPECT_EQ(backing(5, a), 1);
    EXPECT_EQ(enter(5, file("b")).error, ESTALE);
    EXPECT_EQ(enter(5, -1).error, ESTALE);
    modes_.leave(5);  // the refused were not counted
    EXPECT_TRUE(kernel_.open_now.empty());
}

TEST_F(OpenModesTest, SetUserIdFilesGoThroughTheDaemon) {
    const int a = file("a");
    for (const mode_t bit : {mode_t{S_ISUID}, mode_t{S_ISGID}}) {
        ASSERT_EQ(::fchmod(a, 0755 | bit), 0);
        EXPECT_EQ(backing(5, a), 0);
        modes_.leave(5);
    }
    ASSERT_EQ(::fchmod(a, 0755), 0);
    EXPECT_EQ(backing(5, a), 1);
}

TEST_F(OpenModesTest, ARefusalForGoodIsNotAskedForAgain) {
    const int a = file("a");
    EXPECT_EQ(backing(5, a), 1);
    kernel_.refusal = EPERM;
    EXPECT_EQ(backing(6, file("b")), 0);
    kernel_.refusal = 0;
    EXPECT_EQ(backing(7, file("c")), 0);
    EXPECT_EQ(kernel_.asked, 2);
    EXPECT_EQ(backing(5, a), 1);  // who is first has decided
}

TEST_F(OpenModesTest, ARefusalOfOneFileIsOfThatFile) {
    kernel_.refusal = ENOMEM;
    EXPECT_EQ(backing(6, file("b")), 0);
    kernel_.refusal = 0;
    EXPECT_EQ(backing(7, file("c")), 1);
}

TEST_F(OpenModesTest, WithoutMemoryNothingIsCounted) {
    const int a = file("a");
    kernel_.out_of_memory = true;
    EXPECT_EQ(enter(5, a).error, ENOMEM);
    kernel_.out_of_memory = false;
    EXPECT_EQ(backing(5, a), 1);
    modes_.leave(5);
    EXPECT_TRUE(kernel_.open_now.empty());
}

TEST_F(OpenModesTest, ManyMayOpenAndCloseAtOnce) {
    const int a = file("a");
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 2000; ++round) {
                EXPECT_NE(backing(5, a), 0);
                modes_.leave(5);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_TRUE(kernel_.open_now.empty());
    EXPECT_EQ(modes_.passed_through(), 8000U);
}

}  // namespace
}  // namespace ckptfs
