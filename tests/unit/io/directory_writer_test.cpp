// What a SourceWriter does to a directory, as its own user: every operation, links, faults of the system.
#include "io/directory_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/posix_source.h"
#include "support/fake_caller.h"
#include "support/faulty_system_calls.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace writing {
namespace {

namespace fs = std::filesystem;
using test::file_bytes;
using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(const std::vector<std::byte>& bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        text.push_back(static_cast<char>(byte));
    }
    return text;
}

struct stat status_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
}

mode_t permissions_of(const std::string& path) {
    return status_of(path).st_mode & 07777;
}

class DirectoryWriterTest : public ::testing::Test {
 protected:
    void SetUp() override {
        constexpr std::uint64_t least = 1;
        fs::create_directory(directory_ / "tree");
        const auto source = DirectorySource::open_directory(tree(), calls_, least);
        ASSERT_TRUE(source.ok());
        source_ = *source;
        writer_ = source_->writer();
    }
    [[nodiscard]] std::string tree(const std::string& name = "") const {
        return directory_ / ("tree" + (name.empty() ? "" : "/" + name));
    }
    void make(const std::string& name, std::string_view bytes) const { directory_.write("tree/" + name, bytes); }
    [[nodiscard]] std::shared_ptr<const SourceHandle> open(const std::string& path, int flags,
                                                           std::uint32_t mode = 0666) const {
        const auto opened = writer_->open(path, flags, mode, me_);
        EXPECT_EQ(opened.error, 0) << path;
        return opened.value;
    }
    [[nodiscard]] int open_error(const std::string& path, int flags) const {
        return writer_->open(path, flags, 0666, me_).error;
    }

    test::TemporaryDirectory directory_;
    std::shared_ptr<test::FaultySystemCalls> calls_ = std::make_shared<test::FaultySystemCalls>();
    std::shared_ptr<const DirectorySource> source_;
    std::shared_ptr<const SourceWriter> writer_;
    test::FakeCaller me_;
};

TEST_F(DirectoryWriterTest, MakesWhatItIsAskedFor) {
    me_.umask_is = 027;
    EXPECT_TRUE(writer_->make_directory("dir", 01777, me_).ok());
    EXPECT_EQ(permissions_of(tree("dir")), 01750U);
    EXPECT_NE(open("dir/file", O_CREAT | O_EXCL | O_WRONLY, 0666), nullptr);
    EXPECT_EQ(permissions_of(tree("dir/file")), 0640U);
    EXPECT_TRUE(writer_->make_node("dir/plain", S_IFREG | 0604, 0, me_).ok());
    EXPECT_EQ(permissions_of(tree("dir/plain")), 0600U);
    EXPECT_TRUE(writer_->make_node("dir/pipe", S_IFIFO | 0600, 0, me_).ok());
    EXPECT_TRUE(S_ISFIFO(status_of(tree("dir/pipe")).st_mode));
    EXPECT_TRUE(writer_->make_symlink("dir/link", "../anywhere", me_).ok());
    EXPECT_EQ(fs::read_symlink(tree("dir/link")), "../anywhere");
    EXPECT_TRUE(writer_->make_link("dir/hard", "dir/link", me_).ok());
    EXPECT_EQ(status_of(tree("dir/hard")).st_ino, status_of(tree("dir/link")).st_ino) << "the link itself";
    for (const std::string name : {"dir", "dir/file", "dir/pipe", "dir/link"}) {
        EXPECT_EQ(writer_->make_directory(name, 0777, me_).error, EEXIST);
        EXPECT_EQ(writer_->make_node(name, S_IFREG | 0600, 0, me_).error, EEXIST);
        EXPECT_EQ(writer_->make_symlink(name, "x", me_).error, EEXIST);
        EXPECT_EQ(writer_->make_link(name, "dir/file", me_).error, EEXIST);
        EXPECT_EQ(open_error(name, O_CREAT | O_EXCL | O_WRONLY), EEXIST);
    }
    EXPECT_EQ(writer_->make_directory("nowhere/dir", 0777, me_).error, ENOENT);
    EXPECT_EQ(writer_->make_directory("dir/file/dir", 0777, me_).error, ENOTDIR);
    EXPECT_EQ(writer_->make_directory(std::string(256, 'x'), 0777, me_).error, ENAMETOOLONG);
}

