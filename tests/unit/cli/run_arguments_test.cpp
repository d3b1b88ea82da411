// ckptfs run: what stands before `--` is ours, what stands behind it the command's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "cli/arguments.h"
#include "cli/mount_identity.h"
#include "support/temporary_directory.h"

namespace ckptfs::cli {
namespace run_arguments {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RunArguments run_of(const std::vector<std::string>& arguments) {
    const auto parsed = parse_arguments(arguments);
    EXPECT_TRUE(parsed.ok()) << parsed.error().message();
    return std::get<RunArguments>(*parsed);
}

std::string error_of(const std::vector<std::string>& arguments) {
    const auto parsed = parse_arguments(arguments);
    EXPECT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
    return parsed.error().message();
}

TEST(RunArguments, TakesTheOptionsOfAMount) {
    const auto run = run_of({"run", "/s", "--world-size=4", "--ds-config=c", "--log-file=l", "-oio=direct,context=x",
                             "--", "train", "--world-size=9", "--", "-o", "{}"});
    EXPECT_EQ(run.mount.source, "/s");
    EXPECT_EQ(run.mount.target.world_size(), 4U);
    EXPECT_EQ(run.mount.target.config_file, "c");
    EXPECT_EQ(run.mount.log_file, "l");
    EXPECT_EQ(run.mount.io, IoMode::direct);
    EXPECT_THAT(run.mount.kernel_options, ElementsAre("context=x"));
    EXPECT_THAT(run.command, ElementsAre("train", "--world-size=9", "--", "-o", "{}"));
}

TEST(RunArguments, TheWorldSizeMayBeTheJobs) {
    EXPECT_TRUE(run_of({"run", "/s", "--world-size=auto", "--", "c"}).mount.target.of_job);
    EXPECT_TRUE(run_of({"run", "/s", "-oworld_size=auto", "--", "c"}).mount.target.of_job);
    EXPECT_FALSE(run_of({"run", "/s", "--", "c"}).mount.target.of_job);
    EXPECT_FALSE(run_of({"run", "/s", "--", "c"}).mount.target.world_size());
    for (const auto& words : {std::vector<std::string>{"/s", "/m", "--world-size=auto"},
                              {"/s", "/m", "-o", "world-size=auto"},
                              {"inspect", "/s", "--world-size=auto"}}) {
        EXPECT_THAT(error_of(words), HasSubstr("--world-size=auto is for `ckptfs run`"));
    }
    EXPECT_THAT(error_of({"run", "/s", "--dp-size=auto", "--", "c"}), HasSubstr("'auto'"));
}

TEST(RunArguments, AWritableViewTakesAWorldSizeOrTheJobs) {
    EXPECT_TRUE(run_of({"run", "/s", "--writable", "--world-size=auto", "--", "c"}).mount.writable);
    EXPECT_TRUE(run_of({"run", "/s", "--writable", "--world-size=2", "--", "c"}).mount.allow_empty);
    EXPECT_THAT(error_of({"run", "/s", "-oro", "--in-place", "--world-size=2", "--", "c"}),
                HasSubstr("-o ro and --in-place contradict"));
    EXPECT_THAT(error_of({"run", "/s", "--writable", "--", "c"}), HasSubstr("--writable takes a world size"));
}

TEST(RunArguments, InPlaceIsWritable) {
    const auto run = run_of({"run", "--in-place", "/s", "--world-size=auto", "--", "c", "--in-place"});
    EXPECT_TRUE(run.mount.in_place);
    EXPECT_TRUE(run.mount.writable);
    EXPECT_TRUE(run.mount.allow_empty);
    EXPECT_FALSE(run_of({"run", "/s", "--world-size=2", "--", "c", "--in-place"}).mount.in_place);
    EXPECT_TRUE(run_of({"run", "/s", "--in-place", "--writable", "--dp-size=2", "--", "c"}).mount.in_place);
    EXPECT_THAT(error_of({"run", "--in-place", "/s", "--", "c"}), HasSubstr("--in-place takes a world size"));
    EXPECT_THAT(error_of({"run", "--in-place", "/s", "--view=weights", "--", "c"}), HasSubstr("a world size"));
    EXPECT_THAT(error_of({"/s", "/m", "--in-place", "--world-size=2"}), HasSubstr("unknown option '--in-place'"));
}

TEST(RunArguments, WhatIsMissingOrTooMuchIsNamed) {
    EXPECT_THAT(error_of({"run"}), HasSubstr("SOURCE is missing"));
    EXPECT_THAT(error_of({"run", "--", "c"}), HasSubstr("SOURCE is missing"));
    for (const auto& arguments :
         {std::vector<std::string>{"run", "/s"}, {"run", "/s", "--"}, {"run", "/s", "--", ""}}) {
        EXPECT_THAT(error_of(arguments), HasSubstr("COMMAND, after `--`, is missing"));
    }
    EXPECT_THAT(error_of({"run", "/s", "train", "--", "c"}), HasSubstr("unexpected argument 'train'"));
    // A view of its own has no mount point to choose, no foreground and no other users.
    EXPECT_THAT(error_of({"run", "/s", "-f", "--", "c"}), HasSubstr("unknown option '-f'"));
    EXPECT_THAT(error_of({"run", "/s", "-oallow_other", "--", "c"}), HasSubstr("unknown option '--allow-other'"));
}

TEST(RunArguments, ASourceMayStandBehindTheEndOfOptions) {
    for (const char* source : {"-s", "--world-size=3", "/s"}) {
        const auto run = run_of(
            {"run", "--log-file", "-", "--world-size", "2", "-o", "io=direct", "--", source, "--", "c", "--", "-d"});
        EXPECT_EQ(run.mount.source, source);
        EXPECT_EQ(run.mount.log_file, "-");
        EXPECT_EQ(run.mount.target.world_size(), 2U);
        EXPECT_EQ(run.mount.io, IoMode::direct);
        EXPECT_THAT(run.command, ElementsAre("c", "--", "-d"));
    }
    EXPECT_THAT(run_of({"run", "/s", "--", "c", "--", "d"}).command, ElementsAre("c", "--", "d"));
    EXPECT_THAT(error_of({"run", "--", "-s", "--"}), HasSubstr("COMMAND, after `--`, is missing"));
    EXPECT_THAT(error_of({"run", "--", "c", "d", "--", "e"}), HasSubstr("SOURCE is missing"));
}

TEST(RunArguments, HelpIsThatOfRun) {
    const auto parsed = parse_arguments({"run", "--help"});
    ASSERT_TRUE(parsed.ok());
    EXPECT_THAT(std::get<Text>(*parsed).text, HasSubstr("ckptfs run SOURCE"));
    EXPECT_EQ(run_of({"run", "/s", "--", "train", "--help"}).command.size(), 2U);
}

class Places : public testing::Test {
 protected:
    std::string place_of(const MountArguments& arguments) const {
        const auto place = share::SharedPlace::find(mount_identity(arguments), [this](const std::string& name) {
            return name == "XDG_RUNTIME_DIR" ? std::optional(runtime_.path()) : std::nullopt;
        });
        EXPECT_TRUE(place.ok()) << place.error().message();
        return place->directory();
    }

