// Where the files of a view stand: in the tag, in the directory that holds it, beside it, and in that directory's
// place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ckptfs {
namespace placement_test {

using ::testing::UnorderedElementsAre;

ViewRequest weights() {
    return {.kind = ViewKind::weights};
}

bool is_model(std::string_view name) {
    return name.starts_with("model");
}

class Placed : public fake::FileSystemTest {
 protected:
    std::unique_ptr<FileSystem> shown(std::string source_name = "run.ckpt") {
        FileSystemOptions options;
        options.request = weights();
        options.source_name = std::move(source_name);
        return make(std::move(options));
    }
    std::string text(FileSystem& fs, const std::string& path) {
        const auto got = read_all(fs, inode(fs, path));
        EXPECT_EQ(got.error, 0) << path;
        return got.value;
    }
    std::optional<FileType> listed_type(FileSystem& fs, std::uint64_t directory, const std::string& name) {
        std::optional<FileType> type;
        const auto opened = fs.opendir(directory);
        EXPECT_TRUE(fs.readdir(opened.value, 0, [&](const ListedEntry& entry) {
                          type = entry.name == name ? entry.type : type;
                          return true;
                      }).ok());
        fs.releasedir(opened.value);
        return type;
    }
};

TEST_F(Placed, DirectoriesOfAViewInTheTag) {
    reader_->show_at({.in_tag = true}, {"zero/w/fp32", "zero/w/step", "top"});
    source_->set_mode("step1", 0750);
    const auto fs = shown();
    EXPECT_THAT(names(*fs, inode(*fs, "step1")), UnorderedElementsAre(".", "..", "readme", "zero", "top"));
    EXPECT_THAT(names(*fs, inode(*fs, "step1/zero/w")), UnorderedElementsAre(".", "..", "fp32", "step"));
    EXPECT_EQ(text(*fs, "step1/zero/w/step"), "zero/w/step: AAABBB");
    EXPECT_EQ(text(*fs, "step1/readme"), "kept");
    const auto directory = walk(*fs, "step1/zero").attributes;
    EXPECT_EQ(directory.type, FileType::directory);
    EXPECT_EQ(directory.mode, 0550U);
    EXPECT_EQ(directory.uid, 1000U);
    EXPECT_EQ(inode(*shown(), "step1/zero"), directory.inode) << "the same after a remount";
    EXPECT_TRUE(fs->getattr(directory.inode).ok());
    EXPECT_EQ(fs->lookup(inode(*fs, "step1/zero"), "nothing").error, ENOENT);
    EXPECT_EQ(fs->lookup(inode(*fs, "step1"), "a.shard").error, ENOENT);
    EXPECT_EQ(fs->open(inode(*fs, "step1/zero")).error, EISDIR);
}

TEST_F(Placed, AnOldDirectoryOfAViewLeadsToTheNewGeneration) {
    reader_->show_at({.in_tag = true}, {"zero/step"});
    const auto fs = shown();
    const auto old = inode(*fs, "step1/zero");
    const auto old_file = inode(*fs, "step1/zero/step");
    source_->put_file("step1/a.shard", "new");
    source_->put_file("step1/b.shard", "NEW");
    EXPECT_EQ(fs->open(old_file).error, ESTALE);
    pass(1001);
    const auto file = fs->lookup(old, "step");
    ASSERT_TRUE(file.ok());
    EXPECT_NE(file.value.attributes.inode, old_file);
    EXPECT_EQ(read_all(*fs, file.value.attributes.inode).value, "zero/step: newNEW");
    source_->remove("step1/a.shard");
    source_->remove("step1/b.shard");
    pass(1001);
    EXPECT_EQ(fs->lookup(old, "step").error, ESTALE);
}

TEST_F(Placed, ListingAViewReadsNoTensor) {
    reader_->show_at({.in_tag = true}, {"zero/step"});
    const auto fs = shown();
    names(*fs, inode(*fs, "step1/zero"));
    EXPECT_EQ(reader_->reads(), 1);
}

TEST_F(Placed, InTheHolderTheFilesOfTheTagThatIsNamed) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"});
    source_->put_directory("step2");
    source_->put_file("step2/a.shard", "newer");
    source_->put_file("model-of-the-source", "hidden");
    source_->put_directory("model-directory");
    const auto fs = shown();
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "fifo", "latest", "link", "plain", "step1",
                                                             "step2", "model-directory", "model.bin"));
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: AAABBB");
    EXPECT_EQ(text(*fs, "step2/model.bin"), "model.bin: newer");
    EXPECT_EQ(fs->lookup(root_inode, "model-of-the-source").error, ENOENT);
    EXPECT_TRUE(fs->lookup(root_inode, "model-directory").ok());
    EXPECT_EQ(text(*fs, "plain/notes"), "some notes");
    EXPECT_NE(inode(*fs, "model.bin"), inode(*fs, "step1/model.bin"));
}

