// What is hidden, and what pointers say, where one tag is wanted.
#include "report/tag_selection.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <map>

#include "support/memory_source.h"

namespace ckptfs::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

/// A directory with a file `shard` is a tag.
class ShardReader final : public TagReader {
 public:
    [[nodiscard]] bool recognises(const std::vector<DirectoryEntry>& listing) const override {
        return std::any_of(listing.begin(), listing.end(), [](const auto& entry) { return entry.name == "shard"; });
    }
    [[nodiscard]] std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& /*listing*/) const override {
        return {"shard"};
    }
    [[nodiscard]] std::shared_ptr<const Tag> read(const Source& /*source*/,
                                                  const std::string& /*directory*/) const override {
        return nullptr;
    }
};

/// With links to directories, which have inodes of their own.
class LinkedSource final : public test::MemorySource {
 public:
    std::map<std::string, std::string> links;

    Result<FileInfo> stat(const std::string& path) const override {
        CKPTFS_ASSIGN(FileInfo info, MemorySource::stat(path));
        info.stamp.inode = info.type == FileType::directory ? std::hash<std::string>()(path) : info.stamp.inode;
        return info;
    }

    Result<std::string> resolve(const std::string& path) const override {
        const auto link = links.find(path);
        return link == links.end() ? MemorySource::resolve(path) : link->second;
    }
};

std::map<std::string, std::string> texts_of(const TagSelection& selection) {
    std::map<std::string, std::string> texts;
    for (const auto& [path, pointer] : selection.pointers) {
        texts[path] = pointer.text;
    }
    return texts;
}

TEST(SelectTag, HidesTheOthersAndNamesTheOne) {
    LinkedSource source;
    for (const char* tag : {"step1", "step2", "step3"}) {
        source.add(std::string(tag) + "/shard", "");
    }
    source.add("latest", "step3");
    const auto plain = select_tag(source, ShardReader(), "step2", Placement{.in_tag = true});
    ASSERT_TRUE(plain.ok()) << plain.error().message();
    EXPECT_THAT(plain->hidden, ElementsAre("step1", "step3"));
    EXPECT_THAT(texts_of(*plain), ElementsAre(Pair("latest", "step2")));

    Placement beside;
    beside.beside_suffix = "_universal";
    const auto with_others = select_tag(source, ShardReader(), "./step2/", beside);
    ASSERT_TRUE(with_others.ok());
    EXPECT_THAT(with_others->hidden, ElementsAre("step1", "step1_universal", "step3", "step3_universal"));
    EXPECT_THAT(texts_of(*with_others),
                ElementsAre(Pair("latest", "step2"), Pair("latest_universal", "step2_universal")));
}

TEST(SelectTag, DirectoriesThatDoNotHaveItShowNone) {
    LinkedSource source;
    source.add("a/step1/shard", "");
    source.add("a/step2/shard", "");
    source.add("b/step1/shard", "");
    source.add("b/latest", "step1");
    const auto selection = select_tag(source, ShardReader(), "step2", Placement{.in_tag = true});
    ASSERT_TRUE(selection.ok()) << selection.error().message();
    EXPECT_THAT(selection->hidden, ElementsAre("a/step1", "b/latest", "b/step1"));
    EXPECT_THAT(selection->lacking, ElementsAre("b"));
    EXPECT_THAT(texts_of(*selection), ElementsAre(Pair("a/latest", "step2"), Pair("latest", "a/step2")));
}

TEST(SelectTag, ATagWithTwoNamesIsOneTag) {
    LinkedSource source;
    source.add("step1/shard", "");
    source.add("best/shard", "");
    source.links = {{"best", "step1"}};
    const auto selection = select_tag(source, ShardReader(), "step1", Placement{.in_tag = true});
    ASSERT_TRUE(selection.ok());
    EXPECT_THAT(selection->hidden, IsEmpty());
}

TEST(SelectTag, WhatIsNotThereIsNamed) {
    LinkedSource source;
    source.add("step1/shard", "");
    const auto missing = select_tag(source, ShardReader(), "step2", Placement{.in_tag = true});
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(missing.error().message(), HasSubstr("has no tag 'step2'"));
    LinkedSource itself;
    itself.add("shard", "");
    EXPECT_FALSE(select_tag(itself, ShardReader(), "step1", Placement{.in_tag = true}).ok());
}

}  // namespace
}  // namespace ckptfs::report
