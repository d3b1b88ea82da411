// ckptfs SOURCE MOUNTPOINT in process: which tag is trusted, what reaches the mount, and bad input of every kind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <new>
#include <span>

#include "broken_source.h"
#include "harness.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Mounting : public testing::Test {
 protected:
    int mount(const fs::path& source, const std::vector<std::string>& more = {"--world-size=2"}) {
        std::vector<std::string> arguments{source.string(), "mnt"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return harness_.run(arguments);
    }

    void expect_refused(int exit_code, const std::string& says) const {
        EXPECT_THAT(harness_.mounts, IsEmpty());
        ASSERT_THAT(harness_.error_lines(), ElementsAre(testing::StartsWith("ckptfs: ")));
        EXPECT_THAT(harness_.error_lines().front(), HasSubstr(says)) << exit_code;
    }

    Harness harness_;
};

TEST_F(Mounting, DaemonisesAndHandsOverAbsolutePaths) {
    harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount("source", {"--world-size=2", "--log-file=log", "--io=cached", "-ocontext=c"}), 0)
        << harness_.error();
    EXPECT_EQ(harness_.daemons, 1);
    ASSERT_THAT(harness_.mounts, SizeIs(1));
    const MountOptions& options = harness_.mounts.front();
    EXPECT_EQ(options.source, (harness_.directory() / "source").string());
    EXPECT_EQ(options.mount_point, (harness_.directory() / "mnt").string());
    EXPECT_EQ(options.io, IoMode::cached);
    EXPECT_THAT(options.kernel_options, ElementsAre("context=c"));
    EXPECT_EQ(harness_.error(), "");
    EXPECT_THAT(ckptfs::test::file_bytes((harness_.directory() / "log").string()), HasSubstr("mounted"));
}

TEST_F(Mounting, ADescriptorIsKeptAndCheckedBeforeTheSourceIsLookedAt) {
    harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(harness_.run({"source", "/dev/fd/7", "--world-size=2", "--log-file=log"}), 0) << harness_.error();
    EXPECT_EQ(harness_.kept_descriptor, 7);
    ASSERT_THAT(harness_.mounts, SizeIs(1));
    EXPECT_EQ(harness_.mounts.front().descriptor, 7);
    EXPECT_THAT(ckptfs::test::file_bytes((harness_.directory() / "log").string()),
                HasSubstr("on the file system of descriptor 7"));
    harness_.mounts.clear();
    harness_.check_result = Error(ErrorCode::mount, "not this one");
    EXPECT_EQ(harness_.run({"absent", "/dev/fd/7", "--world-size=2"}), 6);
    expect_refused(6, "not this one");
    EXPECT_EQ(mount("source"), 6);
    EXPECT_EQ(harness_.kept_descriptor, std::nullopt);
}

TEST_F(Mounting, SaysThatALogIsLostWhereNobodyCollectsIt) {
    harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount("source"), 0);
    EXPECT_EQ(harness_.error(), "");
    harness_.has_syslog = false;
    EXPECT_EQ(mount("source"), 0);
    EXPECT_THAT(harness_.error(), HasSubstr("--log-file"));
    EXPECT_EQ(mount("source"), 0);
    EXPECT_EQ(harness_.error(), "") << "once is enough";
    harness_.warned_of.clear();
    EXPECT_EQ(mount("source", {"-f"}), 0);
    EXPECT_EQ(harness_.error(), "");
}