TEST_F(Placed, ADirectoryWithoutTagsHidesNothing) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"});
    source_->put_file("plain/model.bin", "somebody's");
    source_->put_file("plain/latest", "not about checkpoints");
    const auto fs = shown();
    EXPECT_EQ(text(*fs, "plain/model.bin"), "somebody's");
    EXPECT_THAT(names(*fs, inode(*fs, "plain")), UnorderedElementsAre(".", "..", "notes", "model.bin", "latest"));
}

TEST_F(Placed, AfterASaveTheHolderGivesTheNewTagOrStale) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"});
    const auto fs = shown();
    const auto old = inode(*fs, "model.bin");
    source_->put_directory("step2");
    source_->put_file("step2/a.shard", "newer");
    source_->put_file("latest", "step2");
    EXPECT_EQ(fs->open(old).error, ESTALE) << "within the second in which the old name is trusted";
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: newer");
    source_->put_file("step2/a.shard", "newest");
    EXPECT_EQ(fs->open(inode(*fs, "model.bin")).error, ESTALE);
    pass(1001);
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: newest");
}

TEST_F(Placed, ABrokenNamedTagAnswersWithAnErrorNeverWithAnOlderOne) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"}, {"model.safetensors"});
    source_->put_directory("step2");
    source_->put_file("step2/a.shard", "broken");
    source_->put_file("latest", "step2");
    source_->put_file("model.bin", "hidden");
    const auto fs = shown();
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "fifo", "latest", "link", "plain", "step1",
                                                             "step2", "model.safetensors"));
    const auto file = walk(*fs, "model.safetensors").attributes;
    EXPECT_EQ(file.size, 0U);
    EXPECT_EQ(fs->open(file.inode).error, EIO);
    EXPECT_EQ(fs->lookup(root_inode, "model.bin").error, ENOENT);
    EXPECT_EQ(fs->open(inode(*fs, "step2/model.safetensors")).error, EIO);
    EXPECT_EQ(logged("SRC/step2 cannot be shown as weights: a shard is broken"), 1);
    EXPECT_EQ(text(*fs, "step1/model.bin"), "model.bin: AAABBB") << "an older tag is there under its own name";

    source_->put_file("latest", "step7");
    pass(1001);
    EXPECT_EQ(fs->open(inode(*fs, "model.safetensors")).error, EIO);
    EXPECT_EQ(logged("'SRC/step7', which is named as the current tag of 'SRC/', is no tag directory"), 1);
}

TEST_F(Placed, WithoutANameTheNewestWholeTagIsTheCurrentOne) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"}, {"model.safetensors"});
    source_->remove("latest");
    source_->put_directory("a-newer-one");
    source_->put_file("a-newer-one/a.shard", "newer");
    source_->put_directory("newest");
    source_->put_file("newest/a.shard", "broken");
    const auto fs = shown();
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: newer");
    const int reads = reader_->reads();
    pass(1001);
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: newer");
    EXPECT_EQ(reader_->reads(), reads) << "what has not changed is not read again";
    source_->put_file("a-newer-one/a.shard", "broken too");
    source_->put_file("step1/a.shard", "broken as well");
    pass(1001);
    EXPECT_EQ(fs->open(inode(*fs, "model.safetensors")).error, EIO);
}

/// As where memory is short: an older tag must not stand for one that may be whole.
TEST_F(Placed, ANewestTagThatCannotBeReadJustNowIsNotPassedOver) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"}, {"model.safetensors"});
    source_->remove("latest");
    source_->put_directory("newest");
    source_->put_file("newest/a.shard", "unreadable");
    const auto fs = shown();
    EXPECT_EQ(fs->open(inode(*fs, "model.safetensors")).error, EIO);
    EXPECT_EQ(fs->lookup(root_inode, "model.bin").error, ENOENT);
    source_->put_file("newest/a.shard", "newest");
    pass(1001);
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: newest");
}

TEST_F(Placed, OtherNamesInAHolderNeedNoLookAtItsTags) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"});
    source_->remove("latest");
    const auto fs = shown();
    EXPECT_EQ(text(*fs, "plain/notes"), "some notes");
    EXPECT_EQ(reader_->reads(), 0);
    EXPECT_EQ(source_->lists(), 2);
}

