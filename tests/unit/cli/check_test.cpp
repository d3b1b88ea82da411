// ckptfs check: every disagreement that it promises to name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness.h"
#include "io/unique_fd.h"
#include "support/edited_tag.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Check : public testing::Test {
 protected:
    /// Of the last run, as JSON; the exit status is in `status_`.
    json check(const std::string& fixture, const json& config, const std::string& size = "--world-size=2") {
        const std::string file = std::string(temporary_.path()) + "/config.json";
        std::ofstream(file) << config;
        const std::string source = (fixtures / fixture).string();
        status_ = harness_.run({"check", source, size, "--ds-config", file, "--json"});
        return json::parse(harness_.out(), nullptr, false);
    }

    static std::vector<std::string> subjects(const json& result, const std::string& kind) {
        std::vector<std::string> found;
        for (const json& finding : result["findings"]) {
            if (finding["kind"] == kind) {
                found.push_back(finding["subject"]);
            }
        }
        return found;
    }

    static json bf16(int stage) {
        return {{"train_micro_batch_size_per_gpu", 2},
                {"bf16", {{"enabled", true}}},
                {"zero_optimization", {{"stage", stage}}}};
    }

    ckptfs::test::TemporaryDirectory temporary_;
    Harness harness_;
    int status_ = -1;
};

TEST_F(Check, AgreesWithTheConfigThatSaved) {
    const json result = check("stage2_bf16_ws4", bf16(2));
    EXPECT_EQ(status_, 0) << harness_.error();
    EXPECT_EQ(result["agrees"], true);
    EXPECT_THAT(subjects(result, "conflict"), IsEmpty());
    EXPECT_THAT(subjects(result, "mount"), IsEmpty());
    EXPECT_THAT(subjects(result, "script"), testing::Contains("parameter groups"));
}

TEST_F(Check, AnotherStage) {
    const json result = check("stage2_bf16_ws4", bf16(3));
    EXPECT_EQ(status_, 1);
    EXPECT_EQ(result["agrees"], false);
    EXPECT_THAT(subjects(result, "conflict"), testing::Contains("zero_optimization.stage"));
    EXPECT_THAT(harness_.error(), HasSubstr("the checkpoint is of stage 2, the config says 3"));
    EXPECT_EQ((check("stage2_bf16_ws4", bf16(1)), status_), 0) << "DeepSpeed loads stages 1 and 2 into each other";
}

TEST_F(Check, AnotherDtype) {
    json config = bf16(2);
    config["bf16"]["enabled"] = false;
    EXPECT_THAT(subjects(check("stage2_bf16_ws4", config), "conflict"), testing::Contains("dtype"));
    config["bf16"]["enabled"] = "auto";
    const json left_open = check("stage2_bf16_ws4", config);
    EXPECT_EQ(status_, 0);
    EXPECT_THAT(subjects(left_open, "script"), testing::Contains("dtype"));
}

TEST_F(Check, TheOtherOptimizerOfStage1) {
    json config = bf16(1);
    const auto word = [&](const char* fixture) { return check(fixture, config); };
    EXPECT_THAT(subjects(word("bf16_optimizer_ws3"), "note"), testing::Contains("data_types.grad_accum_dtype"));
    EXPECT_EQ(status_, 0) << "DeepSpeed loads either into the other";
    for (const char* fp32 : {"float32", "float", "torch.float32", "fp32"}) {
        config["data_types"]["grad_accum_dtype"] = fp32;
        EXPECT_THAT(subjects(word("bf16_optimizer_ws3"), "note"), Not(testing::Contains("data_types.grad_accum_dtype")))
            << fp32;
    }
    for (const char* fixture : {"stage1_bf16_ws3", "stage2_bf16_ws4"}) {
        EXPECT_THAT(subjects(word(fixture), "note"), testing::Contains("data_types.grad_accum_dtype"));
        EXPECT_EQ(status_, 0) << fixture;
    }
    EXPECT_THAT(subjects(word("elastic_ws3"), "conflict"), testing::Contains("data_types.grad_accum_dtype"));
    config["zero_optimization"]["offload_optimizer"]["device"] = "cpu";
    EXPECT_THAT(subjects(word("elastic_ws3"), "conflict"), IsEmpty()) << "with offload it is the ZeRO-1/2 optimizer";
}

