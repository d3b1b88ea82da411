// Links, followed as the kernel would, up to a mount of ckptfs.
#include "io/link_walk.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "io/posix_source.h"
#include "io/unique_fd.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace link_walk {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// To which every device is one of ckptfs, save the one that the directory lies on.
class AllMountsAreViews final : public SystemCalls {
 public:
    bool is_view(dev_t /*device*/) const override {
        ++asked;
        return true;
    }
    mutable int asked = 0;
};

/// In which the directory `automount` holds what is called `device`, once something makes the kernel mount it: names of
/// what lies below, and opening as a directory or for reading, but not O_PATH alone.
class Automounting final : public SystemCalls {
 public:
    explicit Automounting(fs::path directory) : directory_(std::move(directory)) {}

    int open_at(int directory, const char* path, int flags) const override {
        const std::string_view name(path);
        if (name == "automount" && ((flags & O_DIRECTORY) != 0 || (flags & O_PATH) == 0)) {
            fs::remove(directory_ / name);
            fs::rename(directory_ / "device", directory_ / name);
        }
        return SystemCalls::open_at(directory, path, flags);
    }

 private:
    const fs::path directory_;
};

class LinkWalk : public ::testing::Test {
 protected:
    void SetUp() override {
        fs::create_directories(source_ / "runs/one");
        fs::create_directories(base_ / "outside/deep");
        std::ofstream(source_ / "runs/file") << "x";
        root_ = UniqueFd(calls_.open_at(AT_FDCWD, source_.c_str(), O_PATH | O_DIRECTORY));
        ASSERT_TRUE(root_.valid());
    }
    [[nodiscard]] Result<std::string> follow(const std::string& path) const {
        return follow_links(calls_, root_.get(), path);
    }

    test::TemporaryDirectory temporary_;
    fs::path base_ = fs::canonical(temporary_.path());
    fs::path source_ = base_ / "source";
    SystemCalls calls_;
    UniqueFd root_;
};

TEST_F(LinkWalk, SaysWhereLinksLead) {
    fs::create_symlink("runs/one", source_ / "relative");
    fs::create_symlink(source_ / "runs", source_ / "absolute");
    fs::create_symlink("../relative/../file", source_ / "runs/through");
    fs::create_symlink("../outside", source_ / "leaving");
    fs::create_symlink("../source/runs", source_ / "back");
    fs::create_symlink(base_ / "alias/runs", source_ / "aliased");
    fs::create_symlink("source", base_ / "alias");
    fs::create_symlink("/", source_ / "top");
    fs::create_symlink(source_, base_ / "outside/home");
    for (const auto& [path, target] : {std::pair<std::string, std::string>{"", ""},
                                       {"runs/./one//", "runs/one"},
                                       {"relative", "runs/one"},
                                       {"absolute/one", "runs/one"},
                                       {"runs/through", "runs/file"},
                                       {"leaving", base_ / "outside"},
                                       {"leaving/deep", base_ / "outside/deep"},
                                       {"leaving/home", ""},
                                       {base_ / "outside/home/runs", "runs"},
                                       {"back", "runs"},
                                       {"aliased", "runs"},
                                       {"top", "/"}}) {
        const auto found = follow(path);
        ASSERT_TRUE(found.ok()) << path << ": " << found.error().message();
        EXPECT_EQ(*found, target) << path;
    }
}

TEST_F(LinkWalk, SaysWhyALinkCannotBeFollowed) {
    fs::create_symlink("nowhere", source_ / "dangling");
    fs::create_symlink("loop", source_ / "loop");
    EXPECT_EQ(follow("dangling").error().code(), ErrorCode::not_found);
    EXPECT_EQ(follow("runs/file/below").error().code(), ErrorCode::not_found);
    EXPECT_EQ(follow("loop").error().system_errno(), ELOOP);
    fs::path chain = source_ / "runs";
    for (int link = 0; link < 40; ++link) {
        const fs::path next = source_ / ("chain" + std::to_string(link));
        fs::create_symlink(chain.filename(), next);
        chain = next;
    }
    EXPECT_EQ(*follow("chain39"), "runs") << "as many as the kernel follows";
    fs::create_symlink("chain39", source_ / "chain40");
    EXPECT_EQ(follow("chain40").error().system_errno(), ELOOP);
}

