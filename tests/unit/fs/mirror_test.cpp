// What a mirrored source looks like while nothing changes.
#include <gmock/gmock.h>

#include "fixture.h"

namespace ckptfs {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;
using Mirror = fake::FileSystemTest;

TEST_F(Mirror, HardLinksAreOneFile) {
    source_->put_link("plain/same", "plain/notes");
    const auto fs = make(3);
    const auto notes = walk(*fs, "plain/notes").attributes;
    const auto same = walk(*fs, "plain/same").attributes;
    EXPECT_EQ(notes.nlink, 2U);
    EXPECT_EQ(same.inode, notes.inode);
    EXPECT_EQ(walk(*fs, "latest").attributes.nlink, 1U);
    source_->remove_link("plain/notes", "plain/same");
    EXPECT_EQ(fs->open(same.inode).error, ESTALE) << "the kernel looks the name up again";
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, "plain/same")).value, "some notes");
}

TEST_F(Mirror, RootListsTheSourceAndNothingElse) {
    const auto fs = make(3);
    EXPECT_THAT(names(*fs, root_inode), ElementsAre(".", "..", "fifo", "latest", "link", "plain", "step1"));
    EXPECT_EQ(reader_->reads(), 0) << "no tag is read before somebody looks into it";
}

TEST_F(Mirror, PassedThroughFilesKeepTheirAttributesLessTheWriteBits) {
    source_->set_mode("latest", 04664);
    const auto fs = make(3);
    const auto entry = walk(*fs, "latest");
    const auto info = source_->stat("latest").value();
    EXPECT_EQ(entry.attributes.type, FileType::regular);
    EXPECT_EQ(entry.attributes.mode, 04444U);
    EXPECT_EQ(entry.attributes.nlink, 1U);
    EXPECT_EQ(entry.attributes.uid, 1000U);
    EXPECT_EQ(entry.attributes.gid, 1001U);
    EXPECT_EQ(entry.attributes.size, 5U);
    EXPECT_EQ(entry.attributes.blocks, 8U);
    EXPECT_EQ(entry.attributes.mtime_ns, info.stamp.mtime_ns);
    EXPECT_EQ(entry.attributes.ctime_ns, info.stamp.ctime_ns);
    EXPECT_EQ(entry.attributes.atime_ns, 5);
    EXPECT_EQ(entry.entry_lifetime, Lifetime{1});
    EXPECT_EQ(fs->getattr(entry.attributes.inode).value.attributes.size, 5U);
    EXPECT_EQ(read_all(*fs, entry.attributes.inode).value, "step1");
}

TEST_F(Mirror, DirectoriesHaveTwoLinksAndNoWriteBits) {
    const auto fs = make(3);
    for (const auto& attributes : {walk(*fs, "plain").attributes, fs->getattr(root_inode).value.attributes}) {
        EXPECT_EQ(attributes.type, FileType::directory);
        EXPECT_EQ(attributes.nlink, 2U);
        EXPECT_EQ(attributes.mode, 0555U);
    }
    EXPECT_EQ(fs->open(root_inode).error, EISDIR);
}

TEST_F(Mirror, SymbolicLinksPassAsTheyAre) {
    const auto fs = make(3);
    const auto entry = walk(*fs, "link");
    EXPECT_EQ(entry.attributes.type, FileType::symlink);
    EXPECT_EQ(entry.attributes.mode, 0777U);
    EXPECT_EQ(fs->readlink(entry.attributes.inode).value, "plain");
    EXPECT_EQ(fs->open(entry.attributes.inode).error, ELOOP);
    EXPECT_EQ(fs->readlink(inode(*fs, "latest")).error, EINVAL);
}

TEST_F(Mirror, NamesThatAreTooLongAreNotLookedFor) {
    const auto fs = make(3);
    EXPECT_EQ(fs->lookup(root_inode, std::string(255, 'n')).error, ENOENT);
    EXPECT_EQ(fs->lookup(root_inode, std::string(256, 'n')).error, ENAMETOOLONG);
    EXPECT_EQ(make(std::nullopt)->lookup(root_inode, std::string(256, 'n')).error, ENAMETOOLONG);
}

TEST_F(Mirror, WhatSomebodyHasNoRightToIsNoEvent) {
    const auto fs = make(3);
    source_->fail("plain", Error(ErrorCode::io, "everyday", EACCES));
    EXPECT_EQ(fs->lookup(root_inode, "plain").error, EACCES);
    source_->fail("plain", Error(ErrorCode::io, "unusual", EIO));
    EXPECT_EQ(fs->lookup(root_inode, "plain").error, EIO);
    EXPECT_EQ(logged("unusual"), 1);
    EXPECT_EQ(logged("everyday"), 0);
}

