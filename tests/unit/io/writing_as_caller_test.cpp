// What SOURCE lets a caller do, and whose it is then: permissions, umask, access control lists, capabilities.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/posix_source.h"
#include "support/fake_caller.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace writing_as_caller {
namespace {

namespace fs = std::filesystem;
using test::FakeCaller;

constexpr std::uint32_t alice = 61001;
constexpr std::uint32_t bob = 61002;
constexpr std::uint32_t staff = 62001;
constexpr std::uint32_t guests = 62002;
constexpr std::uint32_t project = 62003;

std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

class WritingAsCaller : public ::testing::Test {
 protected:
    void SetUp() override {
        if (::geteuid() != 0) {
            GTEST_SKIP() << "only root can act as somebody else";
        }
        fs::create_directory(tree());
        ASSERT_EQ(::chmod(tree().c_str(), 0777), 0);
        writer_ = (*DirectorySource::open_directory(tree()))->writer();
    }
    [[nodiscard]] std::string tree(const std::string& name = "") const {
        return directory_ / ("tree" + (name.empty() ? "" : "/" + name));
    }
    void make_file(const std::string& name, std::uint32_t user, std::uint32_t group, mode_t mode) const {
        directory_.write("tree/" + name, "0123456789");
        set(name, user, group, mode);
    }
    void make_directory(const std::string& name, std::uint32_t user, std::uint32_t group, mode_t mode) const {
        fs::create_directory(tree(name));
        set(name, user, group, mode);
    }
    void set(const std::string& name, std::uint32_t user, std::uint32_t group, mode_t mode) const {
        ASSERT_EQ(::chown(tree(name).c_str(), user, group), 0);
        ASSERT_EQ(::chmod(tree(name).c_str(), mode), 0);
    }
    [[nodiscard]] struct stat status(const std::string& name) const {
        struct stat found {};
        EXPECT_EQ(::lstat(tree(name).c_str(), &found), 0) << name;
        return found;
    }
    [[nodiscard]] mode_t mode(const std::string& name) const { return status(name).st_mode & 07777; }
    void expect_owner(const std::string& name, std::uint32_t user, std::uint32_t group) const {
        EXPECT_EQ(status(name).st_uid, user) << name;
        EXPECT_EQ(status(name).st_gid, group) << name;
    }