TEST_F(Placed, BesideTheTag) {
    reader_->show_at({.beside_suffix = "_universal", .pointer = "latest"}, {"zero/w/fp32", "mp_rank_00"});
    source_->put_file("latest", "step1\n");
    source_->put_directory("step1_universal");
    source_->put_file("step1_universal/old", "what a converter left");
    const auto fs = shown();
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "fifo", "latest", "link", "plain", "step1",
                                                             "step1_universal", "latest_universal"));
    EXPECT_EQ(text(*fs, "latest_universal"), "step1_universal");
    EXPECT_EQ(walk(*fs, "latest_universal").attributes.mode, 0444U);
    EXPECT_EQ(text(*fs, "latest"), "step1\n");
    EXPECT_EQ(text(*fs, "step1/a.shard"), "AAA") << "the tag passes through";
    EXPECT_THAT(names(*fs, inode(*fs, "step1")), UnorderedElementsAre(".", "..", "a.shard", "b.shard", "readme"));
    EXPECT_THAT(names(*fs, inode(*fs, "step1_universal")), UnorderedElementsAre(".", "..", "zero", "mp_rank_00"));
    EXPECT_EQ(text(*fs, "step1_universal/zero/w/fp32"), "zero/w/fp32: AAABBB");
    for (const auto* absent : {"plain_universal", "link_universal", "nothing_universal", "_universal"}) {
        EXPECT_EQ(fs->lookup(root_inode, absent).error, ENOENT) << absent;
    }

    const auto pointer = inode(*fs, "latest_universal");
    source_->put_file("latest", "step2");
    EXPECT_EQ(fs->open(pointer).error, ESTALE);
    EXPECT_EQ(text(*fs, "latest_universal"), "step2_universal");
    source_->remove("latest");
    pass(1001);
    EXPECT_EQ(fs->lookup(root_inode, "latest_universal").error, ENOENT);
}

TEST_F(Placed, BesideABrokenTag) {
    reader_->show_at({.beside_suffix = "_universal", .pointer = "latest"}, {"zero/w"}, {"mp_rank_00"});
    source_->put_file("step1/a.shard", "broken");
    const auto fs = shown();
    const auto directory = inode(*fs, "step1_universal");
    EXPECT_THAT(names(*fs, directory), UnorderedElementsAre(".", "..", "mp_rank_00"));
    EXPECT_EQ(fs->open(inode(*fs, "step1_universal/mp_rank_00")).error, EIO);
    EXPECT_EQ(logged("SRC/step1 cannot be shown as weights: a shard is broken"), 1);
    reader_->show_at({.beside_suffix = "_universal", .pointer = "latest"}, {"zero/w"});
    EXPECT_EQ(fs->opendir(directory).error, EIO);
    EXPECT_EQ(fs->lookup(directory, "zero").error, EIO);
}

TEST_F(Placed, ARepairedTagOpensAtOnce) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"}, {"model.safetensors"});
    source_->put_file("step1/a.shard", "broken");
    const auto fs = shown();
    const auto held = inode(*fs, "model.safetensors");
    const auto in_tag = inode(*fs, "step1/model.safetensors");
    EXPECT_EQ(fs->open(held).error, EIO);
    EXPECT_EQ(fs->open(in_tag).error, EIO);
    source_->put_file("step1/a.shard", "AAA");
    EXPECT_EQ(fs->open(held).error, ESTALE) << "within the second in which the old name is trusted";
    EXPECT_EQ(fs->open(in_tag).error, ESTALE);
    EXPECT_EQ(text(*fs, "step1/model.bin"), "model.bin: AAABBB");

    source_->put_file("latest", "step7");
    pass(1001);
    const auto dangling = inode(*fs, "model.safetensors");
    EXPECT_EQ(fs->open(dangling).error, EIO);
    source_->put_file("latest", "step1");
    EXPECT_EQ(fs->open(dangling).error, ESTALE);
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: AAABBB");
}

TEST_F(Placed, WithoutANameTagsThatLinksLeadToAreCandidates) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"});
    source_->remove("latest");
    source_->put_directory("/other");
    source_->put_directory("/other/step2");
    source_->put_file("/other/step2/a.shard", "newer");
    source_->put_symlink("best", "/other/step2");
    source_->put_symlink("again", "/other/step2");
    const auto fs = shown();
    EXPECT_EQ(text(*fs, "model.bin"), "model.bin: newer");
    EXPECT_EQ(reader_->reads(), 1) << "each of them once";
}