TEST_F(DirectoryWriterTest, TheUmaskOfTheProcessStaysWhatItIs) {
    const mode_t before = ::umask(011);
    me_.umask_is = 077;
    EXPECT_TRUE(writer_->make_directory("dir", 0777, me_).ok());
    EXPECT_EQ(permissions_of(tree("dir")), 0700U);
    EXPECT_EQ(::umask(before), 011U);
}

TEST_F(DirectoryWriterTest, RemovesAndRenames) {
    make("file", "bytes");
    make("other", "others");
    fs::create_directories(tree("full/empty"));
    fs::create_symlink("file", tree("link"));
    EXPECT_EQ(writer_->remove_directory("full", me_).error, ENOTEMPTY);
    EXPECT_EQ(writer_->remove_directory("file", me_).error, ENOTDIR);
    EXPECT_EQ(writer_->remove_file("full", me_).error, EISDIR);
    EXPECT_EQ(writer_->remove_file("nothing", me_).error, ENOENT);
    EXPECT_TRUE(writer_->remove_directory("full/empty", me_).ok());
    EXPECT_TRUE(writer_->remove_file("link", me_).ok());
    EXPECT_TRUE(fs::exists(tree("file")));
    EXPECT_EQ(writer_->rename("file", "other", RENAME_NOREPLACE, me_).error, EEXIST);
    EXPECT_TRUE(writer_->rename("file", "other", RENAME_EXCHANGE, me_).ok());
    EXPECT_EQ(file_bytes(tree("file")), "others");
    EXPECT_TRUE(writer_->rename("file", "full/other", 0, me_).ok());
    EXPECT_TRUE(writer_->rename("other", "full/other", 0, me_).ok());
    EXPECT_EQ(file_bytes(tree("full/other")), "bytes");
    EXPECT_EQ(writer_->rename("full", "full/below", 0, me_).error, EINVAL);
    EXPECT_EQ(writer_->rename("full", "nowhere/full", 0, me_).error, ENOENT);
}