TEST_F(Mounting, TheLogHasTheFormAndTheLevelThatWereAskedFor) {
    harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount("source", {"--log-file=log", "-o", "log_format=json,log-level=debug"}), 0) << harness_.error();
    EXPECT_TRUE(harness_.mounts.back().outlives_hang_up);
    EXPECT_THAT(ckptfs::test::file_bytes((harness_.directory() / "log").string()),
                testing::ContainsRegex(R"("level":"info","message":"mounted )"));
    EXPECT_EQ(log::level(), log::Level::debug);
    EXPECT_EQ(mount("source", {"-f"}), 0);
    EXPECT_EQ(log::level(), log::Level::info);
    EXPECT_FALSE(harness_.mounts.back().outlives_hang_up);
    EXPECT_EQ(mount("source", {"--log-format=xml"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("must be text or json"));
}

TEST_F(Mounting, EveryMountSaysHowItFares) {
    harness_.copy("stage1_bf16_ws3");
    std::string view;
    harness_.serve = [&](FileSystem& file_system) {
        const auto directory = file_system.lookup(root_inode, ".ckptfs");
        ASSERT_TRUE(directory.ok());
        const auto file =
            file_system.open_file(file_system.lookup(directory.value.attributes.inode, "view").value.attributes.inode);
        view.resize(file.value->size());
        ASSERT_TRUE(file.value->read(0, std::as_writable_bytes(std::span(view))).ok());
    };
    for (const auto& [option, name] : std::map<std::string, std::string>{
             {"--world-size=2", "world-size-2"}, {"--view=weights", "weights"}, {"--io=auto", "catalogue"}}) {
        EXPECT_EQ(mount("source", {option}), 0) << harness_.error();
        EXPECT_EQ(view, name);
    }
    EXPECT_EQ(mount("source", {"--world-size=2", "--writable"}), 0) << harness_.error();
    EXPECT_EQ(view, "world-size-2");
}

TEST_F(Mounting, AnEntryOfSourceWithTheReservedNameIsNoSilence) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::create_directory(source / ".ckptfs");
    EXPECT_EQ(mount(source), 0);
    EXPECT_THAT(harness_.error(), HasSubstr("/.ckptfs' is shown as it is"));
    EXPECT_EQ(mount(source, {"--io=auto"}), 0);
    EXPECT_EQ(harness_.error(), "") << "the root of a catalogue does not show it";
}

TEST_F(Mounting, AFileAsSourceIsToldFromItsDirectory) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount(source / tag_name(source) / rank_1), 3);
    expect_refused(3, "give the directory that save_checkpoint was given, '" + source.string() + "', or its tag '" +
                          (source / tag_name(source)).string() + "'");
    EXPECT_EQ(mount("source/latest"), 3);
    expect_refused(3, "give its directory, '" + source.string() + "'");
}

TEST_F(Mounting, AServiceManagerIsToldByAMountInTheForegroundAlone) {
    harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount("source", {"-f", "--log-file=log"}), 0);
    EXPECT_THAT(harness_.told, IsEmpty()) << "nobody waits";
    harness_.notify_socket = "/run/notify";
    harness_.serve = [this](FileSystem&) { EXPECT_THAT(harness_.told, ElementsAre("/run/notify READY=1")); };
    EXPECT_EQ(mount("source", {"-f", "--log-file=log"}), 0);
    EXPECT_THAT(harness_.told, ElementsAre("/run/notify READY=1", "/run/notify STOPPING=1"));
    harness_.serve = [](FileSystem&) {};
    harness_.told.clear();
    EXPECT_EQ(mount("source", {"--log-file=log"}), 0);
    EXPECT_THAT(harness_.told, IsEmpty()) << "the process that the manager knows ends";
    harness_.tell_result = Error(ErrorCode::io, "nobody listens");
    EXPECT_EQ(mount("source", {"-f", "--log-file=log"}), 0);
    EXPECT_THAT(ckptfs::test::file_bytes((harness_.directory() / "log").string()), HasSubstr("nobody listens"));
}

TEST_F(Mounting, NoMemoryIsNoBug) {
    harness_.copy("stage1_bf16_ws3");
    harness_.serve = [](FileSystem&) { throw std::bad_alloc(); };
    EXPECT_EQ(mount("source", {"-f"}), 7);
    EXPECT_THAT(harness_.error(), HasSubstr("no memory"));
}

TEST_F(Mounting, ForegroundDoesNotDaemonise) {
    harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount("source", {"-f", "--log-file=log"}), 0);
    EXPECT_EQ(harness_.daemons, 0);
    EXPECT_THAT(harness_.mounts, SizeIs(1));
}

TEST_F(Mounting, ShowsTheTagAtTheWorldSize) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    bool looked = false;
    harness_.serve = [&](FileSystem& file_system) {
        const auto tag = file_system.lookup(root_inode, tag_name(source));
        ASSERT_TRUE(tag.ok());
        EXPECT_TRUE(file_system.lookup(tag.value.attributes.inode, rank_1).ok());
        EXPECT_FALSE(
            file_system.lookup(tag.value.attributes.inode, "bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt").ok());
        looked = true;
    };
    EXPECT_EQ(mount("source"), 0);
    EXPECT_TRUE(looked);
}

TEST_F(Mounting, ATagDirectoryIsASourceToo) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount(source / tag_name(source)), 0) << harness_.error();
}