TEST_F(Mirror, SpecialFilesAreShownButNotOpened) {
    const auto fs = make(3);
    const auto entry = walk(*fs, "fifo");
    EXPECT_EQ(entry.attributes.type, FileType::fifo);
    EXPECT_EQ(fs->open(entry.attributes.inode).error, ENXIO);
}

TEST_F(Mirror, ShardsOfATagAreReplacedAndTheRestPasses) {
    const auto fs = make(3);
    const auto tag = inode(*fs, "step1");
    EXPECT_THAT(names(*fs, tag), ElementsAre(".", "..", "readme", "rank_0.pt", "rank_1.pt", "rank_2.pt"));
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/rank_2.pt")).value, "rank 2 of 3: AAABBB");
    EXPECT_EQ(read_all(*fs, inode(*fs, "step1/readme")).value, "kept");
    EXPECT_EQ(fs->lookup(tag, "a.shard").error, ENOENT);
    EXPECT_EQ(fs->lookup(tag, "rank_3.pt").error, ENOENT);
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(Mirror, VirtualFilesHaveExactSizesAndAreAskedForAgain) {
    source_->set_mode("step1/b.shard", 0640);
    const auto fs = make(3);
    const auto entry = walk(*fs, "step1/rank_1.pt");
    EXPECT_EQ(entry.attributes.size, std::string("rank 1 of 3: AAABBB").size());
    EXPECT_EQ(entry.attributes.blocks, 1U);
    EXPECT_EQ(entry.attributes.mode, 0440U);
    EXPECT_EQ(entry.attributes.nlink, 1U);
    EXPECT_EQ(entry.entry_lifetime, Lifetime{1});
    EXPECT_EQ(entry.attributes_lifetime, Lifetime{1});
    EXPECT_EQ(fs->getattr(entry.attributes.inode).value.lifetime, Lifetime{1});
    EXPECT_TRUE(fs->open(entry.attributes.inode).value.read_once);
    EXPECT_FALSE(fs->open(inode(*fs, "step1/rank_0.pt")).value.read_once);
}

TEST_F(Mirror, ReadsStopAtTheEndAndNowhereElse) {
    const auto fs = make(3);
    const auto handle = fs->open(inode(*fs, "plain/notes")).value.handle;
    std::string out(4, '?');
    const auto bytes = std::as_writable_bytes(std::span(out));
    EXPECT_EQ(fs->read(handle, 0, bytes).value, 4U);
    EXPECT_EQ(out, "some");
    EXPECT_EQ(fs->read(handle, 8, bytes).value, 2U);
    EXPECT_EQ(out.substr(0, 2), "es");
    EXPECT_EQ(fs->read(handle, 10, bytes).value, 0U);
    EXPECT_EQ(fs->read(handle, ~std::uint64_t{0}, bytes).value, 0U);
    fs->release(handle);
    EXPECT_EQ(fs->read(handle, 0, bytes).error, EBADF);
}

TEST_F(Mirror, ListingsGoOnAtAnyOffset) {
    const auto fs = make(5);
    const auto whole = names(*fs, inode(*fs, "step1"));
    const auto handle = fs->opendir(inode(*fs, "step1")).value;
    for (std::size_t page = 1; page <= whole.size(); ++page) {
        std::vector<std::string> found;
        std::uint64_t offset = 0;
        for (bool more = true; more;) {
            more = false;
            std::size_t taken = 0;
            ASSERT_TRUE(fs->readdir(handle, offset, [&](const ListedEntry& entry) {
                              if (taken == page) {
                                  return false;
                              }
                              ++taken;
                              more = true;
                              found.emplace_back(entry.name);
                              offset = entry.next_offset;
                              return true;
                          }).ok());
        }
        EXPECT_EQ(found, whole) << "pages of " << page;
    }
    EXPECT_TRUE(fs->readdir(handle, 1'000'000, [](const ListedEntry&) { return true; }).ok());
    fs->releasedir(handle);
    EXPECT_EQ(fs->readdir(handle, 0, [](const ListedEntry&) { return true; }).error, EBADF);
}

TEST_F(Mirror, ListedInodesOfVirtualFilesAreTheirs) {
    const auto fs = make(2);
    const auto handle = fs->opendir(inode(*fs, "step1")).value;
    int compared = 0;
    ASSERT_TRUE(fs->readdir(handle, 0, [&](const ListedEntry& entry) {
                      if (std::string_view(entry.name).starts_with("rank_")) {
                          EXPECT_EQ(entry.inode, inode(*fs, std::string("step1/") + entry.name));
                          ++compared;
                      }
                      return true;
                  }).ok());
    EXPECT_EQ(compared, 2);
}

TEST_F(Mirror, AMillionNamesAreListedWithoutBeingKept) {
    const auto fs = make(max_world_size);
    const auto handle = fs->opendir(inode(*fs, "step1")).value;
    std::uint64_t count = 0;
    ASSERT_TRUE(fs->readdir(handle, 0, [&](const ListedEntry&) { return ++count > 0; }).ok());
    EXPECT_EQ(count, 2 + 1 + max_world_size);
    EXPECT_EQ(fs->live_inodes(), 1U);
}

TEST_F(Mirror, WithoutAWorldSizeTheRootShowsOneDirectoryForEach) {
    const auto fs = make(std::nullopt);
    EXPECT_THAT(names(*fs, root_inode), ElementsAre(".", ".."));
    EXPECT_THAT(names(*fs, inode(*fs, "world-size-4/step1")), ::testing::SizeIs(2 + 1 + 4));
    EXPECT_EQ(read_all(*fs, inode(*fs, "world-size-1048576/step1/rank_7.pt")).value, "rank 7 of 1048576: AAABBB");
    EXPECT_THAT(names(*fs, root_inode), ElementsAre(".", "..", "world-size-2"));
    EXPECT_EQ(reader_->reads(), 1) << "one reading serves every world size";
    for (const auto* name :
         {"world-size-0", "world-size-01", "world-size-1048577", "world-size--1", "world-size-", "world-size-4x",
          "world-size-+4", "4", "latest", "step1", "world-size-99999999999999999999"}) {
        EXPECT_EQ(fs->lookup(root_inode, name).error, ENOENT) << name;
    }
    EXPECT_NE(inode(*fs, "world-size-4/step1/rank_0.pt"), inode(*fs, "world-size-5/step1/rank_0.pt"));
}

TEST_F(Mirror, WorldSizesOutOfRangeAreRefused) {
    for (const std::uint64_t world_size : {std::uint64_t{0}, max_world_size + 1}) {
        FileSystemOptions options;
        options.request = ViewRequest::at_world_size(world_size);
        const auto made = FileSystem::create(source_, reader_, options);
        ASSERT_FALSE(made.ok());
        EXPECT_EQ(made.error().code(), ErrorCode::invalid_argument);
    }
}

TEST_F(Mirror, InodesAreTheSameAfterARemount) {
    for (const auto* path : {"latest", "link", "plain", "plain/notes", "step1", "step1/readme", "step1/rank_1.pt"}) {
        const auto first = make(3);
        const auto second = make(3);
        EXPECT_EQ(inode(*first, path), inode(*second, path)) << path;
        EXPECT_GT(inode(*first, path), root_inode);
    }
}

TEST_F(Mirror, ForgettingEveryLookupFreesTheInode) {
    const auto fs = make(3);
    const auto file = inode(*fs, "latest");
    EXPECT_EQ(inode(*fs, "latest"), file);
    fs->forget(file, 1);
    EXPECT_TRUE(fs->getattr(file).ok());
    fs->forget(file, 1);
    EXPECT_EQ(fs->getattr(file).error, ESTALE);
    EXPECT_EQ(fs->live_inodes(), 0U);
    fs->forget(12345, 7);
    EXPECT_TRUE(fs->getattr(root_inode).ok());
}

TEST_F(Mirror, StatfsIsThatOfTheSource) {
    const auto fs = make(3);
    const auto found = fs->statfs();
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found.value.blocks, 7U);
    EXPECT_EQ(found.value.max_name_nbytes, 255U);
}

TEST_F(Mirror, ATagAsTheSourceItselfIsShownAtTheRoot) {
    source_->put_file("top.shard", "T");
    const auto fs = make(2);
    EXPECT_THAT(names(*fs, root_inode),
                UnorderedElementsAre(".", "..", "fifo", "latest", "link", "plain", "step1", "rank_0.pt", "rank_1.pt"));
    EXPECT_EQ(walk(*fs, "rank_0.pt").entry_lifetime, Lifetime{1}) << "the root's inode never changes";
}

}  // namespace
}  // namespace ckptfs