TEST_F(DirectoryWriterTest, OpensAsItIsAsked) {
    make("file", "0123456789");
    EXPECT_EQ(open_error("nothing", O_RDWR), ENOENT);
    EXPECT_EQ(open_error("", O_WRONLY), EISDIR);
    EXPECT_EQ(open_error("", O_RDONLY), EISDIR);
    EXPECT_EQ(open_error("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
    EXPECT_TRUE(open("", O_RDONLY | O_DIRECTORY)->sync(false).ok());
    const auto kept = open("file", O_RDONLY);
    EXPECT_EQ(kept->write(0, bytes_of("x"), me_).error, EBADF);
    EXPECT_EQ(::fcntl(kept->descriptor(), F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDONLY);
    EXPECT_EQ(::fcntl(kept->descriptor(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(file_bytes(tree("file")).size(), 10U);
    const auto emptied = open("file", O_WRONLY | O_TRUNC | O_DIRECT | O_NOATIME);
    EXPECT_EQ(::fcntl(emptied->descriptor(), F_GETFL) & (O_DIRECT | O_NOATIME | O_ACCMODE), O_WRONLY);
    EXPECT_EQ(kept->info().value.stamp.size, 0U);
    EXPECT_EQ(emptied->info().value.stamp, kept->info().value.stamp);
}

TEST_F(DirectoryWriterTest, OpensNothingThatIsNoFile) {
    ASSERT_EQ(::mkfifo(tree("pipe").c_str(), 0600), 0);
    for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_CREAT}) {
        EXPECT_EQ(open_error("pipe", flags), ENXIO);
    }
    fs::create_symlink("pipe", tree("link"));
    EXPECT_EQ(open_error("link", O_RDONLY), ELOOP);
}

TEST_F(DirectoryWriterTest, FollowsNoLink) {
    class WithoutOpenat2 final : public SystemCalls {
        int openat2(int /*directory*/, const char* /*path*/, int /*flags*/) const override { return -ENOSYS; }
    };
    fs::create_directories(tree("dir/deep"));
    fs::create_directory(directory_ / "outside");
    directory_.write("outside/file", "outside");
    make("file", "inside");
    fs::create_symlink("dir", tree("link"));
    fs::create_symlink(directory_ / "outside", tree("dir/out"));
    fs::create_symlink(directory_ / "outside/file", tree("dangerous"));
    for (const bool without_openat2 : {false, true}) {
        SCOPED_TRACE(without_openat2);
        if (without_openat2) {
            writer_ = (*DirectorySource::open_directory(tree(), std::make_shared<const WithoutOpenat2>()))->writer();
        }
        for (const std::string way : {"link", "dir/out", "link/deep"}) {
            SCOPED_TRACE(way);
            EXPECT_EQ(open_error(way + "/file", O_WRONLY | O_CREAT), ELOOP);
            EXPECT_EQ(writer_->make_directory(way + "/x", 0777, me_).error, ELOOP);
            EXPECT_EQ(writer_->make_symlink(way + "/x", "y", me_).error, ELOOP);
            EXPECT_EQ(writer_->make_node(way + "/x", S_IFREG | 0600, 0, me_).error, ELOOP);
            EXPECT_EQ(writer_->make_link(way + "/x", "file", me_).error, ELOOP);
            EXPECT_EQ(writer_->make_link("x", way + "/file", me_).error, ELOOP);
            EXPECT_EQ(writer_->rename("file", way + "/x", 0, me_).error, ELOOP);
            EXPECT_EQ(writer_->rename(way + "/file", "x", 0, me_).error, ELOOP);
            EXPECT_EQ(writer_->remove_file(way + "/file", me_).error, ELOOP);
            EXPECT_EQ(writer_->remove_directory(way + "/deep", me_).error, ELOOP);
            EXPECT_EQ(writer_->change(way + "/file", {.mode = 0777}, me_).error, ELOOP);
            EXPECT_EQ(writer_->attributes(way + "/file", me_).error, ELOOP);
        }
        for (const int flags : {O_RDONLY, O_WRONLY | O_CREAT, O_WRONLY | O_TRUNC, O_RDONLY | O_DIRECTORY}) {
            EXPECT_EQ(open_error("dangerous", flags), ELOOP);
        }
        EXPECT_EQ(open_error("dir/nothing/file", O_RDONLY), ENOENT);
        EXPECT_EQ(open_error("file/below", O_RDONLY), ENOTDIR);
        EXPECT_NE(open("dir/deep/new", O_WRONLY | O_CREAT), nullptr);
    }
    EXPECT_EQ(file_bytes(directory_ / "outside/file"), "outside");
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "outside"), {}), 1);
}

TEST_F(DirectoryWriterTest, NothingLeadsOutOfTheRoot) {
    for (const std::string path : {"..", "../x", "a/../../x", "/tmp/x"}) {
        EXPECT_EQ(open_error(path, O_WRONLY | O_CREAT), EINVAL);
        EXPECT_EQ(writer_->make_directory(path, 0777, me_).error, EINVAL);
        EXPECT_EQ(writer_->rename("a", path, 0, me_).error, EINVAL);
        EXPECT_EQ(writer_->rename(path, "a", 0, me_).error, EINVAL);
    }
    EXPECT_EQ(open_error(std::string("a\0b", 3), O_WRONLY | O_CREAT), EINVAL);
    EXPECT_EQ(open_error("a/", O_WRONLY | O_CREAT), EINVAL);
    EXPECT_THAT(*source_->list(""), IsEmpty());
}

TEST_F(DirectoryWriterTest, ChangesAttributes) {
    constexpr std::int64_t ns_per_second = 1'000'000'000;
    make("file", "0123456789");
    AttributeChange change{.mode = 04751, .size = 4};
    change.mtime = {.is_now = false, .ns = 1'600'000'000 * ns_per_second + 7};
    change.atime = {.is_now = false, .ns = -ns_per_second / 2};
    EXPECT_TRUE(writer_->change("file", change, me_).ok());
    FileInfo info = *source_->stat("file");
    EXPECT_EQ(file_bytes(tree("file")), "0123");
    info = *source_->stat("file");
    EXPECT_EQ(info.mode, 04751U);
    EXPECT_EQ(info.stamp.mtime_ns, 1'600'000'000 * ns_per_second + 7) << "though the size was changed";
    const std::int64_t atime_ns = info.atime_ns;
    change = {};
    change.mtime = {.is_now = true, .ns = 0};
    EXPECT_TRUE(writer_->change("file", change, me_).ok());
    info = *source_->stat("file");
    EXPECT_GT(info.stamp.mtime_ns, 1'700'000'000 * ns_per_second);
    EXPECT_EQ(info.atime_ns, atime_ns) << "what is absent stays";
    EXPECT_TRUE(writer_->change("", {.mode = 0711}, me_).ok());
    EXPECT_EQ(permissions_of(tree()), 0711U);
    EXPECT_EQ(writer_->change("", {.size = 0}, me_).error, EISDIR);
    EXPECT_EQ(writer_->change("nothing", {.mode = 0}, me_).error, ENOENT);
    EXPECT_EQ(writer_->change("file", {.uid = UINT32_MAX}, me_).error, EINVAL);
    EXPECT_EQ(writer_->change("file", {.size = UINT64_MAX}, me_).error, EINVAL);
}

TEST_F(DirectoryWriterTest, TimesBeforeTheEpochAreTimes) {
    make("file", "");
    AttributeChange change;
    change.mtime = {.is_now = false, .ns = -1};
    EXPECT_TRUE(writer_->change("file", change, me_).ok());
    const struct stat status = status_of(tree("file"));
    EXPECT_EQ(status.st_mtim.tv_sec, -1);
    EXPECT_EQ(status.st_mtim.tv_nsec, 999'999'999);
}

TEST_F(DirectoryWriterTest, ChangesALinkItself) {
    make("file", "0123");
    fs::create_symlink("file", tree("link"));
    const struct stat before = status_of(tree("file"));
    AttributeChange change;
    change.mtime = {.is_now = false, .ns = 5};
    EXPECT_TRUE(writer_->change("link", change, me_).ok());
    EXPECT_EQ(status_of(tree("link")).st_mtim.tv_nsec, 5);
    EXPECT_EQ(writer_->change("link", {.mode = 0600}, me_).error, EOPNOTSUPP);
    EXPECT_EQ(writer_->change("link", {.size = 0}, me_).error, EINVAL);
    EXPECT_EQ(status_of(tree("file")).st_mtim.tv_sec, before.st_mtim.tv_sec);
    EXPECT_EQ(file_bytes(tree("file")), "0123");
}

TEST_F(DirectoryWriterTest, WhatFailedFirstEndsAChange) {
    make("file", "0123");
    ASSERT_EQ(::chmod(tree("file").c_str(), 0640), 0);
    EXPECT_EQ(writer_->change("file", {.mode = 0777, .size = INT64_MAX}, me_).error, EFBIG);
    EXPECT_EQ(permissions_of(tree("file")), 0640U);
    fs::create_directory(tree("dir"));
    AttributeChange change{.mode = 0700, .size = 0};
    EXPECT_EQ(writer_->change("dir", change, me_).error, EISDIR);
    EXPECT_NE(permissions_of(tree("dir")), 0700U);
}

TEST_F(DirectoryWriterTest, KeepsExtendedAttributes) {
    make("file", "");
    fs::create_symlink("file", tree("link"));
    if (::setxattr(tree().c_str(), "user.probe", "x", 1, 0) != 0 && errno == EOPNOTSUPP) {
        GTEST_SKIP() << "this file system has no extended attributes";
    }
    const std::string large(2000, 'v');
    for (const std::string path : {"file", ""}) {
        EXPECT_TRUE(writer_->set_attribute(path, "user.a", bytes_of(large), XATTR_CREATE, me_).ok());
        EXPECT_EQ(writer_->set_attribute(path, "user.a", bytes_of("w"), XATTR_CREATE, me_).error, EEXIST);
        EXPECT_EQ(writer_->set_attribute(path, "user.b", bytes_of("w"), XATTR_REPLACE, me_).error, ENODATA);
        EXPECT_EQ(text_of(writer_->attribute(path, "user.a", me_).value), large);
        EXPECT_TRUE(writer_->set_attribute(path, "user.b", {}, 0, me_).ok());
        EXPECT_THAT(writer_->attribute(path, "user.b", me_).value, IsEmpty());
        EXPECT_THAT(writer_->attributes(path, me_).value, testing::IsSupersetOf({"user.a", "user.b"}));
        EXPECT_TRUE(writer_->remove_attribute(path, "user.a", me_).ok());
        EXPECT_EQ(writer_->attribute(path, "user.a", me_).error, ENODATA);
        EXPECT_THAT(writer_->attributes(path, me_).value, Not(Contains("user.a")));
    }
    EXPECT_EQ(writer_->set_attribute("link", "user.a", bytes_of("w"), 0, me_).error, EPERM);
    EXPECT_EQ(writer_->attribute("link", "user.b", me_).error, ENODATA) << "which its target has";
    std::vector<std::string> names;
    for (int i = 0; i < 40; ++i) {
        names.push_back("user.a name that is not short, number " + std::to_string(i));
        ASSERT_TRUE(writer_->set_attribute("file", names.back(), {}, 0, me_).ok());
    }
    EXPECT_THAT(writer_->attributes("file", me_).value, testing::IsSupersetOf(names));
}

TEST_F(DirectoryWriterTest, FailsWhileTheRootIsGone) {
    make("file", "");
    fs::remove_all(tree());
    source_->refresh();
    EXPECT_EQ(open_error("file", O_RDONLY), ESTALE);
    EXPECT_EQ(writer_->make_directory("dir", 0777, me_).error, ESTALE);
    EXPECT_EQ(writer_->rename("a", "b", 0, me_).error, ESTALE);
    EXPECT_EQ(writer_->change("file", {.mode = 0}, me_).error, ESTALE);
    EXPECT_EQ(writer_->attributes("", me_).error, ESTALE);
    fs::create_directory(tree());
    source_->refresh();
    EXPECT_TRUE(writer_->make_directory("dir", 0777, me_).ok());
    EXPECT_TRUE(fs::exists(tree("dir")));
}

TEST_F(DirectoryWriterTest, GivesDescriptorsBackWhereThereAreNone) {
    make("file", "0123");
    for (const int failure : {EMFILE, ENFILE}) {
        const auto read = *source_->open("file");
        ASSERT_EQ(source_->open_descriptors(), 1U);
        calls_->open_errno = failure;
        calls_->failing_opens = 1;
        EXPECT_NE(open("file", O_RDWR), nullptr);
        EXPECT_EQ(source_->open_descriptors(), 0U);
        calls_->failing_opens = 2;
        EXPECT_EQ(open_error("file", O_RDWR), failure) << "the second time it is the answer";
        EXPECT_NE(open("file", O_RDWR), nullptr);
    }
}

TEST_F(DirectoryWriterTest, WaitsForALease) {
    make("file", "0123");
    calls_->open_errno = EAGAIN;
    calls_->failing_creates = 3;
    EXPECT_NE(open("file", O_RDWR), nullptr);
    EXPECT_EQ(calls_->pauses, 3U);
    calls_->failing_creates = 1;
    EXPECT_EQ(open_error("file", O_RDWR | O_NONBLOCK), EAGAIN) << "who does not want to wait does not";
}

TEST_F(DirectoryWriterTest, ARaceWithSomethingSpecialIsNoticed) {
    class Exchanging final : public SystemCalls {
     public:
        explicit Exchanging(std::string path) : path_(std::move(path)) {}
        int create_at(int directory, const char* name, int flags, mode_t mode) const override {
            fs::remove(path_);
            EXPECT_EQ(::mkfifo(path_.c_str(), 0600), 0);
            return SystemCalls::create_at(directory, name, flags, mode);
        }

     private:
        const std::string path_;
    };
    make("file", "");
    writer_ = (*DirectorySource::open_directory(tree(), std::make_shared<const Exchanging>(tree("file"))))->writer();
    EXPECT_EQ(open_error("file", O_RDONLY), ENXIO);
    make("second", "");
}

}  // namespace
}  // namespace writing
}  // namespace ckptfs::io
