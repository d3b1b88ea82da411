// What every Source promises (ckptfs/source.h), as one suite that each implementation is put through.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ckptfs/source.h"
#include "support/fake_files.h"

namespace ckptfs::test {

/// A tree that a test fills and looks at through the Source under test. What an implementation cannot hold is never
/// asked of it: its abilities say so.
class ContractTree {
 public:
    ContractTree() = default;
    ContractTree(const ContractTree&) = delete;
    ContractTree& operator=(const ContractTree&) = delete;
    virtual ~ContractTree() = default;

    /// In the root, or in a directory that was added. A file that is there already is replaced by a new generation.
    virtual void add_file(const std::string& path, const std::string& bytes) = 0;
    virtual void add_directory(const std::string& /*path*/) { throw std::logic_error("this tree has no directories"); }
    virtual void add_link(const std::string& /*path*/, const std::string& /*target*/) {
        throw std::logic_error("this tree has no links");
    }
    virtual void remove(const std::string& /*path*/) { throw std::logic_error("this tree does not change"); }
    /// Of what has been added; of a tree that can change, also what will be.
    virtual std::shared_ptr<const Source> source() = 0;
};

struct Abilities {
    bool directories = false;
    bool links = false;
    bool changes = false;
};

struct ContractCase {
    std::string name;
    std::function<std::unique_ptr<ContractTree>()> make_tree;
    std::function<void(ContractTree&)> holds;
};

inline void PrintTo(const ContractCase& contract, std::ostream* out) {
    *out << contract.name;
}

namespace contract {

inline ErrorCode code_of(const auto& result) {
    EXPECT_FALSE(result.ok());
    return result.ok() ? ErrorCode::internal : result.error().code();
}

inline std::vector<std::pair<std::string, FileType>> listed(const Source& source, const std::string& path) {
    std::vector<std::pair<std::string, FileType>> found;
    const auto entries = source.list(path);
    EXPECT_TRUE(entries.ok()) << path;
    if (entries.ok()) {
        for (const DirectoryEntry& entry : *entries) {
            found.emplace_back(entry.name, entry.type);
        }
    }
    return found;
}

inline void files_are_read_by_position(ContractTree& tree) {
    tree.add_file("digits", "0123456789");
    tree.add_file("nothing", "");
    const auto source = tree.source();
    const auto opened = source->open("digits");
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    const File& file = **opened;
    EXPECT_EQ(file.size(), 10U);
    EXPECT_EQ(*read_all(file), "0123456789");
    EXPECT_EQ(*read_range(file, 3, 4), "3456");
    EXPECT_EQ(*read_range(file, 10, 0), "");
    const std::uint64_t far = std::numeric_limits<std::uint64_t>::max();
    for (const auto& [offset, nbytes] : {std::pair<std::uint64_t, std::uint64_t>{9, 2}, {11, 0}, {0, 11}, {far, 2}}) {
        EXPECT_EQ(code_of(read_range(file, offset, nbytes)), ErrorCode::invalid_argument) << offset << '+' << nbytes;
    }
    EXPECT_THAT(file.name(), testing::HasSubstr("digits"));
    EXPECT_EQ(*read_all(**source->open("nothing")), "");
}

inline void stats_tell_type_size_and_generation(ContractTree& tree) {
    tree.add_file("one", "abc");
    tree.add_file("two", "abc");
    const auto source = tree.source();
    const auto one = source->stat("one");
    ASSERT_TRUE(one.ok()) << one.error().message();
    EXPECT_EQ(one->type, FileType::regular);
    EXPECT_EQ(one->stamp.size, 3U);
    EXPECT_EQ(one->mode & ~07777U, 0U);
    EXPECT_EQ(source->stat("one")->stamp, one->stamp);
    EXPECT_EQ(source->stat_target("one")->stamp, one->stamp);
    EXPECT_NE(source->stat("two")->stamp, one->stamp) << "another file, if with the same bytes";
    EXPECT_EQ(source->stat("")->type, FileType::directory);
    EXPECT_EQ(source->stat_target("")->type, FileType::directory);
}

inline void listings_are_sorted_by_byte(ContractTree& tree) {
    for (const std::string name : {"b", "B", "a-", "a", "a.b", "\xC3\xA9", "10", "9"}) {
        tree.add_file(name, "x");
    }
    std::vector<std::string> names;
    for (const auto& [name, type] : listed(*tree.source(), "")) {
        EXPECT_EQ(type, FileType::regular) << name;
        names.push_back(name);
    }
    EXPECT_THAT(names, testing::ElementsAre("10", "9", "B", "a", "a-", "a.b", "b", "\xC3\xA9"));
}

inline void what_is_not_there_is_not_found(ContractTree& tree) {
    tree.add_file("file", "abc");
    tree.add_file("files", "abc");
    const auto source = tree.source();
    ASSERT_TRUE(source->open("file").ok());
    for (const std::string path : {"nowhere", "fil", "filed", "file/below", "nowhere/below"}) {
        EXPECT_EQ(code_of(source->stat(path)), ErrorCode::not_found) << path;
        EXPECT_EQ(code_of(source->stat_target(path)), ErrorCode::not_found) << path;
        EXPECT_EQ(code_of(source->list(path)), ErrorCode::not_found) << path;
        EXPECT_EQ(code_of(source->read_link(path)), ErrorCode::not_found) << path;
        EXPECT_EQ(code_of(source->open(path)), ErrorCode::not_found) << path;
        EXPECT_THAT(source->open(path).error().message(), testing::HasSubstr(source->display(path)));
    }
    EXPECT_EQ(code_of(source->list("file")), ErrorCode::not_found) << "a file is no directory";
    EXPECT_FALSE(source->read_link("file").ok()) << "a file is no link";
    EXPECT_EQ(code_of(source->open("")), ErrorCode::unsupported) << "a directory is no file";
}

inline void paths_that_leave_the_tree_are_refused(ContractTree& tree) {
    tree.add_file("file", "abc");
    const auto source = tree.source();
    for (const std::string path : {"..", "../file", "x/../file", "/file"}) {
        EXPECT_FALSE(source->stat(path).ok()) << path;
        EXPECT_FALSE(source->stat_target(path).ok()) << path;
        EXPECT_FALSE(source->list(path).ok()) << path;
        EXPECT_FALSE(source->open(path).ok()) << path;
    }
    EXPECT_TRUE(source->stat("file").ok());
}

inline void messages_name_paths_as_the_user_would(ContractTree& tree) {
    const auto source = tree.source();
    EXPECT_FALSE(source->display("").empty());
    EXPECT_THAT(source->display("some/file"), testing::EndsWith("some/file"));
    EXPECT_NE(source->display("some/file"), "some/file") << "the root is part of it";
}

inline void threads_share_it(ContractTree& tree) {
    constexpr std::size_t count = 4;
    std::vector<std::string> contents;
    for (std::size_t i = 0; i < count; ++i) {
        contents.push_back(random_bytes(1000, i));
        tree.add_file(std::to_string(i), contents.back());
    }
    const auto source = tree.source();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 25; ++round) {
                const auto file = source->open(std::to_string(i));
                const auto bytes = file.ok() ? read_all(**file) : file.error();
                const auto entries = source->list("");
                right += bytes.ok() && *bytes == contents[i] && entries.ok() && entries->size() == count ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(right, 100);
}

inline void directories_nest(ContractTree& tree) {
    tree.add_directory("top");
    tree.add_directory("top/below");
    tree.add_file("top/below/file", "abc");
    tree.add_file("top/file", "x");
    // Names that sort between a directory and what lies in it.
    tree.add_file("top-", "x");
    tree.add_file("top0", "x");
    const auto source = tree.source();
    using Entry = std::pair<std::string, FileType>;
    EXPECT_THAT(listed(*source, ""),
                testing::ElementsAre(Entry("top", FileType::directory), Entry("top-", FileType::regular),
                                     Entry("top0", FileType::regular)));
    EXPECT_THAT(listed(*source, "top"),
                testing::ElementsAre(Entry("below", FileType::directory), Entry("file", FileType::regular)));
    EXPECT_THAT(listed(*source, "top/below"), testing::ElementsAre(Entry("file", FileType::regular)));
    EXPECT_EQ(source->stat("top/below")->type, FileType::directory);
    EXPECT_EQ(*read_all(**source->open("top/below/file")), "abc");
    EXPECT_EQ(code_of(source->open("top/below")), ErrorCode::unsupported);
    EXPECT_EQ(code_of(source->stat("top/nowhere")), ErrorCode::not_found);
    EXPECT_EQ(code_of(source->list("top/file")), ErrorCode::not_found);
}

inline void links_lead_somewhere(ContractTree& tree) {
    tree.add_directory("top");
    tree.add_directory("top/below");
    tree.add_file("top/file", "abc");
    tree.add_link("direct", "top/file");
    tree.add_link("chain", "direct");
    tree.add_link("directory", "top");
    tree.add_link("top/below/up", "../file");
    tree.add_link("dangling", "nowhere");
    tree.add_link("loop", "loop");
    const auto source = tree.source();
    const auto file = source->stat("top/file");
    for (const std::string path : {"direct", "chain", "directory/file", "top/below/up", "directory/below/up"}) {
        EXPECT_EQ(source->stat_target(path)->stamp, file->stamp) << path;
        EXPECT_EQ(source->stat_target(path)->type, FileType::regular) << path;
        EXPECT_EQ(*read_all(**source->open(path)), "abc") << path;
    }
    EXPECT_EQ(source->stat("direct")->type, FileType::symlink);
    EXPECT_EQ(*source->read_link("direct"), "top/file");
    EXPECT_EQ(*source->read_link("top/below/up"), "../file");
    EXPECT_EQ(source->stat("directory/file")->type, FileType::regular) << "only the last component is not followed";
    EXPECT_EQ(source->stat_target("directory")->type, FileType::directory);
    EXPECT_EQ(listed(*source, "directory"), listed(*source, "top"));
    EXPECT_EQ(source->stat("dangling")->type, FileType::symlink);
    EXPECT_EQ(code_of(source->stat_target("dangling")), ErrorCode::not_found);
    EXPECT_EQ(code_of(source->open("dangling")), ErrorCode::not_found);
    EXPECT_EQ(source->stat("loop")->type, FileType::symlink);
    EXPECT_FALSE(source->stat_target("loop").ok());
    EXPECT_FALSE(source->open("loop").ok());
    EXPECT_EQ(code_of(source->open("directory")), ErrorCode::unsupported);
    for (const std::string path : {"direct", "chain", "directory/file", "top/below/up", "directory/below/up"}) {
        EXPECT_EQ(*source->resolve(path), "top/file") << path;
    }
    EXPECT_EQ(*source->resolve(""), "");
    EXPECT_EQ(*source->resolve("directory/below"), "top/below");
    EXPECT_EQ(code_of(source->resolve("dangling")), ErrorCode::not_found);
    EXPECT_EQ(code_of(source->resolve("loop")), ErrorCode::io);
}

inline void an_opened_file_is_one_generation(ContractTree& tree) {
    tree.add_file("file", "first");
    tree.add_file("other", "other");
    const auto source = tree.source();
    const auto before = source->stat("file");
    const auto file = source->open("file");
    const auto other = source->open("other");
    ASSERT_TRUE(file.ok() && other.ok());
    ASSERT_EQ(*read_all(**file), "first");
    tree.add_file("file", "second");
    EXPECT_EQ((*file)->size(), 5U);
    EXPECT_EQ(code_of(read_range(**file, 0, 1)), ErrorCode::stale);
    EXPECT_NE(source->stat("file")->stamp, before->stamp);
    EXPECT_EQ(*read_all(**source->open("file")), "second");
    EXPECT_EQ(*read_all(**other), "other") << "nothing happened to this one";
    tree.remove("other");
    EXPECT_EQ(code_of(read_range(**other, 0, 1)), ErrorCode::stale);
    EXPECT_EQ(code_of(source->open("other")), ErrorCode::not_found);
    EXPECT_THAT(listed(*source, ""), testing::SizeIs(1));
}

}  // namespace contract

class SourceContract : public testing::TestWithParam<ContractCase> {};

TEST_P(SourceContract, Holds) {
    const auto tree = GetParam().make_tree();
    GetParam().holds(*tree);
}

/// The cases for one implementation, for INSTANTIATE_TEST_SUITE_P(..., SourceContract, ...).
inline auto contract_cases(const std::function<std::unique_ptr<ContractTree>()>& make_tree, Abilities abilities) {
    std::vector<ContractCase> cases = {
        {"FilesAreReadByPosition", make_tree, contract::files_are_read_by_position},
        {"StatsTellTypeSizeAndGeneration", make_tree, contract::stats_tell_type_size_and_generation},
        {"ListingsAreSortedByByte", make_tree, contract::listings_are_sorted_by_byte},
        {"WhatIsNotThereIsNotFound", make_tree, contract::what_is_not_there_is_not_found},
        {"PathsThatLeaveTheTreeAreRefused", make_tree, contract::paths_that_leave_the_tree_are_refused},
        {"MessagesNamePathsAsTheUserWould", make_tree, contract::messages_name_paths_as_the_user_would},
        {"ThreadsShareIt", make_tree, contract::threads_share_it},
    };
    if (abilities.directories) {
        cases.push_back({"DirectoriesNest", make_tree, contract::directories_nest});
    }
    if (abilities.links) {
        cases.push_back({"LinksLeadSomewhere", make_tree, contract::links_lead_somewhere});
    }
    if (abilities.changes) {
        cases.push_back({"AnOpenedFileIsOneGeneration", make_tree, contract::an_opened_file_is_one_generation});
    }
    return testing::ValuesIn(cases);
}

inline std::string contract_case_name(const testing::TestParamInfo<ContractCase>& contract) {
    return contract.param.name;
}

}  // namespace ckptfs::test
