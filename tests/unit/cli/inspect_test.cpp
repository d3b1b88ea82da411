// ckptfs inspect over real checkpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "broken_source.h"
#include "harness.h"
#include "support/edited_tag.h"
#include "support/tally_source.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

TEST(Inspect, SaysWhatACheckpointIs) {
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", (fixtures / "stage2_bf16_ws4").string()}), 0) << harness.error();
    EXPECT_EQ(harness.error(), "");
    for (const char* part : {"4 data-parallel ranks", "stage 2 (ZeRO-1/2)", "bfloat16", "master float32",
                             "exp_avg float32", "weight_decay 0.05", "latest  whole", "none found"}) {
        EXPECT_THAT(harness.out(), HasSubstr(part));
    }
    const std::string text = harness.out();
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 24) << "more than a screen";
}

TEST(Inspect, SaysOfEveryTagWhichViewsItHas) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "broken", fs::copy_options::recursive);
    fs::remove(source / "broken" / rank_1);
    ASSERT_EQ(harness.run({"inspect", "--json", source.string()}), 0) << harness.error();
    const json result = json::parse(harness.out());
    std::map<std::string, json> world_size;
    for (const json& tag : result["tags"]) {
        for (const json& view : tag["views"]) {
            world_size.emplace(tag["name"].get<std::string>() + " as " + view["name"].get<std::string>(),
                               view["problem"]);
        }
    }
    EXPECT_TRUE(world_size.at(tag_name(source) + " as world-size-3").is_null());
    EXPECT_TRUE(world_size.contains(tag_name(source) + " as weights"));
    EXPECT_TRUE(world_size.at("broken as states").is_string());
    ASSERT_EQ(harness.run({"inspect", source.string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("\nviews\n  " + tag_name(source) + "  world-size-N (any N; saved at 3), "));
}

TEST(Inspect, JsonHoldsTheNumbers) {
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", "--json", "--world-size=3", (fixtures / "stage2_bf16_ws4").string()}), 0);
    const json result = json::parse(harness.out());
    const json& checkpoint = result["checkpoint"];
    EXPECT_EQ(checkpoint["stage"], 2);
    EXPECT_EQ(checkpoint["world_size"], 4);
    EXPECT_EQ(checkpoint["files"], 5);
    ASSERT_EQ(checkpoint["groups"].size(), 3U);
    std::uint64_t numel = 0;
    for (std::size_t index = 0; index < 3; ++index) {
        const json& group = checkpoint["groups"][index];
        numel += group["numel"].get<std::uint64_t>();
        EXPECT_EQ(group["optimizer_states"]["exp_avg_sq"], "float32");
        EXPECT_TRUE(group["hyper_parameters"]["lr"].is_number());
        // The last rank's padding is what the partitions have beyond the elements.
        std::uint64_t padding = 0;
        for (const json& run : group["padding"]) {
            const auto ranks = run["last_rank"].get<std::uint64_t>() - run["first_rank"].get<std::uint64_t>() + 1;
            padding += ranks * run["numel"].get<std::uint64_t>();
        }
        EXPECT_EQ(padding, group["partition_numel"].get<std::uint64_t>() * 4 - group["numel"].get<std::uint64_t>());
    }
    EXPECT_EQ(checkpoint["numel"], numel);
    EXPECT_EQ(result["recut"]["world_size"], 3);
    EXPECT_EQ(result["recut"]["file_count"], 4);
    EXPECT_EQ(result["tags"][0]["latest"], true);
    EXPECT_EQ(result["tags"][0]["whole"], true);
    EXPECT_TRUE(result["problems"].empty());
}

TEST(Inspect, CountsSubGroupsAndPaddingOfStage3) {
    Harness harness;
    const std::string source = (fixtures / "stage3_sub_groups_ws3").string();
    ASSERT_EQ(harness.run({"inspect", "--json", "--world-size=2", source}), 0) << harness.error();
    const json result = json::parse(harness.out());
    const json& checkpoint = result["checkpoint"];
    EXPECT_EQ(checkpoint["format"], "ZeRO-3");
    EXPECT_EQ(checkpoint["files"], 6);
    ASSERT_EQ(checkpoint["groups"].size(), 2U);
    const auto check = [](const json& cut, std::uint64_t numel, std::uint64_t ranks) {
        std::uint64_t padding = 0;
        for (const json& run : cut["padding"]) {
            const auto equal = run["last_rank"].get<std::uint64_t>() - run["first_rank"].get<std::uint64_t>() + 1;
            padding += equal * run["numel"].get<std::uint64_t>();
        }
        const auto partition = cut["partition_numel"].get<std::uint64_t>();
        EXPECT_EQ(padding, partition * ranks - numel);
        std::uint64_t sub_groups = 0;
        for (const json& sub_group : cut["sub_groups_numel"]) {
            sub_groups += sub_group.get<std::uint64_t>();
        }
        EXPECT_EQ(sub_groups, partition);
    };
    std::vector<std::size_t> before;
    std::vector<std::size_t> after;
    for (std::size_t index = 0; index < 2; ++index) {
        const json& group = checkpoint["groups"][index];
        const json& cut = result["recut"]["groups"][index];
        EXPECT_EQ(group["weights_dtype"], "bfloat16");
        check(group, group["numel"], 3);
        check(cut, group["numel"], 2);
        before.push_back(group["sub_groups_numel"].size());
        after.push_back(cut["sub_groups_numel"].size());
    }
    EXPECT_THAT(before, testing::ElementsAre(3, 1));
    EXPECT_THAT(after, testing::ElementsAre(3, 2));
    EXPECT_EQ(result["recut"]["file_count"], 4);
}

/// The bytes of a tensor's runs, as --params names them.
std::string bytes_of_runs(const fs::path& tag, const json& tensor) {
    std::string bytes;
    for (const json& run : tensor["runs"]) {
        if (run["file"].is_null()) {
            bytes.append(run["nbytes"].get<std::size_t>(), '\0');
        } else {
            const std::string file = ckptfs::test::file_bytes((tag / run["file"].get<std::string>()).string());
            bytes += file.substr(run["offset"], run["nbytes"]);
        }
    }
    return bytes;
}

TEST(Inspect, ParametersAreNamedWithThePlacesOfTheirBytes) {
    Harness harness;
    const auto parameters = [&](const std::string& fixture) {
        EXPECT_EQ(harness.run({"inspect", "--json", "--params", (fixtures / fixture).string()}), 0) << harness.error();
        std::map<std::string, json> result;
        const json description = json::parse(harness.out());
        for (const json& parameter : description["parameters"]) {
            result.emplace(parameter["name"], parameter);
        }
        return result;
    };
    const auto at_four = parameters("stage2_bf16_ws4");
    const auto at_three = parameters("stage2_bf16_ws4_at_ws3");
    ASSERT_EQ(at_four.size(), 12U) << "ten parameters, two buffers";
    for (const auto& [name, parameter] : at_four) {
        SCOPED_TRACE(name);
        const json& other = at_three.at(name);
        EXPECT_EQ(parameter["shape"], other["shape"]);
        ASSERT_EQ(parameter["tensors"].size(), other["tensors"].size());
        for (std::size_t index = 0; index < parameter["tensors"].size(); ++index) {
            const json& tensor = parameter["tensors"][index];
            const std::string bytes = bytes_of_runs(fixtures / "stage2_bf16_ws4/global_step2", tensor);
            EXPECT_EQ(bytes.size(), tensor["nbytes"]);
            EXPECT_EQ(bytes, bytes_of_runs(fixtures / "stage2_bf16_ws4_at_ws3/global_step2", other["tensors"][index]))
                << tensor["kind"];
        }
    }
    EXPECT_EQ(at_four.at("embedding.weight")["tied_names"], json({"head.weight"}));
    EXPECT_EQ(at_four.at("embedding.weight")["role"], "trained");
    EXPECT_EQ(parameters("frozen_tied_ws2").at("frozen.weight")["role"], "frozen");
    ASSERT_EQ(harness.run({"inspect", "--params", (fixtures / "stage2_bf16_ws4").string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("\nparameters\n"));
    EXPECT_THAT(harness.out(), HasSubstr("  embedding.weight  [11, 7] bfloat16, trained, group 1, also head.weight\n"));
    EXPECT_THAT(harness.out(), HasSubstr("exp_avg_sq  float32   bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt at "));
}

TEST(Inspect, RecutNamesTheRanksThatBytesComeFrom) {
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", "--world-size=1", (fixtures / "stage2_bf16_ws4").string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("re-cut from 4 ranks to 1"));
    EXPECT_THAT(harness.out(), testing::ContainsRegex("rank 0 \\(.*rank 1 \\(.*rank 2 \\(.*rank 3 \\("));
    ASSERT_EQ(harness.run({"inspect", "--world-size=4", (fixtures / "stage2_bf16_ws4").string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("the source's file as it is"));
}

TEST(Inspect, RecutIsDrawnAsWideAsTheTerminal) {
    const auto bar = [](std::size_t columns) {
        Harness harness;
        harness.columns = columns;
        EXPECT_EQ(harness.run({"inspect", "--world-size=3", (fixtures / "stage2_bf16_ws4").string()}), 0);
        const std::string text = harness.out();
        const std::size_t begin = text.rfind('\n', text.find("│█")) + 1;
        return text.substr(begin, text.find('\n', begin) - begin);
    };
    EXPECT_THAT(bar(80), testing::StartsWith("  4 x "));
    EXPECT_GT(bar(120).size(), bar(80).size());
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", (fixtures / "stage2_bf16_ws4").string()}), 0);
    EXPECT_THAT(harness.out(), testing::Not(HasSubstr("│"))) << "nothing is cut without a world size";
}

TEST(Inspect, DrawingsAreWritten) {
    Harness harness;
    const std::string page = (harness.directory() / "page.html").string();
    const std::string svg = (harness.directory() / "picture.svg").string();
    const std::string source = (fixtures / "stage3_sub_groups_ws3").string();
    ASSERT_EQ(harness.run({"inspect", "--json", "--world-size=2", "--html", page, "--svg=" + svg, source}), 0)
        << harness.error();
    EXPECT_TRUE(json::parse(harness.out()).is_object());
    EXPECT_THAT(ckptfs::test::file_bytes(page), testing::StartsWith("<!DOCTYPE html>"));
    EXPECT_THAT(ckptfs::test::file_bytes(svg), testing::StartsWith("<svg "));
    EXPECT_EQ(harness.run({"inspect", "--html", page, source}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("needs --world-size=N"));
    EXPECT_EQ(harness.run({"inspect", "--world-size=2", "--html", page + "/absent/page", source}), 7);
    EXPECT_EQ(harness.run({"inspect", "--world-size=2", "--svg", "", source}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("--html or --svg is empty"));
}

TEST(Inspect, EveryFixtureIsDrawn) {
    Harness harness;
    for (const fs::path& source : whole_fixtures()) {
        SCOPED_TRACE(source.string());
        const std::string page = (harness.directory() / "page.html").string();
        ASSERT_EQ(harness.run({"inspect", "--dp-size=3", "--html", page, source.string()}), 0) << harness.error();
        fs::remove(page);
    }
}

TEST(Inspect, ModelParallelFamiliesAreShownWithTheirDegrees) {
    Harness harness;
    const std::string source = (fixtures / "tensor_parallel_stage2_ws4").string();
    ASSERT_EQ(harness.run({"inspect", "--world-size=6", source}), 0) << harness.error();
    for (const char* part : {"4 ranks (2 data-parallel times 2 model-parallel)", "mp_rank_01 0", "from 4 ranks to 6"}) {
        EXPECT_THAT(harness.out(), HasSubstr(part));
    }
    ASSERT_EQ(harness.run({"inspect", "--json", "--dp-size=3", source}), 0) << harness.error();
    const json result = json::parse(harness.out());
    EXPECT_EQ(result["checkpoint"]["world_size"], 4);
    EXPECT_EQ(result["checkpoint"]["dp_world_size"], 2);
    EXPECT_EQ(result["checkpoint"]["model_parallel_degree"], 2);
    EXPECT_EQ(result["recut"]["world_size"], 6);
    EXPECT_EQ(result["recut"]["file_count"], 8);
    EXPECT_THAT(result["tags"][0]["views"][0]["name"], "world-size-4");
    ASSERT_EQ(harness.run({"inspect", "--dp-size=3", source}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("  world-size-N (any multiple of 2; saved at 4)\n"));
    EXPECT_EQ(harness.run({"inspect", "--world-size=3", source}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("3 does not fit"));
}

TEST(Inspect, AWorldSizeThatTakesAnOptionIsNotPromised) {
    Harness harness;
    ckptfs::test::EditedTag tag("stage1_bf16_ws3");
    float number = 0;
    for (const std::string& name : tag.names("optim_states")) {
        number += 0.25F;
        tag.add_real(name, {"optimizer_state_dict", "base_optimizer_state", "param_groups", std::int64_t{0}}, "d",
                     number);
    }
    const std::string source = (harness.directory() / "prodigy").string();
    tag.write_to(source + "/global_step2");
    ASSERT_EQ(harness.run({"inspect", source}), 0) << harness.error();
    EXPECT_THAT(harness.out(),
                AllOf(HasSubstr("  world-size-3, weights"), HasSubstr("not world-size-1, world-size-4: ")));
    ASSERT_EQ(harness.run({"inspect", "--rank-values-of=0", source}), 0) << harness.error();
    EXPECT_THAT(harness.out(), HasSubstr("  world-size-N (any N; saved at 3), weights"));
}

TEST(Inspect, FrozenTiedAndBuffersAreCounted) {
    Harness harness;
    ASSERT_EQ(harness.run({"inspect", "--json", (fixtures / "frozen_tied_ws2").string()}), 0);
    const json checkpoint = json::parse(harness.out())["checkpoint"];
    EXPECT_GT(checkpoint["frozen_parameters"], 0);
    EXPECT_GT(checkpoint["tied_names"], 0);
}

TEST(Inspect, LeftOverFilesAreNamed) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    const std::string left_over = "bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt";
    fs::copy_file(source / tag_name(source) / rank_1, source / tag_name(source) / left_over);
    ASSERT_EQ(harness.run({"inspect", source.string()}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("left over by an older, larger run (" + left_over + ")"));
}

TEST(Inspect, ARunDirectoryListsItsCheckpointsAndTheNewestWholeOne) {
    Harness harness;
    const fs::path root = harness.directory() / "run";
    fs::create_directories(root / "metrics/epoch=1-val/loss=0.3.ckpt");
    fs::create_directories(root / "checkpoint-4");
    const fs::path older = fixtures / "stage1_bf16_ws3";
    const fs::path newer = fixtures / "stage2_bf16_ws4";
    fs::copy(older / tag_name(older), root / "checkpoint-4/global_step4", fs::copy_options::recursive);
    fs::copy(newer / tag_name(newer), root / "metrics/epoch=1-val/loss=0.3.ckpt/checkpoint",
             fs::copy_options::recursive);
    fs::copy(newer / tag_name(newer), root / "broken", fs::copy_options::recursive);
    fs::remove(root / "broken" / model_states);
    ASSERT_EQ(harness.run({"inspect", "--json", root.string()}), 0) << harness.error();
    std::map<std::string, json> tags;
    const json result = json::parse(harness.out());
    for (const json& tag : result["tags"]) {
        tags[tag["name"]] = tag;
    }
    ASSERT_EQ(tags.size(), 3U) << harness.out();
    EXPECT_EQ(tags["broken"]["whole"], false);
    EXPECT_EQ(tags["broken"]["newest"], false);
    EXPECT_TRUE(tags["broken"]["global_step"].is_null());
    EXPECT_EQ(tags["checkpoint-4/global_step4"]["whole"], true);
    EXPECT_EQ(tags["metrics/epoch=1-val/loss=0.3.ckpt/checkpoint"]["whole"], true);
    EXPECT_TRUE(tags["checkpoint-4/global_step4"]["global_step"].is_number());
    EXPECT_GT(tags["checkpoint-4/global_step4"]["mtime_ns"], 0);
    int newest = 0;
    for (const auto& [name, tag] : tags) {
        newest += tag["newest"].get<bool>() ? 1 : 0;
    }
    EXPECT_EQ(newest, 1);
    ASSERT_EQ(harness.run({"inspect", root.string()}), 0);
    EXPECT_THAT(harness.out(), testing::ContainsRegex("ckpt/checkpoint +whole, 4 ranks +step [0-9]+"));
    EXPECT_THAT(harness.out(), HasSubstr("newest whole"));
}

TEST(Inspect, OfEqualStepsTheNewestFilesCount) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "again", fs::copy_options::recursive);
    const auto newest = [&] {
        EXPECT_EQ(harness.run({"inspect", "--json", source.string()}), 0);
        const json result = json::parse(harness.out());
        for (const json& tag : result["tags"]) {
            if (tag["newest"].get<bool>()) {
                return tag["name"].get<std::string>();
            }
        }
        return std::string();
    };
    const auto touch = [&](const fs::path& tag, int hours) {
        fs::last_write_time(source / tag / rank_1, fs::file_time_type::clock::now() + std::chrono::hours(hours));
    };
    touch("again", 1);
    EXPECT_EQ(newest(), "again");
    touch(tag_name(source), 2);
    EXPECT_EQ(newest(), tag_name(source));
}

TEST(Inspect, EveryFixtureIsDescribed) {
    int described = 0;
    for (const fs::path& source : whole_fixtures()) {
        Harness harness;
        EXPECT_EQ(harness.run({"inspect", "--json", "--dp-size=5", source.string()}), 0)
            << source << ": " << harness.error();
        EXPECT_TRUE(json::accept(harness.out())) << source;
        EXPECT_EQ(harness.run({"inspect", "--dp-size=5", source.string()}), 0) << source;
        ++described;
    }
    EXPECT_GT(described, 15);
}

TEST(Inspect, BrokenTagsAreListedBesideWholeOnes) {
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    fs::copy(source / tag_name(source), source / "other", fs::copy_options::recursive);
    fs::remove(source / tag_name(source) / rank_1);
    ASSERT_EQ(harness.run({"inspect", "--json", source.string()}), 0);
    const json result = json::parse(harness.out());
    EXPECT_EQ(result["checkpoint"]["tag"], "other");
    EXPECT_EQ(result["tags"][0]["whole"], false);
    EXPECT_THAT(result["tags"][0]["problem"].get<std::string>(), HasSubstr("rank 1 is missing"));
    EXPECT_EQ(result["tags"][1]["whole"], true);
}

/// What inspect reads of a source.
struct Looked {
    std::map<std::string, int> opens;  ///< by file of the tag
    std::uint64_t nbytes = 0;
    int exit_code = 0;
    nlohmann::json json;  ///< where that is asked for
};

Looked look(const fs::path& source, const std::vector<std::string>& options) {
    Harness harness;
    std::shared_ptr<ckptfs::test::TallySource> tallies;
    harness.open_source = [&](const std::string& path) -> Result<std::shared_ptr<const Source>> {
        CKPTFS_ASSIGN(auto opened, ckptfs::open_directory(path));
        tallies = std::make_shared<ckptfs::test::TallySource>(std::move(opened));
        return std::shared_ptr<const Source>(tallies);
    };
    std::vector<std::string> arguments{"inspect", source.string()};
    for (const std::string& option : options) {
        arguments.push_back(option.ends_with('=') ? option + (harness.directory() / "drawing").string() : option);
    }
    Looked looked;
    looked.exit_code = harness.run(arguments);
    const std::string tag = tag_name(source);
    for (const auto& entry : fs::directory_iterator(source / tag)) {
        const std::string name = entry.path().filename().string();
        looked.opens[name] = tallies->opens(tag + "/" + name);
    }
    looked.nbytes = tallies->nbytes();
    if (options == std::vector<std::string>{"--json"} && !harness.out().empty()) {
        looked.json = nlohmann::json::parse(harness.out());
    }
    return looked;
}

TEST(Inspect, WhateverIsShownEachFileIsReadOnce) {
    for (const char* fixture : {"stage1_bf16_ws3", "stage2_fp32_ws2", "pipeline_stage1_ws4"}) {
        const std::uint64_t plain = look(fixtures / fixture, {}).nbytes;
        EXPECT_GT(plain, 0U);
        for (const std::vector<std::string>& options :
             std::vector<std::vector<std::string>>{{},
                                                   {"--json"},
                                                   {"--params"},
                                                   {"--json", "--params"},
                                                   {"--view=weights"},
                                                   {"--dp-size=5"},
                                                   {"--dp-size=5", "--html="},
                                                   {"--dp-size=5", "--svg="}}) {
            const Looked looked = look(fixtures / fixture, options);
            EXPECT_EQ(looked.exit_code, 0);
            EXPECT_EQ(looked.nbytes, plain) << fixture << " " << testing::PrintToString(options);
            for (const auto& [name, opens] : looked.opens) {
                EXPECT_EQ(opens, 1) << fixture << " " << name << " " << testing::PrintToString(options);
            }
        }
    }
}

TEST(Inspect, OfABrokenTagToo) {
    int with_weights = 0;
    for (const Breakage& breakage : breakages()) {
        Harness harness;
        const fs::path source = harness.copy("stage1_bf16_ws3");
        breakage.apply(source / tag_name(source));
        if (!fs::exists(source / "latest") || !fs::is_directory(source / tag_name(source))) {
            continue;
        }
        const Looked looked = look(source, {"--json"});
        for (const auto& [name, opens] : looked.opens) {
            EXPECT_LE(opens, 1) << breakage.name << " " << name;
        }
        for (const auto& view : looked.json.is_object() ? looked.json["tags"][0]["views"] : nlohmann::json::array()) {
            with_weights += view["name"] == "weights" && view["problem"].is_null() ? 1 : 0;
        }
    }
    EXPECT_GE(with_weights, 2) << "their views need no optimizer files";
}

TEST(Inspect, AUniversalCheckpointIsNamedAsOne) {
    Harness harness;
    EXPECT_EQ(harness.run({"inspect", (fixtures / "universal").string()}), 3);
    EXPECT_THAT(harness.error(), HasSubstr("universal checkpoint"));
}

class InspectBadInput : public testing::TestWithParam<Breakage> {};

TEST_P(InspectBadInput, HasTheExitCodeOfTheMount) {
    const Breakage& breakage = GetParam();
    Harness harness;
    const fs::path source = harness.copy("stage1_bf16_ws3");
    breakage.apply(source / tag_name(source));
    EXPECT_EQ(harness.run({"inspect", source.string()}), breakage.exit_code);
    ASSERT_THAT(harness.error_lines(), testing::SizeIs(1));
    EXPECT_THAT(harness.error(), HasSubstr(breakage.says));
}

INSTANTIATE_TEST_SUITE_P(Kinds, InspectBadInput, testing::ValuesIn(breakages()),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace ckptfs::cli::test
