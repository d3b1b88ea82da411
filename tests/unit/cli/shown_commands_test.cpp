// ckptfs ls and ckptfs cat over real checkpoints; tests/mount holds them against a mount.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>

#include "harness.h"
#include "support/temporary_directory.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

const std::string sample = (fixtures / "stage1_fp16_ws2").string();

TEST(Ls, PrintsNamesOneALine) {
    Harness harness;
    ASSERT_EQ(harness.run({"ls", sample, "global_step2", "--world-size=3"}), 0) << harness.error();
    EXPECT_EQ(harness.out(),
              "mp_rank_00_model_states.pt\nzero_pp_rank_0_mp_rank_00_optim_states.pt\n"
              "zero_pp_rank_1_mp_rank_00_optim_states.pt\nzero_pp_rank_2_mp_rank_00_optim_states.pt\n");
    EXPECT_EQ(harness.error(), "");
    ASSERT_EQ(harness.run({"ls", sample, "-R", "--world-size=3"}), 0);
    EXPECT_THAT(harness.out(), StartsWith("global_step2\nglobal_step2/mp_rank_00_model_states.pt\n"));
    EXPECT_THAT(harness.out(), HasSubstr("optim_states.pt\nlatest\n"));
    ASSERT_EQ(harness.run({"ls", sample, "latest", "--world-size=3"}), 0);
    EXPECT_EQ(harness.out(), "latest\n");
}

TEST(Ls, TellsMoreOfEachInLong) {
    Harness harness;
    const fs::path source = harness.copy("stage1_fp16_ws2");
    fs::create_symlink("global_step2", source / "newest");
    fs::permissions(source / "latest", fs::perms(01640));
    ASSERT_EQ(harness.run({"ls", "-l", source.string(), "--world-size=3"}), 0) << harness.error();
    const std::string time = " [0-9-]{10}T[0-9:]{8}Z ";
    EXPECT_THAT(harness.out(), testing::ContainsRegex("(^|\n)dr-xr-xr-x +[0-9]+" + time + "global_step2\n"));
    EXPECT_THAT(harness.out(), testing::ContainsRegex("\n-r--r----T +12" + time + "latest\n"));
    EXPECT_THAT(harness.out(), testing::ContainsRegex("\nlrwxrwxrwx +12" + time + "newest -> global_step2\n"));
}