TEST_F(Mounting, AViewThatWouldStandNowhereIsRefused) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount(source, {"--view=lightning"}), 2);
    expect_refused(2, "/" + tag_name(source) + "' is not called 'checkpoint'");
    fs::create_directory(harness_.directory() / "run.ckpt");
    fs::rename(source / tag_name(source), harness_.directory() / "run.ckpt/checkpoint");
    for (const char* view : {"lightning", "universal"}) {
        EXPECT_EQ(mount("run.ckpt/checkpoint", {std::string("--view=") + view}), 2) << view;
        expect_refused(2, "run.ckpt/checkpoint' is itself the tag directory");
    }
    EXPECT_EQ(mount("run.ckpt", {"--view=universal"}), 0) << harness_.error();
    EXPECT_EQ(mount("run.ckpt", {"--view=lightning"}), 0) << harness_.error();
}

TEST_F(Mounting, TagsWithoutAPlaceForTheViewAreNoProblemBesideOnesThatHaveOne) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::create_directory(source / "epoch=1.ckpt");
    fs::copy(source / tag_name(source), source / "epoch=1.ckpt/checkpoint", fs::copy_options::recursive);
    EXPECT_EQ(mount(source, {"--view=lightning"}), 0);
    EXPECT_EQ(harness_.error(), "");
    EXPECT_EQ(mount(source, {"--view=weights", "--tag=checkpoint"}), 0);
    EXPECT_EQ(harness_.error(), "ckptfs: warning: '" + source.string() +
                                    "' has no tag 'checkpoint': the weights there are those of its current tag\n");
}

TEST_F(Mounting, ATagThatThereIsNotIsNamed) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    EXPECT_EQ(mount(source, {"--view=weights", "--tag=nosuch"}), 2);
    expect_refused(2, "'" + source.string() + "' has no tag 'nosuch'");
    EXPECT_EQ(mount(source / tag_name(source), {"--view=weights", "--tag=nosuch"}), 2);
    expect_refused(2, "is itself the tag directory");
    fs::create_directory(harness_.directory() / "runs");
    fs::rename(source, harness_.directory() / "runs/one");
    fs::copy(harness_.directory() / "runs/one", harness_.directory() / "runs/two", fs::copy_options::recursive);
    fs::create_directory_symlink(tag_name(harness_.directory() / "runs/two"), harness_.directory() / "runs/two/best");
    EXPECT_EQ(mount("runs", {"--view=weights", "--tag=best", "--log-file=log"}), 0) << harness_.error();
    const std::string log = ckptfs::test::file_bytes((harness_.directory() / "log").string());
    EXPECT_THAT(log, HasSubstr("runs/one' has no tag 'best'"));
    EXPECT_THAT(log, testing::Not(HasSubstr("runs/two' has no tag")));
}

TEST_F(Mounting, TagsOfTrainersLieDeeper) {
    fs::create_directories(harness_.directory() / "out");
    harness_.copy("stage1_bf16_ws3", "out/checkpoint-2");
    EXPECT_EQ(mount("out"), 0) << harness_.error();
}

TEST_F(Mounting, ATagDirectoryMayLieDeep) {
    fs::create_directories(harness_.directory() / "a/b/c/d");
    harness_.copy("stage1_bf16_ws3", "a/b/c/d/run");
    EXPECT_EQ(mount("a"), 0) << harness_.error();
}

TEST_F(Mounting, AllowEmptyMountsBeforeThereIsACheckpoint) {
    fs::create_directories(harness_.directory() / "empty");
    EXPECT_EQ(mount("empty"), 3);
    expect_refused(3, "it is empty");
    EXPECT_EQ(mount("empty", {"--allow-empty"}), 0);
    EXPECT_THAT(harness_.error(), testing::StartsWith("ckptfs: warning: "));
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::remove(source / tag_name(source) / rank_1);
    EXPECT_EQ(mount("source", {"-oallow_empty"}), 0);
    EXPECT_THAT(harness_.error(), HasSubstr("rank 1 is missing"));
    EXPECT_EQ(mount("nowhere", {"--allow-empty"}), 3);
    EXPECT_THAT(harness_.mounts, SizeIs(2));
}

TEST_F(Mounting, AWritableMountMayBeginEmptyAndNeedNotBeInPlace) {
    fs::create_directories(harness_.directory() / "empty");
    EXPECT_EQ(mount("empty", {"--world-size=2", "--writable"}), 0) << harness_.error();
    ASSERT_THAT(harness_.mounts, SizeIs(1));
    EXPECT_TRUE(harness_.mounts.front().writable);
    EXPECT_FALSE(harness_.mounts.front().in_place);
    EXPECT_EQ(harness_.held, false);
    EXPECT_THAT(harness_.error(),
                AllOf(HasSubstr("/empty' holds no ZeRO checkpoint: a job that"), EndsWith(" there begins anew\n")));
    EXPECT_EQ(mount("empty", {"--world-size=2", "--allow-empty"}), 0);
    EXPECT_FALSE(harness_.mounts.back().writable);
}