TEST_F(LinkWalk, StopsAtAMountOfCkptfs) {
    fs::create_symlink("/proc/self", source_ / "view");
    fs::create_symlink("runs", source_ / "own");
    const AllMountsAreViews calls;
    const auto found = follow_links(calls, root_.get(), "view");
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().code(), ErrorCode::unsupported);
    EXPECT_THAT(found.error().message(), HasSubstr("which is a mount of ckptfs itself"));
    EXPECT_EQ(calls.asked, 1);
    EXPECT_EQ(*follow_links(calls, root_.get(), "own"), "runs")
        << "what is on SOURCE's own device is never asked about";
    EXPECT_EQ(calls.asked, 1);
    EXPECT_TRUE(follow("view").ok()) << "/proc is no view";
}

TEST_F(LinkWalk, NeverEntersAMountThatCoversTheRoot) {
    fs::create_symlink("../relative/../file", source_ / "runs/through");
    fs::create_symlink("runs/one", source_ / "relative");
    fs::create_symlink("../outside", source_ / "leaving");
    fs::create_symlink("../source/runs", source_ / "by_name");
    fs::create_symlink(source_ / "runs/file", source_ / "absolute");
    bool is_covered = false;
    const auto walk_below_a_mount = [&] {  // of this thread alone, which ends with it
        if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
            return;
        }
        const UniqueFd root(calls_.open_at(AT_FDCWD, source_.c_str(), O_PATH | O_DIRECTORY));
        is_covered = ::mount("covering", source_.c_str(), "tmpfs", 0, nullptr) == 0;
        if (!is_covered) {
            return;
        }
        EXPECT_TRUE(fs::is_empty(source_));
        const AllMountsAreViews calls;
        for (const auto& [path, target] : {std::pair<std::string, std::string>{"relative/..", "runs"},
                                           {"runs/through", "runs/file"},
                                           {"runs/one/../../runs", "runs"},
                                           {"leaving/deep", base_ / "outside/deep"}}) {
            const auto found = follow_links(calls, root.get(), path);
            ASSERT_TRUE(found.ok()) << path << ": " << found.error().message();
            EXPECT_EQ(*found, target) << path;
        }
        for (const std::string path : {"by_name", "absolute", "runs/../by_name/one"}) {
            const auto found = follow_links(calls, root.get(), path);
            ASSERT_FALSE(found.ok()) << path;
            EXPECT_EQ(found.error().code(), ErrorCode::unsupported) << path;
        }
    };
    std::thread(walk_below_a_mount).join();
    if (!is_covered && ::geteuid() != 0) {
        GTEST_SKIP() << "only root can mount something";
    }
    EXPECT_TRUE(is_covered);
}

TEST_F(LinkWalk, AFileHasNoParentOfThatWay) {
    EXPECT_EQ(follow("runs/file/..").error().code(), ErrorCode::not_found);
}

TEST_F(LinkWalk, TheKernelFollowsNoLinkIntoAMountOfCkptfs) {
    fs::create_symlink("/proc/self/status", source_ / "file");
    fs::create_symlink("file", source_ / "chain");
    fs::create_symlink("/proc/self", source_ / "directory");
    const auto source = *DirectorySource::open_directory(source_, std::make_shared<const AllMountsAreViews>());
    const FileInfo info = *source->stat("file");
    const auto expect_refused = [](const auto& answer) {
        ASSERT_FALSE(answer.ok());
        EXPECT_EQ(answer.error().code(), ErrorCode::unsupported);
        EXPECT_THAT(answer.error().message(), HasSubstr("which is a mount of ckptfs itself"));
    };
    for (const std::string name : {"file", "chain"}) {
        SCOPED_TRACE(name);
        expect_refused(source->stat_target(name));
        expect_refused(source->granted_mode(name, info));
        expect_refused(source->open(name));
    }
    expect_refused(source->list("directory"));
    expect_refused(source->list("directory/fd"));
    expect_refused(source->open("directory/status"));
}