TEST_F(Check, WorldSizeCountsTheRanksOfASequence) {
    const json result = check("sequence_mesh_ws4", bf16(2), "--world-size=6");
    EXPECT_EQ(result["dp_world_size"], 3) << harness_.error();
    EXPECT_EQ(result["world_size"], 6);
    EXPECT_EQ(check("sequence_mesh_ws4", bf16(2), "--dp-size=3")["world_size"], 6);
    check("sequence_mesh_ws4", bf16(2), "--world-size=3");
    EXPECT_EQ(status_, 2);
    EXPECT_THAT(harness_.error(), HasSubstr("3 does not fit a checkpoint of 2 model- and sequence-parallel ranks"));
    const std::string source = (fixtures / "sequence_mesh_ws4").string();
    EXPECT_EQ(harness_.run({"inspect", source, "--world-size=6"}), 0);
    EXPECT_THAT(harness_.out(), testing::AllOf(HasSubstr("4 ranks (2 data-parallel times 2 sequence-parallel)"),
                                               HasSubstr("re-cut from 4 ranks to 6")));
    EXPECT_EQ(harness_.run({"verify", source, "--world-size=6"}), 0) << harness_.error();
}

TEST_F(Check, Bf16OptimizerKnowsNoOrderOfElements) {
    json config = bf16(1);
    for (const char* key : {"round_robin_gradients", "parameter_alignment"}) {
        config["zero_optimization"] = {{"stage", 1}, {key, true}};
        EXPECT_THAT(subjects(check("bf16_optimizer_ws3", config), "conflict"),
                    testing::ElementsAre(std::string("zero_optimization.") + key));
        const std::string file = std::string(temporary_.path()) + "/config.json";
        const std::string source = (fixtures / "bf16_optimizer_ws3").string();
        EXPECT_EQ(harness_.run({"verify", source, "--world-size=2", "--ds-config", file}), 2) << harness_.out();
        EXPECT_THAT(harness_.error(), HasSubstr("BF16_Optimizer, whose files know no such order"));
    }
    // The engine that loads is a BF16_Optimizer: it leaves both settings aside, and so does the view.
    config["data_types"]["grad_accum_dtype"] = "fp32";
    EXPECT_THAT(subjects(check("bf16_optimizer_ws3", config), "conflict"), IsEmpty());
    EXPECT_THAT(subjects(check("stage1_bf16_ws3", config), "mount"), IsEmpty());
}

TEST_F(Check, SettingsOfTheLoadItself) {
    json config = bf16(2);
    config["zero_optimization"]["load_from_fp32_weights"] = false;
    EXPECT_THAT(subjects(check("stage2_bf16_ws4", config), "conflict"),
                testing::ElementsAre("zero_optimization.load_from_fp32_weights"));
    config["zero_optimization"]["load_from_fp32_weights"] = "auto";
    EXPECT_THAT(subjects(check("stage2_bf16_ws4", config), "conflict"), IsEmpty());
    config["zero_optimization"]["pipeline_loading_checkpoint"] = true;
    EXPECT_THAT(subjects(check("stage2_bf16_ws4", config), "conflict"),
                testing::ElementsAre("zero_optimization.pipeline_loading_checkpoint"));
    config = bf16(3);
    config["zero_optimization"]["load_from_fp32_weights"] = false;
    config["zero_optimization"]["pipeline_loading_checkpoint"] = true;
    EXPECT_THAT(subjects(check("stage3_bf16_ws3", config), "conflict"), IsEmpty())
        << "stage 3 takes the masters anyway";
    config["checkpoint"]["load_universal"] = true;
    EXPECT_THAT(subjects(check("stage3_bf16_ws3", config), "conflict"),
                testing::ElementsAre("checkpoint.load_universal"));
}

TEST_F(Check, LayoutSettingsThatTheMountMustKnow) {
    json config = bf16(2);
    config["zero_optimization"]["round_robin_gradients"] = true;
    config["zero_optimization"]["parameter_alignment"] = true;
    const json result = check("stage2_bf16_ws4", config);
    EXPECT_EQ(status_, 0);
    EXPECT_THAT(subjects(result, "mount"), testing::ElementsAre("zero_optimization.round_robin_gradients",
                                                                "zero_optimization.parameter_alignment"));
    EXPECT_THAT(subjects(check("stage3_sub_groups_ws3", bf16(3)), "mount"),
                testing::ElementsAre("zero_optimization.sub_group_size"));
}

