// mount.ckptfs, as mount(8) calls it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/arguments.h"
#include "cli/mount_options.h"

namespace ckptfs::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<Arguments> parse_call(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "mount.ckptfs");
    return parse_arguments(arguments);
}

MountArguments mounted_by(const std::vector<std::string>& arguments) {
    const auto parsed = parse_call(arguments);
    EXPECT_TRUE(parsed.ok()) << parsed.error().message();
    return std::get<MountArguments>(*parsed);
}

TEST(MountHelper, TakesWhatMountCallsItWith) {
    const auto arguments =
        mounted_by({"/s", "/m", "-n", "-v", "-t", "ckptfs", "-o", "rw,nosuid,world-size=4,allow_other"});
    EXPECT_EQ(arguments.source, "/s");
    EXPECT_EQ(arguments.mount_point, "/m");
    EXPECT_EQ(arguments.target.world_size(), 4U);
    EXPECT_TRUE(arguments.allow_other);
    EXPECT_FALSE(arguments.foreground);
}

TEST(MountHelper, TakesEveryOptionInBothSpellings) {
    std::size_t tried = 0;
    for (const OptionDescription& option : describe_mount_helper().options) {
        const std::string name = option.names.back();
        if (!name.starts_with("--") || name == "--help" || name == "--version") {
            continue;
        }
        // A value that each of them takes, with what they ask for beside themselves.
        const bool is_size = name == "--world-size" || name == "--dp-size";
        const bool wants_view = !is_size && name != "--writable" && name != "--view";
        std::string value;
        if (!option.value.empty()) {
            value = !option.choices.empty() ? option.choices.back() : "3";
            value = name == "--rename" ? "a=b" : value;
        }
        const std::string word = name.substr(2);
        std::string spelled = word;
        std::replace(spelled.begin(), spelled.end(), '-', '_');
        std::vector<std::string> others{"/s", "/m"};
        if (name == "--writable") {
            others.emplace_back("--world-size=2");
        } else if (wants_view) {
            others.emplace_back("--view=weights");
        }
        const std::string behind = value.empty() ? "" : "=" + value;
        for (const std::vector<std::string>& spelling :
             {std::vector<std::string>{name + behind}, {"-o", word + behind}, {"-o", spelled + behind}}) {
            std::vector<std::string> arguments = others;
            arguments.insert(arguments.end(), spelling.begin(), spelling.end());
            const auto parsed = parse_call(arguments);
            EXPECT_TRUE(parsed.ok()) << name << ": " << parsed.error().message();
        }
        ++tried;
    }
    EXPECT_EQ(tried, mount_option_words().size());
}

TEST(MountHelper, TheLastOfTwoWordsCounts) {
    EXPECT_EQ(mounted_by({"/s", "/m", "-o", "world-size=4,world_size=5"}).target.world_size(), 5U);
    EXPECT_EQ(mounted_by({"/s", "/m", "-o", "world-size=4", "-o", "world-size=6"}).target.world_size(), 6U);
    const auto twice = parse_call({"/s", "/m", "--world-size=4", "--world-size=5"});
    ASSERT_FALSE(twice.ok());
    EXPECT_THAT(twice.error().message(), HasSubstr("given twice"));
}

TEST(MountHelper, ItsFIsThatOfMount) {
    EXPECT_TRUE(std::holds_alternative<Text>(*parse_call({"/s", "/m", "-f", "-o", "world-size=4"})));
    EXPECT_FALSE(parse_call({"/s", "/m", "-f", "-o", "world-size=x"}).ok());
    EXPECT_TRUE(mounted_by({"/s", "/m", "--foreground"}).foreground);
}

TEST(MountHelper, WhatNobodyKnowsIsAnErrorUnlessMountIsSloppy) {
    const auto strict = parse_call({"/s", "/m", "-o", "world-size=4,wrld=3"});
    ASSERT_FALSE(strict.ok());
    EXPECT_THAT(strict.error().message(), HasSubstr("unknown mount option 'wrld=3'"));
    EXPECT_EQ(mounted_by({"/s", "/m", "-s", "-o", "world-size=4,wrld=3"}).target.world_size(), 4U);
}

TEST(MountHelper, TakesItsLettersInOneWord) {
    for (const std::vector<std::string>& letters : {std::vector<std::string>{"-sn", "-o"}, {"-nvs", "-o"}, {"-vso"}}) {
        std::vector<std::string> arguments{"/s", "/m"};
        arguments.insert(arguments.end(), letters.begin(), letters.end());
        arguments.emplace_back("world-size=4,wrld=3");
        EXPECT_EQ(mounted_by(arguments).target.world_size(), 4U) << letters.front();
    }
    EXPECT_EQ(mounted_by({"/s", "/m", "-o", "world-size=4,wrld=3", "-ns"}).target.world_size(), 4U);
    EXPECT_EQ(mounted_by({"/s", "/m", "-noworld-size=4"}).target.world_size(), 4U);
    EXPECT_TRUE(std::holds_alternative<Text>(*parse_call({"/s", "/m", "-nf", "-o", "world-size=4"})));
    EXPECT_FALSE(parse_call({"/s", "/m", "-nv", "-o", "wrld=3"}).ok());
    EXPECT_FALSE(parse_call({"/s", "/m", "-o", "wrld=3", "--", "-s"}).ok()) << "no letters";
}

TEST(MountHelper, RefusesToMountInAnotherNamespace) {
    for (const std::string name : {"/proc/1/ns/mnt", ""}) {
        const auto parsed = parse_call({"/s", "/m", "-N", name, "-o", "world-size=4"});
        ASSERT_FALSE(parsed.ok());
        EXPECT_THAT(parsed.error().message(), HasSubstr("-N '" + name + "': ckptfs mounts in its own mount namespace"));
    }
}

TEST(MountHelper, SourceMayHaveTheNameOfACommand) {
    EXPECT_EQ(mounted_by({"run", "/m"}).source, "run");
    EXPECT_EQ(mounted_by({"mount.ckptfs", "/m"}).source, "mount.ckptfs");
}

}  // namespace
}  // namespace ckptfs::cli