    ckptfs::test::TemporaryDirectory runtime_;
    ckptfs::test::TemporaryDirectory source_;
};

TEST_F(Places, AreOnePerViewAndOptions) {
    source_.write("config", "{}");
    MountArguments arguments;
    arguments.source = source_.path();
    std::vector<std::string> places{place_of(arguments)};
    EXPECT_EQ(place_of(arguments), places.front());
    const auto other = [&](const auto& change) {
        MountArguments changed = arguments;
        change(changed);
        places.push_back(place_of(changed));
    };
    other([&](MountArguments& changed) { changed.source = runtime_.path(); });
    other([](MountArguments& changed) { changed.target.request = ViewRequest::at_world_size(2); });
    other([](MountArguments& changed) { changed.target.request = ViewRequest::parse("weights"); });
    other([](MountArguments& changed) { changed.target.names.tag = "step1"; });
    other([](MountArguments& changed) { changed.target.names.renames = {{"a", "b"}}; });
    other([](MountArguments& changed) { changed.target.names.strip_prefixes = {"a"}; });
    other([](MountArguments& changed) { changed.target.names.parameters = "a"; });
    other([](MountArguments& changed) { changed.target.names.trainable_only = true; });
    other([](MountArguments& changed) { changed.target.names.max_shard_nbytes = 1; });
    other([](MountArguments& changed) { changed.target.request = ViewRequest::at_world_size(2, true); });
    other([&](MountArguments& changed) { changed.target.config_file = source_ / "config"; });
    other([](MountArguments& changed) { changed.target.request = ViewRequest::parse("weights-bf16"); });
    other([](MountArguments& changed) { changed.io = IoMode::direct; });
    other([](MountArguments& changed) { changed.log_file = "/log"; });
    other([](MountArguments& changed) { changed.allow_empty = true; });
    other([](MountArguments& changed) { changed.writable = true; });
    other([](MountArguments& changed) { changed.in_place = true; });
    other([](MountArguments& changed) { changed.kernel_options = {"context=x"}; });
    const std::set<std::string> distinct(places.begin(), places.end());
    EXPECT_EQ(distinct.size(), places.size());

    MountArguments configured = arguments;
    configured.target.config_file = source_ / "config";
    const std::string before = place_of(configured);
    source_.write("config", "{\"a\": 1}");
    EXPECT_NE(place_of(configured), before);
}

TEST_F(Places, FollowLinksToTheSource) {
    std::filesystem::create_directory_symlink(source_.path(), runtime_ / "link");
    MountArguments direct;
    direct.source = source_.path();
    MountArguments linked;
    linked.source = runtime_ / "link";
    EXPECT_EQ(place_of(direct), place_of(linked));
}

}  // namespace
}  // namespace run_arguments
}  // namespace ckptfs::cli