TEST_F(Check, WhereNoConfigIsStored) {
    const auto without_config = [this](const std::string& fixture) {
        ckptfs::test::EditedTag tag(fixture);
        for (const std::string& name : tag.names("states.pt")) {
            tag.set(name, {"ds_config"}, [](pickle::Editor& pickle) { return pickle.string("/job/ds_config.json"); });
        }
        const fs::path source = fs::path(temporary_.path()) / fixture;
        tag.write_to(source / "global_step2");
        return source.string();
    };
    const std::string one_sub_group = without_config("stage3_fp16_ws2");
    json config = bf16(3);
    config.erase("bf16");
    config["fp16"]["enabled"] = true;
    // Of fewer ranks any size may be meant, of more all that show themselves cut alike.
    EXPECT_THAT(subjects(check(one_sub_group, config, "--world-size=1"), "mount"),
                testing::ElementsAre("zero_optimization.sub_group_size"));
    const json more = check(one_sub_group, config, "--world-size=3");
    EXPECT_THAT(subjects(more, "mount"), IsEmpty());
    EXPECT_THAT(subjects(more, "conflict"), IsEmpty()) << "the weights tell the dtype";
    EXPECT_THAT(subjects(check(without_config("stage3_sub_groups_ws3"), bf16(3), "--world-size=2"), "mount"),
                testing::ElementsAre("zero_optimization.sub_group_size"));
    EXPECT_THAT(subjects(check(without_config("stage2_bf16_ws4"), bf16(2), "--world-size=3"), "mount"), IsEmpty());
    const int mounted = harness_.run({"inspect", one_sub_group, "--world-size=1"});
    EXPECT_EQ(mounted, 2);
    EXPECT_THAT(harness_.error(), HasSubstr("--sub-group-size"));
}

TEST_F(Check, Offload) {
    json config = bf16(2);
    config["zero_optimization"]["offload_optimizer"]["device"] = "cpu";
    EXPECT_THAT(subjects(check("stage2_bf16_ws4", config), "note"),
                testing::Contains("zero_optimization.offload_optimizer.device"));
    EXPECT_THAT(subjects(check("muon_ws3", config), "mount"),
                testing::Contains("zero_optimization.offload_optimizer.device"));
    config["zero_optimization"]["offload_optimizer"]["device"] = "nvme";
    check("stage2_bf16_ws4", config);
    EXPECT_EQ(status_, 1);
    config = bf16(3);
    config["zero_optimization"]["offload_param"]["device"] = "nvme";
    EXPECT_THAT(subjects(check("stage3_bf16_ws3", config), "note"),
                testing::Contains("zero_optimization.offload_param.device"));
    EXPECT_EQ(status_, 0);
}

TEST_F(Check, ModelParallelDegree) {
    json config = bf16(2);
    EXPECT_THAT(subjects(check("tensor_parallel_stage2_ws4", config), "script"),
                testing::Contains("model parallelism"));
    config["tensor_parallel"]["autotp_size"] = 4;
    EXPECT_THAT(subjects(check("tensor_parallel_stage2_ws4", config), "conflict"),
                testing::Contains("tensor_parallel.autotp_size"));
    check("tensor_parallel_stage2_ws4", bf16(2), "--world-size=3");
    EXPECT_EQ(status_, 2);
    EXPECT_THAT(harness_.error(), HasSubstr("3 does not fit"));
}

TEST_F(Check, BatchThatDeepSpeedWouldRefuse) {
    json config = bf16(2);
    config["train_batch_size"] = 9;
    const json result = check("stage2_bf16_ws4", config);
    EXPECT_EQ(status_, 1);
    EXPECT_THAT(subjects(result, "conflict"), testing::Contains("train_batch_size"));
    EXPECT_TRUE(result["config_batch"].is_null());
}

TEST_F(Check, ChoicesKeepTheStoredBatch) {
    const json result = check("stage2_bf16_ws4", bf16(2), "--world-size=6");
    const std::uint64_t train = result["stored_batch"]["train_batch_size"];
    ASSERT_FALSE(result["batches_that_keep_it"].empty());
    for (const json& batch : result["batches_that_keep_it"]) {
        EXPECT_EQ(batch["train_micro_batch_size_per_gpu"].get<std::uint64_t>() *
                      batch["gradient_accumulation_steps"].get<std::uint64_t>() * 6,
                  train);
    }
}

TEST_F(Check, TextIsForPeople) {
    check("stage2_bf16_ws4", bf16(3));
    const std::string file = std::string(temporary_.path()) + "/config.json";
    const std::string source = (fixtures / "stage2_bf16_ws4").string();
    EXPECT_EQ(harness_.run({"check", source, "--world-size=2", "--ds-config", file}), 1);
    EXPECT_THAT(harness_.out(), testing::AllOf(HasSubstr("disagrees\n"), HasSubstr("keeps  840 = micro batch 210 x"),
                                               Not(HasSubstr("OK"))));
}