TEST_F(Mounting, AWritableMountShowsABrokenTagAsItIs) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::remove(source / tag_name(source) / rank_1);
    EXPECT_EQ(mount("source", {"--world-size=2", "--writable"}), 0);
    EXPECT_THAT(harness_.error(), HasSubstr("rank 1 is missing"));
    EXPECT_THAT(harness_.error(), HasSubstr("(this tag is shown as it is)"));
}

TEST_F(Mounting, SourceIsHeldForGoodWhereItIsTheMountPoint) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::create_directory_symlink(source, harness_.directory() / "mnt");
    EXPECT_EQ(mount("source", {"--world-size=2", "--writable"}), 0) << harness_.error();
    ASSERT_THAT(harness_.mounts, SizeIs(1));
    EXPECT_TRUE(harness_.mounts.front().in_place);
    EXPECT_EQ(harness_.mounts.front().source, source.string());
    EXPECT_EQ(harness_.held, true);
    EXPECT_EQ(mount("source", {"--world-size=2"}), 0);
    EXPECT_FALSE(harness_.mounts.back().in_place);
}

TEST_F(Mounting, ABrokenLatestIsAWarningWhileAnotherTagIsWhole) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "older", fs::copy_options::recursive);
    fs::remove(source / tag_name(source) / rank_1);
    EXPECT_EQ(mount("source"), 0);
    EXPECT_THAT(harness_.error_lines(), IsEmpty());
    EXPECT_THAT(harness_.error(), HasSubstr("ckptfs: warning: "));
    EXPECT_THAT(harness_.error(), HasSubstr("rank 1 is missing"));
}

TEST_F(Mounting, TheReasonOfTheTagThatLatestNamesIsTheError) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "zz_newer", fs::copy_options::recursive);
    fs::remove(source / tag_name(source) / rank_1);
    fs::remove(source / "zz_newer" / model_states);
    EXPECT_EQ(mount("source"), 4);
    expect_refused(4, "rank 1 is missing");
}

TEST_F(Mounting, LatestMayEndInANewline) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    std::ofstream(source / "latest", std::ios::app) << " \n";
    EXPECT_EQ(mount("source"), 0);
    EXPECT_EQ(harness_.error(), "");
}

TEST_F(Mounting, LatestMustNotLeadElsewhere) {
    const fs::path source = harness_.copy("stage1_bf16_ws3");
    std::ofstream(source / "latest", std::ios::trunc) << "../" << tag_name(source);
    EXPECT_EQ(mount("source"), 0);
    EXPECT_THAT(harness_.error(), HasSubstr("expected the name of a tag directory"));
}

TEST_F(Mounting, FailuresOfHooksComeThrough) {
    harness_.copy("stage1_bf16_ws3");
    harness_.check_result = Error(ErrorCode::mount, "not empty");
    EXPECT_EQ(mount("source"), 6);
    expect_refused(6, "not empty");
    harness_.check_result = {};
    harness_.serve_result = Error(ErrorCode::io, "no device", ENODEV);
    EXPECT_EQ(mount("source"), 7);
    expect_refused(7, "no device");
    EXPECT_EQ(mount("nowhere"), 3);
    expect_refused(3, "nowhere");
    EXPECT_EQ(mount("source", {"--ds-config=none.json"}), 2);
    expect_refused(2, "none.json");
    EXPECT_EQ(mount("source", {"--log-file=source/latest/log"}), 2);
    expect_refused(2, "source/latest/log");
}

TEST_F(Mounting, ControlCharactersStayOnOneLine) {
    EXPECT_EQ(mount("no\nwhere\x1b[1m"), 3);
    expect_refused(3, "no\\x0awhere\\x1b[1m");
}

class BadInput : public testing::TestWithParam<Breakage> {};

TEST_P(BadInput, IsOneClearSentenceAndNoMount) {
    const Breakage& breakage = GetParam();
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    breakage.apply(source / tag_name(source));
    EXPECT_EQ(harness.run({source.string(), "mnt", "--world-size=2"}), breakage.exit_code);
    EXPECT_THAT(harness.mounts, IsEmpty());
    EXPECT_EQ(harness.out(), "");
    ASSERT_THAT(harness.error_lines(), SizeIs(1));
    EXPECT_THAT(harness.error(), testing::StartsWith("ckptfs: "));
    EXPECT_THAT(harness.error(), HasSubstr(breakage.says));
    EXPECT_THAT(harness.error(), HasSubstr(source.string()));
}

INSTANTIATE_TEST_SUITE_P(Kinds, BadInput, testing::ValuesIn(breakages()),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace ckptfs::cli::test
