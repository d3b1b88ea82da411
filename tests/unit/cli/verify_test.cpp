// ckptfs verify: passes what is right, finds what was planted, and names it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "broken_source.h"
#include "harness.h"
#include "support/effort.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

TEST(Verify, EveryFixturePassesAtEveryWorldSize) {
    int verified = 0;
    for (const fs::path& source : whole_fixtures()) {
        const std::vector<const char*> dp_sizes =
            ckptfs::test::looks_for_races ? std::vector{"3"} : std::vector{"1", "3", "16"};
        for (const char* dp_size : dp_sizes) {
            Harness harness;
            EXPECT_EQ(harness.run({"verify", source.string(), "--dp-size", dp_size}), 0)
                << source << " at " << dp_size << ": " << harness.error() << harness.out();
            EXPECT_THAT(harness.out(), HasSubstr("\nOK: "));
            ++verified;
        }
    }
    EXPECT_GT(verified, ckptfs::test::looks_for_races ? 16 : 50);
}

TEST(Verify, EveryFixturePassesAsEveryViewThatItHas) {
    int verified = 0;
    for (const fs::path& fixture : fixtures_of_one_thread()) {
        Harness harness;
        // As Lightning calls it, for the view lightning.
        const fs::path source = harness.directory() / "run.ckpt";
        fs::create_directory(source);
        fs::create_directory_symlink(fixture / tag_name(fixture), source / "checkpoint");
        ASSERT_EQ(harness.run({"inspect", "--json", source.string()}), 0) << harness.error();
        std::vector<std::string> views;
        const nlohmann::json description = nlohmann::json::parse(harness.out());
        for (const auto& view : description["tags"][0]["views"]) {
            if (view["problem"].is_null()) {
                views.push_back(view["name"]);
            }
            if (view["problem"].is_null() && view["name"] == "weights") {
                views.insert(views.end(), {"weights-fp32", "weights-bf16", "weights-fp16", "weights-bin"});
            }
        }
        for (const std::string& view : views) {
            EXPECT_EQ(harness.run({"verify", source.string(), "--view", view}), 0)
                << source << " as " << view << ": " << harness.error() << harness.out();
            ++verified;
        }
    }
    EXPECT_GT(verified, ckptfs::test::unless_looking_for_races(150, 35));
}

TEST(Verify, TheSourceAloneIsReadWhole) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    EXPECT_EQ(harness.run({"verify", source.string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("each with a CRC"));
    flip_byte(source / tag_name(source) / rank_1, state_offset(source / tag_name(source), rank_1, "exp_avg"));
    EXPECT_EQ(harness.run({"verify", source.string()}), 1);
    ASSERT_THAT(harness.error_lines(), testing::SizeIs(1));
    EXPECT_THAT(harness.error(), HasSubstr("the CRC-32 of record"));
    EXPECT_THAT(harness.error(), HasSubstr(rank_1));
}

TEST(Verify, JsonHoldsWhatWasSaid) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    ASSERT_EQ(harness.run({"verify", "--json", "--world-size=2", source.string()}), 0) << harness.error();
    auto result = nlohmann::json::parse(harness.out());
    EXPECT_EQ(result["right"], true);
    EXPECT_EQ(result["view"], "world-size-2");
    ASSERT_EQ(result["tags"].size(), 1U);
    EXPECT_EQ(result["tags"][0]["source"]["files"], 4);
    EXPECT_EQ(result["tags"][0]["weights"]["numel_different"], 0);
    EXPECT_GT(result["tags"][0]["view"]["tensors"], 0);
    flip_byte(source / tag_name(source) / rank_1, state_offset(source / tag_name(source), rank_1, "exp_avg"));
    harness.streams_are_one = true;  // who reads JSON reads the error beside it
    EXPECT_EQ(harness.run({"verify", "--json", source.string()}), 1);
    EXPECT_THAT(harness.error(), HasSubstr("the CRC-32 of record"));
    result = nlohmann::json::parse(harness.out());
    EXPECT_EQ(result["right"], false);
    EXPECT_TRUE(result["tags"][0]["view"].is_null());
    ASSERT_EQ(result["tags"][0]["problems"].size(), 1U);
    EXPECT_THAT(result["tags"][0]["problems"][0].get<std::string>(), HasSubstr(rank_1));
}

TEST(Verify, OneTagCanBeChosen) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "other", fs::copy_options::recursive);
    fs::remove(source / "other" / rank_1);
    EXPECT_EQ(harness.run({"verify", source.string()}), 1);
    EXPECT_EQ(harness.run({"verify", source.string(), "--tag=other"}), 1);
    EXPECT_EQ(harness.run({"verify", source.string(), "--tag=" + tag_name(source)}), 0);
    EXPECT_EQ(harness.run({"verify", source.string(), "--tag=third"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("has no tag 'third'"));
}

TEST(Verify, AMissingLibtorchIsNoProblemOfTheCheckpoint) {
    Harness harness;
    harness.read_with_torch = [](const File&, const TorchModule::ChunkVisitor&) -> Result<void> {
        return Error(ErrorCode::io, "no module", ENOENT);
    };
    EXPECT_EQ(harness.run({"verify", (fixtures / "stage1_bf16_ws3").string(), "--world-size=2"}), 7);
    EXPECT_THAT(harness.error(), HasSubstr("no module"));
}

class VerifyBadInput : public testing::TestWithParam<Breakage> {};

TEST_P(VerifyBadInput, IsAProblemOrNoCheckpoint) {
    const Breakage& breakage = GetParam();
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    breakage.apply(source / tag_name(source));
    EXPECT_THAT(harness.run({"verify", source.string()}), AnyOf(1, breakage.exit_code));
    EXPECT_THAT(harness.out(), Not(HasSubstr("OK: ")));
    ASSERT_THAT(harness.error_lines(), testing::SizeIs(1));
    EXPECT_THAT(harness.error(), HasSubstr(breakage.says));
}

INSTANTIATE_TEST_SUITE_P(Kinds, VerifyBadInput, testing::ValuesIn(breakages()),
                         [](const auto& parameter) { return parameter.param.name; });

TEST(Verify, AViewNamedLikeAWorldSizeIsThatWorldSize) {
    const std::string source = (fixtures / "stage1_bf16_ws3").string();
    Harness harness;
    EXPECT_EQ(harness.run({"verify", source, "--view=world-size-2"}), 0) << harness.error();
    EXPECT_THAT(harness.out(), HasSubstr("shown right at world size 2"));
    EXPECT_EQ(harness.run({"verify", source, "--view=weight"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("there is no view 'weight'"));
    EXPECT_EQ(harness.run({"verify", source, "--view=weights", "--world-size=2"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("give it without --world-size"));
}

TEST(Verify, LibtorchReadingOtherBytesIsFound) {
    Harness harness;
    harness.read_with_torch = [](const File& file, const TorchModule::ChunkVisitor& visit) {
        return read_records(file, [&](std::string_view name, std::uint64_t offset, std::uint64_t nbytes,
                                      std::span<const std::byte> bytes) {
            std::vector<std::byte> other(bytes.begin(), bytes.end());
            if (name == "byteorder") {
                other.front() ^= std::byte{1};
            }
            return visit(name, offset, nbytes, other);
        });
    };
    EXPECT_EQ(harness.run({"verify", (fixtures / "stage1_bf16_ws3").string(), "--world-size=2"}), 1);
    EXPECT_THAT(harness.error(), HasSubstr("libtorch reads other bytes of record"));
}

}  // namespace
}  // namespace ckptfs::cli::test