TEST_F(Check, ConfigIsReadAsDeepSpeedReadsIt) {
    const std::string file = std::string(temporary_.path()) + "/config.json";
    const std::string source = (fixtures / "stage2_bf16_ws4").string();
    std::ofstream(file)
        << "{\n  # Hjson\n  bf16: {enabled: true,},\n  \"zero_optimization\": {stage: 3}, // wrong\n}\n";
    EXPECT_EQ(harness_.run({"check", source, "--world-size=2", "--ds-config", file}), 1);
    EXPECT_THAT(harness_.error(), HasSubstr("the checkpoint is of stage 2, the config says 3"));
    for (const char* command : {"check", "inspect", "verify"}) {
        std::ofstream(file) << "{\n  \"bf16\": {\"enabled\": true},\n  \"bf16\": {\"enabled\": false}\n}\n";
        EXPECT_EQ(harness_.run({command, source, "--world-size=2", "--ds-config", file}), 2);
        EXPECT_THAT(harness_.error(), HasSubstr(file + "', line 3, column 3: the key 'bf16' is there twice"));
    }
}

TEST_F(Check, AConfigMayBeAPipeWhichGivesItsBytesOnce) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const io::UniqueFd from(ends[0]);
    {
        const io::UniqueFd to(ends[1]);
        const std::string text = bf16(2).dump();
        ASSERT_EQ(::write(to.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    const std::string source = (fixtures / "stage2_bf16_ws4").string();
    const std::string pipe = "/dev/fd/" + std::to_string(from.get());
    EXPECT_EQ(harness_.run({"check", source, "--world-size=2", "--ds-config", pipe}), 0) << harness_.error();
}

TEST_F(Check, WhatIsMissingIsNamed) {
    EXPECT_EQ(harness_.run({"check", "/s", "--world-size=2"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("--ds-config is missing"));
    EXPECT_EQ(harness_.run({"check", "/s", "--ds-config=c"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("--world-size is missing"));
    const std::string source = (fixtures / "stage2_bf16_ws4").string();
    EXPECT_EQ(harness_.run({"check", source, "--world-size=2", "--ds-config=/nowhere.json"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("'/nowhere.json' cannot be opened: No such file or directory; pass"));
    EXPECT_EQ(harness_.run({"check", source, "--world-size=2", "--ds-config=" + harness_.directory().string()}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("' cannot be read: Is a directory; pass"));
    EXPECT_EQ(harness_.run({"check", source, "--world-size=2", "c.json"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("unexpected argument 'c.json' (did you mean --ds-config=c.json?)"));
    for (const auto& words : {std::vector<std::string>{"check", source, "--world-size=2", "c.txt"},
                              {"check", source, "--world-size=2", "--ds-config=c", "c.json"},
                              {"umount", "/mnt", "c.json"}}) {
        EXPECT_EQ(harness_.run(words), 2);
        EXPECT_THAT(harness_.error(), HasSubstr("'; usage: ")) << "it takes none, or has one";
    }
}

TEST_F(Check, ASourceThatIsNotThereIsToldAsByEveryCommand) {
    const std::string config = (harness_.directory() / "c.json").string();
    std::ofstream(config) << "{}";
    for (const auto& words : {std::vector<std::string>{"check", "nosuch", "--world-size=2", "--ds-config=" + config},
                              {"inspect", "nosuch"},
                              {"verify", "nosuch"},
                              {"diff", (fixtures / "stage2_bf16_ws4").string(), "nosuch"},
                              {"ls", "nosuch"},
                              {"cat", "nosuch", "latest"},
                              {"export", "nosuch", "out", "--world-size=2"},
                              {"run", "nosuch", "--", "true"},
                              {"nosuch", "mnt"},
                              {"nosuch", "mnt", "--world-size=2", "--writable"}}) {
        EXPECT_EQ(harness_.run(words), 3) << words.front();
        EXPECT_THAT(harness_.error(), HasSubstr("nosuch' cannot be opened as a directory: No such file or directory; "
                                                "give the directory that save_checkpoint was given\n"))
            << words.front();
    }
}

TEST_F(Check, SubGroupSizeIsTheConfigs) {
    EXPECT_EQ(harness_.run({"check", "/s", "--world-size=2", "--ds-config=c", "--sub-group-size=40"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("--sub-group-size"));
}

}  // namespace
}  // namespace ckptfs::cli::test
