// A tree of which a part is shown.
#include "export/trimmed_tree.h"

#include <gmock/gmock.h>

#include "export/plan.h"
#include "support/fake_files.h"
#include "support/memory_source.h"

namespace ckptfs::exporting {
namespace {

class LinkedTree final : public test::MemorySource {
 public:
    Result<FileInfo> stat(const std::string& path) const override {
        CKPTFS_ASSIGN(FileInfo info, MemorySource::stat(path));
        info.type = path.starts_with("link") ? FileType::symlink : info.type;
        return info;
    }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override {
        CKPTFS_ASSIGN(auto entries, MemorySource::list(path));
        for (DirectoryEntry& entry : entries) {
            entry.type = entry.name.starts_with("link") ? FileType::symlink : entry.type;
        }
        return entries;
    }
    Result<std::string> read_link(const std::string& path) const override { return path.substr(5); }
    Result<std::string> resolve(const std::string& path) const override {
        return path.starts_with("link") ? MemorySource::resolve(path.substr(5)) : path;
    }
};

TEST(TrimmedTree, HidesEntriesAndLinksToThem) {
    const auto inner = std::make_shared<LinkedTree>();
    for (const char* path : {"one/file", "two/file", "latest", "link-one", "link-two", "link-nothing"}) {
        inner->add(path, "text");
    }
    Trimming trimming;
    trimming.hidden = {"one", "no such"};
    trimming.texts["latest"] = {"two", 77};
    trimming.texts["two/latest"] = {"not listed, so not shown", 1};
    const TrimmedTree tree(inner, trimming);
    const auto plan = make_plan(tree, 100);
    ASSERT_TRUE(plan.ok()) << plan.error().message();
    std::vector<std::string> paths;
    for (const PlannedEntry& entry : plan->entries) {
        paths.push_back(entry.path);
    }
    EXPECT_THAT(paths, testing::ElementsAre("", "latest", "link-nothing", "link-two", "two", "two/file"));
    EXPECT_EQ(*test::read_all(**tree.open("latest")), "two");
    EXPECT_EQ(*test::read_all(**tree.open("two/file")), "text");
    EXPECT_EQ(tree.stat("latest")->stamp.size, 3U);
    EXPECT_EQ(tree.stat("latest")->stamp.mtime_ns, 77);

    // The text is the generation, whatever the file says by now.
    const auto before = tree.stat("latest")->stamp;
    inner->add("latest", "another");
    EXPECT_EQ(tree.stat("latest")->stamp, before);
    trimming.texts["latest"] = {"six", 77};
    EXPECT_NE(TrimmedTree(inner, trimming).stat("latest")->stamp, before);
}

TEST(TrimmedTree, LeavesOutWhatAViewAddsWhereItIsNotWanted) {
    const auto inner = std::make_shared<LinkedTree>();
    for (const char* path : {"one/weights", "one/weights.d/file", "one/notes", "two/weights", "weights"}) {
        inner->add(path, "text");
    }
    Trimming trimming;
    trimming.without_view = {"", "one"};
    trimming.is_of_view = [](std::string_view name) { return name.starts_with("weights"); };
    const auto plan = make_plan(TrimmedTree(inner, trimming), 100);
    ASSERT_TRUE(plan.ok()) << plan.error().message();
    std::vector<std::string> paths;
    for (const PlannedEntry& entry : plan->entries) {
        paths.push_back(entry.path);
    }
    EXPECT_THAT(paths, testing::ElementsAre("", "one", "one/notes", "one/weights.d", "one/weights.d/file", "two",
                                            "two/weights"));
}

}  // namespace
}  // namespace ckptfs::exporting
