// FileSystem::fetch(): the bytes of read(), wherever they lie.
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "fixture.h"
#include "support/fake_files.h"

namespace ckptfs {
namespace {

using Fetch = fake::FileSystemTest;

constexpr std::uint64_t mib = std::uint64_t{1} << 20U;

Outcome<std::string> fetch(FileSystem& fs, std::uint64_t handle, std::uint64_t offset, std::uint64_t nbytes) {
    std::vector<std::byte> buffer(nbytes);
    const auto got = fs.fetch(handle, offset, buffer);
    if (!got.ok()) {
        return got.failure();
    }
    std::string bytes;
    for (const auto part : std::span(got.value.parts).first(got.value.count)) {
        bytes.append(static_cast<const char*>(static_cast<const void*>(part.data())), part.size());
    }
    return bytes;
}

FileSystemOptions reading_ahead() {
    FileSystemOptions options;
    options.request = ViewRequest::at_world_size(3);
    options.read_ahead = std::make_shared<ReadAhead>(ReadAheadOptions{.memory_nbytes = 8 * mib, .threads = 2});
    return options;
}

TEST_F(Fetch, GivesTheBytesUpToTheEnd) {
    const std::string large(5 * mib + 7, 'x');
    source_->put_file("plain/large", large);
    const auto options = reading_ahead();
    for (const auto& fs : {make(3), make(options)}) {
        const auto handle = fs->open(inode(*fs, "plain/large")).value.handle;
        for (std::uint64_t at = 0; at < large.size(); at += mib) {
            EXPECT_EQ(fetch(*fs, handle, at, mib).value, large.substr(at, mib));
        }
        EXPECT_EQ(fetch(*fs, handle, large.size(), mib).value, "");
        EXPECT_EQ(fetch(*fs, handle, large.size() + mib, mib).value, "");
        fs->release(handle);
        EXPECT_EQ(fetch(*fs, handle, 0, mib).error, EBADF);
        const auto small = fs->open(inode(*fs, "plain/notes")).value.handle;
        EXPECT_EQ(fetch(*fs, small, 5, mib).value, "notes");
        fs->release(small);
    }
}

TEST_F(Fetch, ReadsTheFileOfTheHandleAlsoWhenItsNameIsAnothers) {
    source_->put_file("plain/large", std::string(5 * mib, 'x'));
    const auto fs = make(reading_ahead());
    const auto handle = fs->open(inode(*fs, "plain/large")).value.handle;
    EXPECT_EQ(fetch(*fs, handle, 0, mib).error, 0);
    EXPECT_EQ(fetch(*fs, handle, mib, mib).error, 0);
    source_->put_file("plain/large", std::string(5 * mib, 'y'));
    for (std::uint64_t at = 2 * mib; at < 5 * mib; at += mib) {
        const auto got = fetch(*fs, handle, at, mib);
        EXPECT_TRUE(got.ok() ? got.value == std::string(mib, 'x') : got.error == ESTALE) << at;
    }
    fs->release(handle);
    pass(1000);
    const auto again = fs->open(inode(*fs, "plain/large")).value.handle;
    EXPECT_EQ(fetch(*fs, again, 0, mib).value, std::string(mib, 'y'));
    fs->release(again);
}

TEST_F(Fetch, HandsOverWhereNothingIsReadAheadAndFlushWaitsForIt) {
    test::CollectingTarget target;
    source_->put_file("plain/large", std::string(2 * mib, 'x'));
    auto options = reading_ahead();
    EXPECT_FALSE(make(3)->hands_over());
    options.read_ahead = std::make_shared<ReadAhead>(ReadAheadOptions{.memory_nbytes = 0, .threads = 2});
    const auto fs = make(options);
    EXPECT_TRUE(fs->hands_over());
    const auto handle = fs->open(inode(*fs, "plain/large")).value.handle;
    std::vector<std::byte> buffer(mib);
    EXPECT_EQ(fs->fetch(handle, mib, buffer, &target).value.count, 1U) << "the kernel keeps what it reads";
    fs->let_hand_over(handle);
    auto got = fs->fetch(handle, mib, buffer, &target);
    ASSERT_TRUE(got.ok());
    ASSERT_TRUE(got.value.handed_over);
    EXPECT_EQ(target.bytes, std::string(mib, 'x'));
    auto closing = std::async(std::launch::async, [&] { return fs->flush(handle).error; });
    EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout) << "it waits";
    got.value = {};
    EXPECT_EQ(closing.get(), 0);
    fs->release(handle);
    EXPECT_EQ(fs->flush(handle).error, EBADF);
}

TEST_F(Fetch, WhatChangesOnItsWayIsToldWhoeverCloses) {
    test::CollectingTarget target;
    source_->put_file("plain/large", std::string(2 * mib, 'x'));
    auto options = reading_ahead();
    options.read_ahead = std::make_shared<ReadAhead>(ReadAheadOptions{.memory_nbytes = 0, .threads = 2});
    const auto fs = make(options);
    const auto handle = fs->open(inode(*fs, "plain/large")).value.handle;
    std::vector<std::byte> buffer(mib);
    fs->let_hand_over(handle);
    auto got = fs->fetch(handle, 0, buffer, &target);
    ASSERT_TRUE(got.value.handed_over);
    source_->put_file("plain/large", std::string(2 * mib, 'y'));
    got.value = {};
    EXPECT_EQ(fs->flush(handle).error, ESTALE);
    EXPECT_EQ(fetch(*fs, handle, mib, mib).error, ESTALE);
    fs->release(handle);
}

TEST_F(Fetch, WhatIsNoFileOfTheSystemsIsNobodyElsesToRead) {
    const auto fs = make(3);
    const auto handle = fs->open(inode(*fs, "plain/notes")).value.handle;
    EXPECT_EQ(fs->whole_file(handle).number, -1);
    fs->release(handle);
    EXPECT_EQ(fs->whole_file(handle).number, -1);
}

}  // namespace
}  // namespace ckptfs