TEST_F(LinkWalk, GoesOnBelowAnAutomountPoint) {
    fs::create_directory(source_ / "automount");
    fs::create_directories(source_ / "device/run");
    fs::create_symlink("automount/run", source_ / "link");
    const auto found = follow_links(Automounting(source_), root_.get(), "link");
    ASSERT_TRUE(found.ok()) << found.error().message();
    EXPECT_EQ(*found, "automount/run");
}

TEST_F(LinkWalk, WhatIsFollowedIsASourcePath) {
    fs::create_symlink(base_ / "outside", source_ / "link");
    std::ofstream(base_ / "outside/file") << "far away";
    const auto source = DirectorySource::open_directory(source_).value();
    const std::string target = *source->resolve("link");
    EXPECT_EQ(source->stat(target)->type, FileType::directory);
    EXPECT_EQ(source->list(target)->size(), 2U);
    EXPECT_EQ((*source->open(target + "/file"))->size(), 8U);
    EXPECT_EQ(source->display(target), target);
    fs::create_symlink("nowhere", source_ / "dangling");
    EXPECT_THAT(source->resolve("dangling").error().message(), HasSubstr((source_ / "dangling").string()));
}

TEST_F(LinkWalk, TheWayToAPlaceIsEveryDirectoryAboveIt) {
    const auto source = DirectorySource::open_directory(source_).value();
    ASSERT_EQ(::chmod((base_ / "outside").c_str(), 0711), 0);
    ASSERT_EQ(::chmod(source_.c_str(), 0750), 0);
    const auto depth = static_cast<std::size_t>(std::distance(base_.begin(), base_.end()));
    const auto outside = source->way_to(base_ / "outside/deep");
    ASSERT_EQ(outside->size(), depth + 1);
    EXPECT_EQ(outside->front().mode, 0711U);
    const auto above = source->way_to("");
    EXPECT_EQ(above->size(), depth);
    EXPECT_EQ(above->back().stamp.inode, source->stat("/")->stamp.inode);
    const auto inside = source->way_to("runs/one");
    ASSERT_EQ(inside->size(), 2U);
    EXPECT_EQ(inside->back().mode, 0750U);
    EXPECT_TRUE(source->way_to("/")->empty());
}

TEST_F(LinkWalk, AnAccessControlListTakesAwayWhatItDenies) {
    const auto source = DirectorySource::open_directory(source_).value();
    const fs::path file = source_ / "runs/file";
    ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
    EXPECT_EQ(*source->granted_mode("runs/file", *source->stat("runs/file")), 0640U);
    // user::rw- user:42:r-- group::--- mask::r-- other::---
    const std::array<unsigned char, 44> list{2,  0, 0, 0,                      //
                                             1,  0, 6, 0, 255, 255, 255, 255,  //
                                             2,  0, 4, 0, 42,  0,   0,   0,    //
                                             4,  0, 0, 0, 255, 255, 255, 255,  //
                                             16, 0, 4, 0, 255, 255, 255, 255,  //
                                             32, 0, 0, 0, 255, 255, 255, 255};
    if (::setxattr(file.c_str(), "system.posix_acl_access", list.data(), list.size(), 0) != 0 && errno == EOPNOTSUPP) {
        GTEST_SKIP() << "this file system has no access control lists";
    }
    const auto info = source->stat("runs/file");
    EXPECT_EQ(info->mode, 0640U);
    EXPECT_EQ(*source->granted_mode("runs/file", *info), 0600U);
    EXPECT_EQ(*source->granted_mode(file, *info), 0600U);
    fs::create_symlink("file", source_ / "runs/link");
    EXPECT_EQ(*source->granted_mode("runs/link", *info), 0600U);
    EXPECT_EQ(source->granted_mode("nowhere", *info).error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace link_walk
}  // namespace ckptfs::io