TEST_F(Placed, SourceSOwnDirectoryBesideATagPassesWhereTheViewFails) {
    reader_->show_at({.beside_suffix = "_universal", .pointer = "latest"}, {"zero/w"}, {"mp_rank_00"});
    source_->put_file("step1/a.shard", "broken");
    source_->put_directory("step1_universal");
    source_->put_file("step1_universal/converted", "whole");
    const auto fs = shown();
    EXPECT_EQ(text(*fs, "step1_universal/converted"), "whole");
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "fifo", "latest", "link", "plain", "step1",
                                                             "step1_universal", "latest_universal"));
    source_->put_file("step1/a.shard", "AAA");
    pass(1001);
    EXPECT_THAT(names(*fs, inode(*fs, "step1_universal")), UnorderedElementsAre(".", "..", "zero"));
}

class InPlace : public Placed {
 protected:
    void SetUp() override {
        Placed::SetUp();
        reader_->show_at({.in_place_of_holder_of = "checkpoint"}, {"the file"});
        source_->put_directory("epoch=1.ckpt");
        source_->put_directory("epoch=1.ckpt/checkpoint");
        source_->put_file("epoch=1.ckpt/checkpoint/a.shard", "one");
        source_->put_symlink("last.ckpt", "epoch=1.ckpt");
        source_->put_symlink("absolute.ckpt", "/src/epoch=1.ckpt");
    }
};

TEST_F(InPlace, OfTheDirectoryThatHoldsTheTag) {
    const auto fs = shown();
    const auto file = walk(*fs, "epoch=1.ckpt").attributes;
    EXPECT_EQ(file.type, FileType::regular);
    EXPECT_EQ(read_all(*fs, file.inode).value, "the file: one");
    EXPECT_EQ(fs->readlink(inode(*fs, "last.ckpt")).value, "epoch=1.ckpt");
    EXPECT_EQ(fs->readlink(inode(*fs, "absolute.ckpt")).value, "epoch=1.ckpt");
    EXPECT_EQ(listed_type(*fs, root_inode, "epoch=1.ckpt"), std::nullopt) << "costs a look";
    EXPECT_EQ(text(*fs, "step1/a.shard"), "AAA") << "no tag of that name";
    EXPECT_EQ(text(*fs, "plain/notes"), "some notes");

    source_->put_file("epoch=1.ckpt/checkpoint/a.shard", "two");
    EXPECT_EQ(fs->open(file.inode).error, ESTALE);
    pass(1001);
    EXPECT_EQ(text(*fs, "epoch=1.ckpt"), "the file: two");
    source_->put_file("epoch=1.ckpt/checkpoint/a.shard", "broken");
    pass(1001);
    EXPECT_EQ(fs->open(inode(*fs, "epoch=1.ckpt")).error, EIO);
    EXPECT_EQ(logged("SRC/epoch=1.ckpt/checkpoint cannot be shown as weights: a shard is broken"), 1);
}

TEST_F(InPlace, OfADirectoryOutsideThatALinkLeadsTo) {
    source_->put_directory("/other");
    source_->put_directory("/other/run");
    source_->put_directory("/other/run/checkpoint");
    source_->put_file("/other/run/checkpoint/a.shard", "outside");
    source_->put_symlink("best.ckpt", "/other/run");
    EXPECT_EQ(text(*shown(), "best.ckpt"), "the file: outside");
}

TEST_F(InPlace, OfSourceItself) {
    source_->put_directory("checkpoint");
    source_->put_file("checkpoint/a.shard", "top");
    const auto fs = shown("run.ckpt");
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "run.ckpt"));
    EXPECT_EQ(text(*fs, "run.ckpt"), "the file: top");
    EXPECT_EQ(fs->lookup(root_inode, "plain").error, ENOENT);
    EXPECT_EQ(fs->lookup(root_inode, "checkpoint").error, ENOENT);
}

class Catalogue : public Placed {
 protected:
    std::unique_ptr<FileSystem> listed() {
        FileSystemOptions options;
        options.catalogue_entries = {{.path = "latest", .text = "choose a view"},
                                     {.path = "choose a view/states", .is_link = true, .text = "no checkpoint here"}};
        return make(std::move(options));
    }
};