TEST(Ls, NamesCannotForgeLines) {
    Harness harness;
    const fs::path source = harness.copy("stage1_fp16_ws2");
    std::ofstream(source / "two\nlines") << "x";
    ASSERT_EQ(harness.run({"ls", source.string(), "--world-size=3"}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("two\\x0alines\n"));
}

TEST(Ls, WhatCannotBeLookedAtDoesNotKeepTheRest) {
    Harness harness;
    const fs::path source = harness.copy("stage1_fp16_ws2");
    const fs::path outside = harness.directory() / "outside";
    fs::create_directories(outside / "a");
    fs::create_symlink(outside, source / "away");
    fs::create_directory(source / "zz");
    ASSERT_EQ(harness.run({"ls", "-R", source.string(), "--world-size=3"}), 0) << harness.error();
    EXPECT_THAT(harness.out(), HasSubstr("away\naway/a\n"));
    if (::geteuid() == 0) {
        return;  // whom no mode keeps out
    }
    fs::permissions(outside / "a", fs::perms::none);
    EXPECT_EQ(harness.run({"ls", "-R", source.string(), "--world-size=3"}), 7);
    EXPECT_THAT(harness.out(), HasSubstr("away/a\n"));
    EXPECT_THAT(harness.out(), HasSubstr("zz\n"));
    fs::permissions(outside / "a", fs::perms::owner_all);
}

TEST(Ls, RefusesWhatIsNotThere) {
    Harness harness;
    EXPECT_EQ(harness.run({"ls", sample, "nowhere", "--world-size=3"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("nowhere' cannot be looked up: No such file or directory"));
    EXPECT_EQ(harness.run({"ls", "/nowhere/at/all"}), 3);
    EXPECT_EQ(harness.run({"ls"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("SOURCE is missing"));
    EXPECT_EQ(harness.run({"ls", sample, "--writable"}), 2);
    ckptfs::test::TemporaryDirectory empty;
    EXPECT_EQ(harness.run({"ls", empty.path(), "--world-size=3"}), 3);
    ASSERT_EQ(harness.run({"ls", empty.path(), "--world-size=3", "--allow-empty"}), 0);
    EXPECT_EQ(harness.out(), "");
    EXPECT_THAT(harness.error(), StartsWith("ckptfs: warning: "));
}

TEST(Ls, WarnsOfTagsThatCannotBeShown) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "later", fs::copy_options::recursive);
    fs::remove(source / "later" / rank_1);
    std::ofstream(source / "latest") << "later";
    ASSERT_EQ(harness.run({"ls", source.string(), "later", "--world-size=4"}), 0) << harness.error();
    EXPECT_THAT(harness.error(),
                MatchesRegex("ckptfs: warning: .*rank 1 .*\\(the files of this tag cannot be opened\\)\n"));
    const std::string listed = harness.out();
    EXPECT_GT(std::count(listed.begin(), listed.end(), '\n'), 2) << "they are listed";
}

TEST(Cat, PrintsTheBytesOfAFile) {
    Harness harness;
    ASSERT_EQ(harness.run({"cat", sample, "latest"}), 0) << harness.error();
    EXPECT_EQ(harness.out(), "choose world-size-N in this directory") << "of the catalogue";
    ASSERT_EQ(harness.run({"cat", sample, "world-size-3/latest"}), 0);
    EXPECT_EQ(harness.out(), ckptfs::test::file_bytes(sample + "/latest"));
    ASSERT_EQ(harness.run({"cat", sample, "global_step2/mp_rank_00_model_states.pt", "--world-size=3"}), 0);
    EXPECT_EQ(harness.out().size(), 5297U);
}

TEST(Cat, PrintsMoreThanABlock) {
    Harness harness;
    const fs::path source = harness.copy("stage1_fp16_ws2");
    std::string bytes;
    for (std::uint32_t i = 0; bytes.size() < (std::size_t{20} << 20U) + 17; ++i) {
        bytes += std::to_string(i);
    }
    std::ofstream(source / "large", std::ios::binary) << bytes;
    ASSERT_EQ(harness.run({"cat", source.string(), "large", "--world-size=3"}), 0) << harness.error();
    EXPECT_TRUE(harness.out() == bytes);
    harness.interrupted = [] { return SIGINT; };
    EXPECT_EQ(harness.run({"cat", source.string(), "large", "--world-size=3"}), 7);
    EXPECT_THAT(harness.error(), HasSubstr("interrupted"));
    EXPECT_EQ(harness.run({"ls", source.string(), "--world-size=3"}), 7);
}

TEST(Cat, RefusesWhatIsNoFile) {
    Harness harness;
    for (const auto& [path, said] : {std::pair("global_step2", "it is a directory"),
                                     {"nowhere", "No such file"},
                                     {"latest/below", "Not a directory"},
                                     {"..", "without '..'"}}) {
        EXPECT_EQ(harness.run({"cat", sample, path, "--world-size=3"}), 2) << path;
        EXPECT_THAT(harness.error(), HasSubstr(said)) << path;
        EXPECT_EQ(harness.out(), "") << path;
    }
    EXPECT_EQ(harness.run({"cat", sample}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("PATH is missing"));
}

TEST(Cat, SaysWhyATagIsNotShown) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "later", fs::copy_options::recursive);
    fs::remove(source / "later" / rank_1);
    EXPECT_EQ(harness.run({"cat", source.string(), "later/mp_rank_00_model_states.pt", "--world-size=4"}), 4);
    EXPECT_THAT(harness.error(), HasSubstr("later cannot be shown as world-size-4"));
    EXPECT_THAT(harness.error(), HasSubstr("rank 1"));
}

TEST(Commands, OfASourceWithTheNameOfOneAreWrittenWithAPath) {
    for (const char* name : {"ls", "cat"}) {
        const auto parsed = parse_arguments({std::string("./") + name, "/mnt"});
        ASSERT_TRUE(parsed.ok());
        EXPECT_EQ(std::get<MountArguments>(*parsed).source, std::string("./") + name);
    }
}

TEST(Ls, EndsWhereNobodyReadsOn) {
    Harness harness;
    const fs::path source = harness.copy("stage2_bf16_ws4");
    int directories = 0;
    harness.interrupted = [&] {  // asked before each of them
        ++directories;
        return 0;
    };
    ASSERT_EQ(harness.run({"ls", "-R", source.string(), "--world-size=3"}), 0) << harness.error();
    EXPECT_GT(directories, 1);
    directories = 0;
    harness.break_out();
    EXPECT_EQ(harness.run({"ls", "-R", source.string(), "--world-size=3"}), 7);
    EXPECT_EQ(directories, 0);
}

}  // namespace
}  // namespace ckptfs::cli::test