    test::TemporaryDirectory directory_;
    std::shared_ptr<const SourceWriter> writer_;
    FakeCaller alice_{alice, staff};
    FakeCaller bob_{bob, guests};
    FakeCaller root_;
};

TEST_F(WritingAsCaller, WhatIsMadeBelongsToTheCaller) {
    alice_.umask_is = 026;
    EXPECT_TRUE(writer_->make_directory("dir", 0777, alice_).ok());
    EXPECT_TRUE(writer_->open("dir/file", O_CREAT | O_WRONLY, 0666, alice_).ok());
    EXPECT_TRUE(writer_->make_symlink("dir/link", "x", alice_).ok());
    EXPECT_TRUE(writer_->make_node("dir/node", S_IFREG | 0666, 0, alice_).ok());
    for (const std::string name : {"dir", "dir/file", "dir/link", "dir/node"}) {
        expect_owner(name, alice, staff);
    }
    EXPECT_EQ(mode("dir"), 0751U);
    EXPECT_EQ(mode("dir/file"), 0640U);
    EXPECT_EQ(mode("dir/node"), 0640U);
    make_directory("shared", 0, project, 02777);
    EXPECT_TRUE(writer_->make_directory("shared/dir", 0777, bob_).ok());
    expect_owner("shared/dir", bob, project);
    EXPECT_EQ(mode("shared/dir"), 02755U) << "a directory hands its set-group-ID bit on";
    EXPECT_EQ(writer_->make_node("device", S_IFCHR | 0666, 0x103, alice_).error, EPERM);
    EXPECT_TRUE(writer_->make_directory("roots", 0777, root_).ok());
    expect_owner("roots", 0, 0);
}

TEST_F(WritingAsCaller, ADefaultAccessControlListTakesTheUmasksPlace) {
    make_directory("listed", alice, staff, 0777);
    // user::rwx group::rwx group:62003:rwx mask::rwx other::r-x
    const std::array<unsigned char, 44> list{2,  0, 0, 0,                        //
                                             1,  0, 7, 0, 255,  255,  255, 255,  //
                                             4,  0, 7, 0, 255,  255,  255, 255,  //
                                             8,  0, 7, 0, 0x33, 0xf2, 0,   0,    //
                                             16, 0, 7, 0, 255,  255,  255, 255,  //
                                             32, 0, 5, 0, 255,  255,  255, 255};
    const std::string name = "system.posix_acl_default";
    const auto bytes = std::as_bytes(std::span(list));
    EXPECT_EQ(writer_->set_attribute("listed", name, bytes, 0, bob_).error, EPERM);
    const auto set = writer_->set_attribute("listed", name, bytes, 0, alice_);
    if (set.error == EOPNOTSUPP) {
        GTEST_SKIP() << "this file system has no access control lists";
    }
    ASSERT_EQ(set.error, 0);
    bob_.umask_is = 077;
    EXPECT_TRUE(writer_->open("listed/file", O_CREAT | O_WRONLY, 0666, bob_).ok());
    EXPECT_TRUE(writer_->make_directory("listed/dir", 0777, bob_).ok());
    EXPECT_EQ(mode("listed/file"), 0664U);
    EXPECT_EQ(mode("listed/dir"), 0775U);
    EXPECT_TRUE(writer_->open("file", O_CREAT | O_WRONLY, 0666, bob_).ok());
    EXPECT_EQ(mode("file"), 0600U) << "which counts where there is no list";
    const FakeCaller member(61003, guests, {project});
    const FakeCaller stranger(61003, 62009);
    EXPECT_TRUE(writer_->open("listed/file", O_WRONLY, 0, member).ok());
    EXPECT_EQ(writer_->open("listed/file", O_WRONLY, 0, stranger).error, EACCES);
}

TEST_F(WritingAsCaller, WhatTheCallerMayNotDoFails) {
    make_directory("private", alice, staff, 0700);
    make_file("private/file", alice, staff, 0666);
    make_directory("closed", alice, staff, 0755);
    make_file("closed/file", alice, staff, 0644);
    make_file("bobs", bob, guests, 0644);
    const auto refused_on_the_way = [&](const FakeCaller& caller, int error) {
        EXPECT_EQ(writer_->open("private/file", O_RDONLY, 0, caller).error, error);
        EXPECT_EQ(writer_->change("private/file", {.size = 5}, caller).error, error);
        EXPECT_EQ(writer_->attributes("private/file", caller).error, error);
    };
    refused_on_the_way(bob_, EACCES);
    refused_on_the_way(alice_, 0);
    EXPECT_EQ(writer_->open("closed/file", O_WRONLY, 0, bob_).error, EACCES);
    EXPECT_TRUE(writer_->open("closed/file", O_RDONLY, 0, bob_).ok());
    EXPECT_EQ(writer_->open("closed/file", O_RDONLY | O_TRUNC, 0, bob_).error, EACCES);
    EXPECT_EQ(writer_->open("closed/new", O_WRONLY | O_CREAT, 0666, bob_).error, EACCES);
    EXPECT_EQ(writer_->make_directory("closed/new", 0777, bob_).error, EACCES);
    EXPECT_EQ(writer_->make_symlink("closed/new", "x", bob_).error, EACCES);
    EXPECT_EQ(writer_->make_node("closed/new", S_IFREG | 0600, 0, bob_).error, EACCES);
    EXPECT_EQ(writer_->make_link("closed/new", "bobs", bob_).error, EACCES);
    EXPECT_EQ(writer_->remove_file("closed/file", bob_).error, EACCES);
    EXPECT_EQ(writer_->rename("closed/file", "closed/new", 0, bob_).error, EACCES);
    EXPECT_EQ(writer_->rename("closed/file", "new", 0, bob_).error, EACCES);
    EXPECT_EQ(writer_->change("closed/file", {.mode = 0777}, bob_).error, EPERM);
    EXPECT_EQ(writer_->change("closed/file", {.uid = bob}, bob_).error, EPERM);
    EXPECT_EQ(writer_->change("closed/file", {.size = 0}, bob_).error, EACCES);
    EXPECT_EQ(writer_->set_attribute("closed/file", "user.a", as_bytes("x"), 0, bob_).error, EACCES);
    EXPECT_EQ(test::file_bytes(tree("closed/file")), "0123456789");
    EXPECT_EQ(mode("closed/file"), 0644U);
    EXPECT_EQ(writer_->remove_directory("private", bob_).error, ENOTEMPTY);
    EXPECT_TRUE(writer_->remove_file("closed/file", alice_).ok());
    EXPECT_TRUE(writer_->remove_file("private/file", root_).ok()) << "root may";
}

TEST_F(WritingAsCaller, GroupsAreTheCallers) {
    make_directory("team", alice, project, 0770);
    const FakeCaller member(bob, guests, {staff, project});
    EXPECT_EQ(writer_->make_directory("team/dir", 0777, bob_).error, EACCES);
    EXPECT_TRUE(writer_->make_directory("team/dir", 0777, member).ok());
    expect_owner("team/dir", bob, guests);
    EXPECT_TRUE(writer_->change("team/dir", {.gid = project}, member).ok());
    EXPECT_EQ(writer_->change("team/dir", {.gid = 62009}, member).error, EPERM);
    expect_owner("team/dir", bob, project);
    FakeCaller without(bob, guests);
    without.groups_error = ESRCH;
    EXPECT_EQ(writer_->make_directory("other", 0777, without).error, ESRCH) << "rather than as somebody else";
    EXPECT_EQ(writer_->open("other", O_CREAT | O_WRONLY, 0666, without).error, ESRCH);
    EXPECT_FALSE(fs::exists(tree("other")));
}

TEST_F(WritingAsCaller, OneMayNotTouchAnothersFilesInAStickyDirectory) {
    make_directory("tmp", 0, 0, 01777);
    make_file("tmp/alices", alice, staff, 0666);
    make_file("tmp/bobs", bob, guests, 0666);
    EXPECT_EQ(writer_->remove_file("tmp/alices", bob_).error, EPERM);
    EXPECT_EQ(writer_->rename("tmp/alices", "tmp/new", 0, bob_).error, EPERM);
    EXPECT_EQ(writer_->rename("tmp/bobs", "tmp/alices", 0, bob_).error, EPERM);
    EXPECT_TRUE(writer_->rename("tmp/bobs", "tmp/new", 0, bob_).ok());
    EXPECT_TRUE(writer_->remove_file("tmp/alices", alice_).ok());
}

TEST_F(WritingAsCaller, NoCapabilityOfThisProcessIsTheCallers) {
    make_file("file", alice, staff, 0644);
    EXPECT_EQ(writer_->set_attribute("file", "trusted.a", as_bytes("x"), 0, alice_).error, EPERM);
    // cap_setuid+ep, as setcap(8) writes it
    const std::array<unsigned char, 20> setuid{1, 0, 0, 2, 128};
    const auto capability = std::as_bytes(std::span(setuid));
    EXPECT_EQ(writer_->set_attribute("file", "security.capability", capability, 0, alice_).error, EPERM);
    EXPECT_EQ(writer_->change("file", {.uid = bob}, alice_).error, EPERM);
    EXPECT_EQ(::getxattr(tree("file").c_str(), "security.capability", nullptr, 0), -1);
    if (writer_->set_attribute("file", "trusted.a", as_bytes("x"), 0, root_).error == EOPNOTSUPP) {
        GTEST_SKIP() << "this file system has no extended attributes";
    }
    EXPECT_EQ(writer_->attribute("file", "trusted.a", root_).value.size(), 1U);
    EXPECT_EQ(writer_->attribute("file", "trusted.a", alice_).error, ENODATA);
    EXPECT_THAT(writer_->attributes("file", alice_).value, testing::IsEmpty());
}

TEST_F(WritingAsCaller, WritingTakesSetUserIdBitsAway) {
    for (const bool as_root : {false, true}) {
        SCOPED_TRACE(as_root);
        make_file("file", alice, staff, 06777);
        const auto file = writer_->open("file", O_RDWR, 0, bob_).value;
        const FakeCaller& writing = as_root ? root_ : bob_;
        EXPECT_TRUE(file->write(0, as_bytes("x"), writing).ok());
        EXPECT_EQ(mode("file"), as_root ? 06777U : 0777U);
    }
    make_file("file", alice, staff, 06777);
    EXPECT_TRUE(writer_->change("file", {.size = 1}, bob_).ok());
    EXPECT_EQ(mode("file"), 0777U);
    make_file("file", alice, staff, 06777);
    EXPECT_TRUE(writer_->open("file", O_WRONLY | O_TRUNC, 0, bob_).ok());
    EXPECT_EQ(mode("file"), 0777U);
    make_file("file", alice, staff, 06777);
    const auto file = writer_->open("file", O_RDWR, 0, bob_).value;
    EXPECT_TRUE(file->change({.size = 3}, bob_).ok());
    EXPECT_EQ(mode("file"), 0777U);
    make_file("file", alice, staff, 06777);
    EXPECT_TRUE(writer_->change("file", {.mode = 04711, .uid = bob}, root_).ok());
    EXPECT_EQ(mode("file"), 04711U) << "the owner is changed first";
    expect_owner("file", bob, staff);
}

TEST_F(WritingAsCaller, WhatTheKernelWritesBackIsTheOpeners) {
    make_file("file", alice, staff, 04777);
    const auto file = writer_->open("file", O_RDWR, 0, bob_).value;
    FakeCaller nobody(0, 0);
    nobody.known = false;
    EXPECT_TRUE(file->write(0, as_bytes("x"), nobody).ok());
    EXPECT_EQ(mode("file"), 0777U) << "and not root's, whose writing leaves the bit";
}

TEST_F(WritingAsCaller, WhoOpenedAFileIsNotAskedForGroupsAgain) {
    make_file("file", alice, project, 0660);
    const FakeCaller member(bob, guests, {project});
    const auto file = writer_->open("file", O_RDWR, 0, member).value;
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(member.asked_for_groups, 1);
    FakeCaller again(bob, guests);
    again.groups_error = ESRCH;
    EXPECT_TRUE(file->write(0, as_bytes("x"), again).ok());
    EXPECT_EQ(again.asked_for_groups, 0);
}

TEST_F(WritingAsCaller, WhoeverHasAFileOpenWritesThoughItsGroupsCannotBeRead) {
    make_file("file", alice, staff, 06776);
    make_file("from", alice, staff, 0644);
    const auto file = writer_->open("file", O_RDWR, 0, bob_).value;
    const auto from = writer_->open("from", O_RDONLY, 0, bob_).value;
    FakeCaller other(alice, guests);
    other.groups_error = EACCES;
    EXPECT_EQ(file->write(0, as_bytes("x"), other).error, 0) << "to whom the descriptor was handed";
    EXPECT_EQ(mode("file"), 0776U) << "as itself, not as root";
    EXPECT_NE(file->allocate(0, 0, 1, other).error, EACCES);
    EXPECT_NE(from->copy_to(0, *file, 0, 1, other).error, EACCES);
    EXPECT_EQ(file->change({.mode = 0600}, other).error, EACCES);
    EXPECT_EQ(mode("file"), 0776U);
}

TEST_F(WritingAsCaller, AnOpenFileStaysOpenForWhoeverHasIt) {
    make_file("file", alice, staff, 0600);
    const auto file = writer_->open("file", O_RDWR, 0, alice_).value;
    EXPECT_EQ(file->write(0, as_bytes("bob"), bob_).value, 3U);
    EXPECT_EQ(file->change({.mode = 0666}, bob_).error, EPERM);
    EXPECT_TRUE(file->change({.size = 3}, bob_).ok());
    EXPECT_TRUE(file->change({.mode = 0640}, alice_).ok());
    EXPECT_EQ(test::file_bytes(tree("file")), "bob");
}

TEST_F(WritingAsCaller, AfterAFailureTheThreadIsItselfAgain) {
    make_directory("private", alice, staff, 0700);
    EXPECT_EQ(writer_->make_directory("private/dir", 0777, bob_).error, EACCES);
    EXPECT_EQ(writer_->make_directory("private/dir", 0777, FakeCaller(UINT32_MAX, staff)).error, EOVERFLOW);
    fs::create_directory(tree("private/dir"));
    expect_owner("private/dir", 0, 0);
}

TEST_F(WritingAsCaller, TwoCallersAtOnceAreTwoCallers) {
    make_directory("alices", alice, staff, 0700);
    make_directory("bobs", bob, guests, 0700);
    constexpr int rounds = 300;
    const auto save = [&](const FakeCaller& caller, const std::string& own, const std::string& others) {
        for (int round = 0; round < rounds; ++round) {
            const std::string name = "/" + std::to_string(round);
            const auto file = writer_->open(own + name, O_CREAT | O_EXCL | O_WRONLY, 0666, caller);
            ASSERT_EQ(file.error, 0);
            EXPECT_TRUE(file.value->write(0, as_bytes("x"), caller).ok());
            EXPECT_EQ(writer_->make_directory(others + name + "d", 0777, caller).error, EACCES);
        }
    };
    bob_.umask_is = 0;
    std::thread first([&] { save(alice_, "alices", "bobs"); });
    std::thread second([&] { save(bob_, "bobs", "alices"); });
    for (int round = 0; round < rounds; ++round) {
        ASSERT_TRUE(fs::create_directory(tree("r" + std::to_string(round))));
    }
    first.join();
    second.join();
    for (int round = 0; round < rounds; ++round) {
        const std::string name = std::to_string(round);
        expect_owner("alices/" + name, alice, staff);
        expect_owner("bobs/" + name, bob, guests);
        expect_owner("r" + name, 0, 0);
        EXPECT_EQ(mode("alices/" + name), 0644U);
        EXPECT_EQ(mode("bobs/" + name), 0666U);
    }
}

}  // namespace
}  // namespace writing_as_caller
}  // namespace ckptfs::io