TEST_F(Catalogue, ListsWhatTagsSuggestAndFindsEveryRequest) {
    reader_->show_at({.in_tag = true}, {"model.bin"});
    const auto fs = listed();
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "latest", "choose a view"));
    EXPECT_EQ(text(*fs, "weights-bf16/step1/model.bin"), "model.bin: AAABBB");
    EXPECT_EQ(text(*fs, "world-size-3/step1/rank_1.pt"), "rank 1 of 3: AAABBB");
    EXPECT_THAT(names(*fs, root_inode), UnorderedElementsAre(".", "..", "latest", "choose a view", "world-size-2"));
    EXPECT_NE(inode(*fs, "weights/step1/model.bin"), inode(*fs, "weights-bf16/step1/model.bin"));
    EXPECT_EQ(fs->lookup(root_inode, "weights-fp8").error, ENOENT);
}

TEST_F(Catalogue, AsksEachTagOnceAndOnlyWhereItListsThem) {
    const auto fs = listed();
    EXPECT_EQ(text(*fs, "world-size-3/step1/rank_1.pt"), "rank 1 of 3: AAABBB");
    EXPECT_EQ(reader_->suggested(), 0);
    names(*fs, root_inode);
    EXPECT_THAT(names(*fs, root_inode), testing::Contains("world-size-2"));
    EXPECT_EQ(reader_->suggested(), 1);
    const auto one_view = make(3);
    one_view->adopt("step1", reader_->read(*source_, "step1"));
    EXPECT_EQ(text(*one_view, "step1/rank_1.pt"), "rank 1 of 3: AAABBB");
    EXPECT_EQ(reader_->suggested(), 1);
}

TEST_F(Catalogue, ListsWhatAnAdoptedTagSuggests) {
    const auto fs = listed();
    fs->adopt("step1", reader_->read(*source_, "step1"));
    fs->adopt("nowhere", reader_->read(*source_, "step1"));
    EXPECT_THAT(names(*fs, root_inode), testing::Contains("world-size-2"));
    EXPECT_EQ(reader_->suggested(), 2);
}

TEST_F(Catalogue, ItsOwnFilesGuardItsRoot) {
    const auto fs = listed();
    EXPECT_EQ(text(*fs, "latest"), "choose a view");
    const auto directory = walk(*fs, "choose a view").attributes;
    EXPECT_EQ(directory.type, FileType::directory);
    EXPECT_EQ(directory.mode, 0555U);
    EXPECT_THAT(names(*fs, directory.inode), UnorderedElementsAre(".", "..", "states"));
    const auto link = walk(*fs, "choose a view/states").attributes;
    EXPECT_EQ(link.type, FileType::symlink);
    EXPECT_EQ(fs->readlink(link.inode).value, "no checkpoint here");
    EXPECT_EQ(fs->open(link.inode).error, ELOOP);
    EXPECT_EQ(fs->lookup(directory.inode, "other").error, ENOENT);
    EXPECT_TRUE(fs->getattr(directory.inode).ok());
    EXPECT_EQ(walk(*listed(), "choose a view/states").attributes.inode, link.inode);
}

TEST_F(Catalogue, SourceAsOneFileStandsBelowItsRequest) {
    reader_->show_at({.in_place_of_holder_of = "checkpoint"}, {"the file"});
    source_->put_directory("checkpoint");
    source_->put_file("checkpoint/a.shard", "top");
    EXPECT_EQ(text(*listed(), "lightning/checkpoint"), "the file: top") << "the name where none is given";
}

class ToOthers : public Placed {
 protected:
    // The directories that the tests close are on the way to what they look at.
    void SetUp() override {
        Placed::SetUp();
        source_->set_mode("step1", 0700);
    }
    std::uint32_t mode(const std::string& path) {
        FileSystemOptions options;
        options.request = weights();
        options.allow_other = true;
        const auto fs = make(std::move(options));
        return walk(*fs, path).attributes.mode;
    }
};

TEST_F(ToOthers, AFileOutsideTheTagGrantsNoMoreThanTheWayToIt) {
    reader_->show_at({.in_tag = true, .in_holder = is_model}, {"model.bin"});
    EXPECT_EQ(mode("model.bin"), 0400U);
    source_->set_mode("step1", 0755);
    EXPECT_EQ(mode("model.bin"), 0444U);
}

TEST_F(ToOthers, ATreeBesideATagIsAsClosedAsTheTag) {
    reader_->show_at({.beside_suffix = "_universal"}, {"zero/w"});
    EXPECT_EQ(mode("step1_universal"), 0500U);
    EXPECT_EQ(mode("step1_universal/zero/w"), 0400U);
}

}  // namespace placement_test
}  // namespace ckptfs
