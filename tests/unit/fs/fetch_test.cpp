// FileSystem::fetch(): the bytes of read(), wherever they lie.
#include <gtest/gtest.h>

#include "fixture.h"

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

TEST_F(Fetch, WhatIsNoFileOfTheSystemsIsNobodyElsesToRead) {
    const auto fs = make(3);
    const auto handle = fs->open(inode(*fs, "plain/notes")).value.handle;
    EXPECT_EQ(fs->whole_file(handle).number, -1);
    fs->release(handle);
    EXPECT_EQ(fs->whole_file(handle).number, -1);
}

}  // namespace
}  // namespace ckptfs
