// The page and the SVG hold what the picture says, and names are text in both.
#include "report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/page_files.h"
#include "report/picture_svg.h"
#include "report/picture_words.h"

namespace ckptfs::report {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

const std::string hostile = "</script><!--<script>\"'&]]>\xff\xe2\x80\xae<b>";

/// One group of `parameters` parameters, dealt as stages 1 and 2 do.
Picture picture_of(std::size_t parameters, std::uint64_t ranks_before, std::uint64_t ranks_after,
                   const std::string& name) {
    constexpr std::uint64_t numel = 6;
    DrawnGroup group;
    group.model_rank = "00";
    group.numel = numel * parameters;
    for (Partitions* side : {&group.before, &group.after}) {
        side->ranks = side == &group.before ? ranks_before : ranks_after;
        side->partition_numel = (group.numel + 2 * side->ranks - 1) / (2 * side->ranks) * 2;
        side->states.push_back({.key = "fp32",
                                .dtype = "float32",
                                .itemsize = 4,
                                .offsets = {std::vector<std::optional<std::uint64_t>>(side->ranks, 64)}});
    }
    for (std::size_t index = 0; index < parameters; ++index) {
        group.parameters.push_back({name + std::to_string(index), {2, 3}, numel});
        group.before.dealt.push_back({index * numel, group.before.partition_numel, 0});
        group.after.dealt.push_back({index * numel, group.after.partition_numel, 0});
    }
    Picture picture;
    picture.world_size_before = ranks_before;
    picture.world_size_after = ranks_after;
    picture.groups.push_back(std::move(group));
    for (std::uint64_t rank = 0; rank < ranks_before; ++rank) {
        const std::string file = "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_optim_states.pt";
        picture.files_before.push_back({{.name = file, .nbytes = 100, .original = true, .parts = {}}, "00", rank});
    }
    picture.files_after.push_back(
        {{.name = name, .nbytes = 7, .original = false, .parts = {{picture.files_before[0].file.name, 0, 5}}},
         "00",
         std::nullopt});
    return picture;
}

Description description_of(const Picture& picture, const std::string& name) {
    Description description;
    description.source = name;
    description.described_tag = name;
    description.checkpoint.emplace();
    description.checkpoint->deepspeed_version = name;
    for (const DrawnGroup& group : picture.groups) {
        GroupDescription of;
        of.parameters = group.parameters.size();
        of.states.push_back({name, "float32"});
        of.master_dtype = "float32";
        description.checkpoint->groups.push_back(std::move(of));
    }
    return description;
}

TEST(Page, HoldsTheRuleOfTheCut) {
    const Picture picture = picture_of(10, 4, 3, "layer.");
    const json data = json::parse(page_data(description_of(picture, "tag"), picture));
    const json& group = data["groups"][0];
    EXPECT_EQ(group["names"][9], "layer.9");
    EXPECT_EQ(group["shapes"][0], json::array({2, 3}));
    EXPECT_EQ(group["numels"], json::parse("[[6, 10]]"));
    EXPECT_EQ(group["before"]["first"][9], 54);
    EXPECT_TRUE(group["before"]["share"].is_null()) << "all parameters share what the partition is";
    EXPECT_EQ(group["before"]["states"][0]["offsets"], json::parse("[[[64, 4]]]"));
    const json& files = data["files"]["before"];
    ASSERT_EQ(files.size(), 1U) << "names that count up are one block";
    EXPECT_EQ(files[0]["prefix"], "zero_pp_rank_");
    EXPECT_EQ(files[0]["nbytes"], json::parse("[[100, 4]]"));
    EXPECT_EQ(data["files"]["after"][0]["parts"], json::parse("[[[0, 5]]]"));
}

TEST(Page, IsWholeAndAsksForNothing) {
    const Picture picture = picture_of(10, 4, 3, "layer.");
    const std::string page = as_page(description_of(picture, "tag"), picture);
    EXPECT_THAT(page, testing::StartsWith("<!DOCTYPE html>"));
    EXPECT_THAT(page, testing::EndsWith("</html>\n"));
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
    EXPECT_THAT(page, Not(HasSubstr("{{")));
    for (const char* address : {"src=", "href=", "url(http", "@import", "fetch("}) {
        EXPECT_THAT(page, Not(HasSubstr(address)));
    }
}

TEST(Page, NamesAreText) {
    const Picture picture = picture_of(3, 2, 1, hostile);
    const std::string page = as_page(description_of(picture, hostile), picture);
    // The page's own two scripts and no other; nothing of the name as it was.
    std::size_t scripts = 0;
    for (std::size_t at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1)) {
        ++scripts;
    }
    EXPECT_EQ(scripts, 2U);
    for (const char* part : {"<!--", "<b>", "\xff", "\xe2\x80\xae"}) {
        EXPECT_THAT(page, Not(HasSubstr(part)));
    }
    EXPECT_THAT(page, HasSubstr("\\u003c/script\\u003e"));
    const std::string svg = as_svg(description_of(picture, hostile), picture);
    for (const char* part : {"<script", "<!--", "<b>", "]]>", "\xff", "\xe2\x80\xae"}) {
        EXPECT_THAT(svg, Not(HasSubstr(part)));
    }
    EXPECT_THAT(svg, HasSubstr("&lt;/script&gt;"));
}

TEST(Page, StaysSmallWhereRanksAndParametersAreMany) {
    const Picture picture = picture_of(1000, 1024, 512, "model.layers.attention.weight.");
    const Description description = description_of(picture, "tag");
    EXPECT_LT(as_page(description, picture).size(), 200'000U);
    EXPECT_LT(as_svg(description, picture).size(), 400'000U);
}

TEST(Page, SaysWhatItLeavesOut) {
    const Picture picture = picture_of(max_named_parameters + 1, 2, 3, "p");
    const json data = json::parse(page_data(description_of(picture, "tag"), picture));
    EXPECT_EQ(data["groups"][0]["names"].size(), max_named_parameters);
    EXPECT_THAT(data["notes"].dump(), HasSubstr("Of 20,001 parameters the first 20,000 are named here"));
}

TEST(Page, ColoursOfRanksDiffer) {
    for (const std::uint64_t ranks : std::initializer_list<std::uint64_t>{1, 2, 3, 8, 9, 64}) {
        for (std::uint64_t rank = 0; rank < ranks; ++rank) {
            const std::string colour = rank_colour(rank, ranks);
            EXPECT_THAT(colour, testing::MatchesRegex("#[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]"));
            EXPECT_TRUE(rank == 0 || colour != rank_colour(rank - 1, ranks));
        }
    }
}

}  // namespace
}  // namespace ckptfs::report
