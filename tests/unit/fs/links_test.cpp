// What symbolic links of the source become in the mount.
#include <gmock/gmock.h>

#include "fixture.h"
#include "fs/shown_root.h"

namespace ckptfs {
namespace links {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

TEST(ShownRoot, LinksThatStayBelowAreThoseThatCannotLeave) {
    const ShownRoot source{"", "", nullptr, 0, {}};
    const ShownRoot outside{"/ext", "link", nullptr, 1, {}};
    for (const auto* text : {"a", "./a//b/", "../a", "../..", "../../x/y", ".", "a/.../b", "..a"}) {
        EXPECT_TRUE(stays_below(source, "one/two", text)) << text;
        EXPECT_TRUE(stays_below(outside, "/ext/one/two", text)) << text;
    }
    for (const auto* text : {"/", "/a", "../../../a", "../../..", "a/..", "../a/../b", "a/../../../../b"}) {
        EXPECT_FALSE(stays_below(source, "one/two", text)) << text;
        EXPECT_FALSE(stays_below(outside, "/ext/one/two", text)) << text;
    }
    EXPECT_FALSE(stays_below(source, "", "..")) << "the mount's own parent";
    EXPECT_FALSE(stays_below(outside, "/ext", "../a")) << "there is another parent in the mount";
}

TEST(ShownRoot, PlacesAndRelativeLinks) {
    const ShownRoot outside{"/ext", "runs/link", nullptr, 1, {}};
    EXPECT_EQ(outside.place_of("/ext"), "runs/link");
    EXPECT_EQ(outside.place_of("/ext/a/b"), "runs/link/a/b");
    EXPECT_EQ((ShownRoot{"/", "all", nullptr, 1, {}}).place_of("/etc"), "all/etc");
    EXPECT_EQ(relative_link("", "a/b"), "a/b");
    EXPECT_EQ(relative_link("a/b", "a/b"), ".");
    EXPECT_EQ(relative_link("a/b", "a"), "..");
    EXPECT_EQ(relative_link("a/b", ""), "../..");
    EXPECT_EQ(relative_link("a/bc", "a/b"), "../b");
}

TEST(ShownRoot, AnUnreachableLinkCannotLeaveWhereverItIs) {
    const ShownRoot source{"", "", nullptr, 0, {}};
    for (const auto* text : {"/a/b", "../../a", "..", "/", "a/../../../b"}) {
        EXPECT_THAT(unreachable_link(text), StartsWith("(unreachable)"));
        EXPECT_TRUE(stays_below(source, "", unreachable_link(text))) << text;
    }
    EXPECT_EQ(unreachable_link("/old/place/"), "(unreachable)/old/place");
}

class Links : public fake::FileSystemTest {
 protected:
    void SetUp() override {
        FileSystemTest::SetUp();
        source_->put_directory("/ext");
        source_->put_directory("/ext/step7");
        source_->put_file("/ext/step7/a.shard", "EXT");
        source_->put_file("/ext/notes", "from outside");
    }
};

TEST_F(Links, ToADirectoryOutsideIsThatDirectoryWithItsTagsRecut) {
    source_->put_symlink("out", "/ext");
    source_->put_symlink("tag", "../ext/step7");
    const auto fs = make(3);
    EXPECT_EQ(walk(*fs, "out").attributes.type, FileType::directory);
    EXPECT_EQ(read_all(*fs, inode(*fs, "out/notes")).value, "from outside");
    for (const std::string tag : {"out/step7", "tag"}) {
        EXPECT_THAT(names(*fs, inode(*fs, tag)), ElementsAre(".", "..", "rank_0.pt", "rank_1.pt", "rank_2.pt"));
        EXPECT_EQ(read_all(*fs, inode(*fs, tag + "/rank_1.pt")).value, "rank 1 of 3: EXT");
        EXPECT_EQ(fs->lookup(inode(*fs, tag), "a.shard").error, ENOENT);
    }
    EXPECT_NE(inode(*fs, "out/step7"), inode(*fs, "tag")) << "a directory has one place only";
    EXPECT_EQ(reader_->reads(), 1) << "and is read once for all places";
}

TEST_F(Links, ToWhatIsShownAlreadyStaysALinkWithinTheMount) {
    source_->put_symlink("plain/up", "/src/step1");
    source_->put_symlink("odd", "plain/../step1");
    source_->put_symlink("self", "/src");
    source_->put_symlink("out", "/ext");
    source_->put_symlink("/ext/step7/top", "/ext");
    source_->put_symlink("/ext/home", "/src/plain");
    source_->put_symlink("/ext/next", "step7");
    const auto fs = make(3);
    for (const auto& [path, text] : {std::pair("plain/up", "../step1"),
                                     {"odd", "step1"},
                                     {"self", "."},
                                     {"out/step7/top", ".."},
                                     {"out/home", "../plain"},
                                     {"out/next", "step7"}}) {
        const auto entry = walk(*fs, path);
        EXPECT_EQ(entry.attributes.type, FileType::symlink) << path;
        EXPECT_EQ(fs->readlink(entry.attributes.inode).value, text) << path;
        EXPECT_EQ(entry.attributes.size, std::string(text).size()) << path;
    }
}

TEST_F(Links, ToAFileOutsideIsThatFileAndToAShardTheViewOfIt) {
    source_->put_symlink("notes", "/ext/notes");
    source_->put_file("/ext/step7/rank_0.pt.shard", "+");
    source_->put_symlink("shard", "/ext/step7/a.shard");
    const auto fs = make(3);
    EXPECT_EQ(walk(*fs, "notes").attributes.type, FileType::regular);
    EXPECT_EQ(read_all(*fs, inode(*fs, "notes")).value, "from outside");
    EXPECT_EQ(fs->lookup(root_inode, "shard").error, ENOENT) << "the view has no such file";
    source_->put_file("/ext/step7/a.shard", "broken");
    pass(1000);
    EXPECT_EQ(fs->open(inode(*fs, "shard")).error, EIO);
}

TEST_F(Links, ThatCannotBeFollowedLeadNowhere) {
    source_->put_symlink("gone", "/nowhere/step");
    source_->put_symlink("loop", "/src/loop");
    source_->put_symlink("closed", "/ext/closed");
    source_->fail("/ext/closed", Error(ErrorCode::io, "permission denied", EACCES));
    source_->put_directory("/ext/closed");
    const auto fs = make(3);
    for (const auto* name : {"gone", "loop", "closed"}) {
        EXPECT_THAT(fs->readlink(inode(*fs, name)).value, StartsWith("(unreachable)/")) << name;
        inode(*fs, name);
    }
    EXPECT_EQ(logged("is not followed"), 2) << "once for each but the one that dangles";
    source_->put_directory("/nowhere");
    source_->put_directory("/nowhere/step");
    source_->put_file("/nowhere/step/x.shard", "X");
    EXPECT_EQ(read_all(*fs, inode(*fs, "gone/rank_0.pt")).value, "rank 0 of 3: X");
}

TEST_F(Links, OutOfLinksAreFollowedSoFar) {
    std::string place;
    for (unsigned depth = 0; depth <= max_shown_depth; ++depth) {
        const std::string next = "/far" + std::to_string(depth);
        source_->put_directory(next);
        source_->put_file(next + "/file", "at " + std::to_string(depth));
        source_->put_symlink(place + (depth == 0 ? "next" : "/next"), next);
        place = next;
    }
    const auto fs = make(3);
    std::string path = "next";
    for (unsigned depth = 1; depth < max_shown_depth; ++depth) {
        path += "/next";
    }
    EXPECT_EQ(walk(*fs, path).attributes.type, FileType::directory);
    EXPECT_EQ(walk(*fs, path + "/next").attributes.type, FileType::symlink);
    EXPECT_EQ(logged("lead out of each other; make one in SOURCE that leads to '" + place + "'"), 1);
    source_->put_symlink("/far" + std::to_string(max_shown_depth - 1) + "/last", place + "/file");
    pass(1000);
    EXPECT_EQ(read_all(*fs, inode(*fs, path + "/last")).value, "at " + std::to_string(max_shown_depth))
        << "files lead no further";
}

TEST_F(Links, BetweenAllOfManyDirectoriesMakeNoHugeTree) {
    constexpr int count = 7;
    for (int i = 0; i < count; ++i) {
        const std::string directory = "/out" + std::to_string(i);
        source_->put_directory(directory);
        source_->put_symlink("to" + std::to_string(i), directory);
        for (int j = 0; j < count; ++j) {
            if (j != i) {
                source_->put_symlink(directory + "/to" + std::to_string(j), "/out" + std::to_string(j));
            }
        }
    }
    const auto fs = make(3);
    int entries = 0;
    std::vector<std::uint64_t> open{root_inode};
    while (!open.empty() && entries < 10'000) {
        const auto directory = open.back();
        open.pop_back();
        for (const auto& name : names(*fs, directory)) {
            if (name == "." || name == "..") {
                continue;
            }
            const auto found = fs->lookup(directory, name);
            ASSERT_TRUE(found.ok()) << name;
            ++entries;
            if (found.value.attributes.type == FileType::directory) {
                open.push_back(found.value.attributes.inode);
            }
        }
    }
    // SOURCE's own; those directories by one, two and three links; 6 links in each of the last.
    EXPECT_LE(entries, 20 + 7 + 7 * 6 + 7 * 6 * 6 + 7 * 6 * 5 * 6);
}

TEST_F(Links, AreListedWithoutAType) {
    source_->put_symlink("out", "/ext");
    const auto fs = make(3);
    const auto handle = fs->opendir(root_inode).value;
    int links = 0;
    ASSERT_TRUE(fs->readdir(handle, 0, [&](const ListedEntry& entry) {
                      const std::string name = entry.name;
                      EXPECT_EQ(entry.type.has_value(), name != "out" && name != "link") << name;
                      links += entry.type.has_value() ? 0 : 1;
                      return true;
                  }).ok());
    EXPECT_EQ(links, 2);
}

TEST_F(Links, AnAdoptedTagIsFoundWhereverItsNameLeads) {
    source_->put_symlink("last", "/ext/step7");
    const auto fs = make(3);
    fs->adopt("last", reader_->read(*source_, "/ext/step7"));
    EXPECT_EQ(read_all(*fs, inode(*fs, "last/rank_0.pt")).value, "rank 0 of 3: EXT");
    EXPECT_EQ(reader_->reads(), 1);
}

}  // namespace
}  // namespace links
}  // namespace ckptfs
