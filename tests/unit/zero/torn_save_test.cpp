// Files of two saves in one directory, each of them whole: what all ranks of one save write alike tells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "io/counting_source.h"
#include "support/edited_tag.h"
#include "zero/reader.h"
#include "zero/saved_values.h"

namespace ckptfs::zero {
namespace torn_save {
namespace {

using test::EditedTag;
using test::KeyPath;
using testing::AllOf;
using testing::HasSubstr;

/// One file of a fixture that says something else than the others.
struct Difference {
    std::string name;
    std::string fixture;
    std::string file;  ///< part of the names of the files that are of another save
    KeyPath path;
    std::string field;  ///< as the error names it
};

void PrintTo(const Difference& difference, std::ostream* out) {
    *out << difference.name;
}

const std::string optimizer = "optimizer_state_dict";
const std::string base = "base_optimizer_state";

std::vector<Difference> differences() {
    std::vector<Difference> all;
    const auto add = [&all](const std::string& where, const std::string& fixture, const std::string& file,
                            const std::string& name, KeyPath path, const std::string& field) {
        all.push_back({where + name, fixture, file, std::move(path), field});
    };
    struct Group {
        std::string where;
        std::string fixture;
        std::string file;
        KeyPath param_group;
    };
    const std::vector<Group> optimizer_files{
        {"Stage1", "stage1_bf16_ws3", "rank_1_mp_rank_00_optim", {optimizer, base, "param_groups", 0}},
        {"Stage2", "stage2_fp16_ws3", "rank_2_mp_rank_00_optim", {optimizer, base, "param_groups", 1}},
        {"Sgd", "sgd_ws2", "rank_1_mp_rank_00_optim", {optimizer, base, "param_groups", 0}},
        {"Momentum", "momentum_ws2", "rank_1_mp_rank_00_optim", {optimizer, base, "param_groups", 0}},
        {"Muon", "muon_ws3", "rank_2_mp_rank_00_optim", {optimizer, base, "param_groups", 0}},
        {"Stage3", "stage3_fp16_ws2", "rank_1_mp_rank_00_optim", {optimizer, optimizer, "param_groups", 0}},
        {"Stage3Momentum", "stage3_momentum_ws2", "rank_1_mp_rank_00_optim", {optimizer, optimizer, "param_groups", 0}},
        {"TensorParallelRank",
         "tensor_parallel_stage1_ws4",
         "rank_1_mp_rank_01_optim",
         {optimizer, base, "param_groups", 0}},
        {"TensorParallel", "tensor_parallel_stage1_ws4", "mp_rank_01_optim", {optimizer, base, "param_groups", 0}},
        {"TensorParallel2", "tensor_parallel_stage2_ws4", "mp_rank_00_optim", {optimizer, base, "param_groups", 1}},
        {"TensorParallel3",
         "tensor_parallel_stage3_ws4",
         "mp_rank_01_optim",
         {optimizer, optimizer, "param_groups", 0}},
        {"PipelineRank", "pipeline_stage1_ws4", "rank_1_mp_rank_01_optim", {optimizer, base, "param_groups", 1}},
    };
    for (const auto& [where, fixture, file, param_group] : optimizer_files) {
        for (const char* key : {"lr", "weight_decay"}) {
            KeyPath path = param_group;
            path.emplace_back(key);
            add(where, fixture, file, key, path, std::string("].") + key);
        }
    }
    for (const auto& [where, fixture, file, param_group] : optimizer_files) {
        for (const char* key : {"dynamic_loss_scale", "overflow"}) {
            add(where, fixture, file, key, {optimizer, key}, std::string(": ") + optimizer + "." + key);
        }
        add(where, fixture, file, "loss_scaler", {optimizer, "loss_scaler", "cur_scale"}, "loss_scaler.cur_scale");
        add(where, fixture, file, "ds_version", {"ds_version"}, ": ds_version");
    }
    add("Stage2", "stage2_fp16_ws3", "rank_1_mp_rank_00_optim", "cur_iter", {optimizer, "loss_scaler", "cur_iter"},
        "loss_scaler.cur_iter");
    add("Stage1", "stage1_bf16_ws3", "rank_1_mp_rank_00_optim", "betas", {optimizer, base, "param_groups", 0, "betas"},
        "param_groups[0].betas");
    add("Bf16Optimizer", "bf16_optimizer_ws3", "rank_1_mp_rank_00_optim", "clip_grad", {optimizer, "clip_grad"},
        "clip_grad");
    add("Elastic", "elastic_ws3", "rank_1_mp_rank_00_optim", "step", {optimizer, "base_optimizer_state_step"},
        "base_optimizer_state_step");
    for (const auto& [where, file] : std::vector<std::pair<std::string, std::string>>{
             {"Pipeline", "mp_rank_01_optim"}, {"PipelineFirst", "mp_rank_00_optim"}}) {
        add(where, "pipeline_stage1_ws4", file, "clip_grad", {optimizer, "clip_grad"}, "clip_grad");
        add(where, "pipeline_stage1_ws4", file, "loss_scaler", {optimizer, "loss_scaler", "cur_scale"}, "cur_scale");
    }
    const std::vector<std::pair<std::string, std::string>> model_states_files{
        {"stage3_fp16_ws2", "rank_1_mp_rank_00_model"},
        {"tensor_parallel_stage1_ws4", "mp_rank_01_model"},
        {"tensor_parallel_stage3_ws4", "rank_0_mp_rank_01_model"},
        {"pipeline_stage1_ws4", "mp_rank_01_model"},
    };
    for (const auto& [fixture, file] : model_states_files) {
        for (const char* key : {"global_samples", "skipped_steps", "ds_version"}) {
            add(fixture, fixture, file, key, {key}, std::string(": ") + key);
        }
        add(fixture, fixture, file, "lr_scheduler", {"lr_scheduler", "last_batch_iteration"},
            "lr_scheduler.last_batch_iteration");
    }
    return all;
}

class TornSave : public testing::TestWithParam<Difference> {};
INSTANTIATE_TEST_SUITE_P(Every, TornSave, testing::ValuesIn(differences()),
                         [](const auto& param_info) { return param_info.param.name; });

TEST_P(TornSave, IsRefusedByTheFieldThatDiffers) {
    EditedTag tag(GetParam().fixture);
    for (const std::string& name : tag.names(GetParam().file)) {
        tag.change(name, GetParam().path);
    }
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code(), ErrorCode::inconsistent) << checkpoint.error().message();
    EXPECT_THAT(checkpoint.error().message(),
                AllOf(HasSubstr(GetParam().field), HasSubstr("memory:tag/"), HasSubstr("files of two saves")));
}

TEST_P(TornSave, IsNoneWhereTheFieldIsTheSameInAllFiles) {
    EditedTag tag(GetParam().fixture);
    const bool of_optimizer = GetParam().file.find("optim") != std::string::npos;
    for (const std::string& name : tag.names(of_optimizer ? "optim_states" : "model_states")) {
        if (!name.starts_with("layer_")) {
            tag.change(name, GetParam().path);
        }
    }
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
}

// The optimizer files of one model-parallel rank are a step ahead.
class TornFamilies : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Every, TornFamilies,
                         testing::Values("tensor_parallel_stage1_ws4", "tensor_parallel_stage2_ws4",
                                         "tensor_parallel_stage3_ws4", "pipeline_stage1_ws4"),
                         [](const auto& param_info) { return param_info.param; });

TEST_P(TornFamilies, AreRefusedByTheirStep) {
    EditedTag tag(GetParam());
    for (const std::string& name : tag.names("_mp_rank_00_optim_states")) {
        tag.edit(name, [](pt::ArchiveEditor& editor, const pickle::Node* root) {
            const pickle::Node* states = test::at_path(root, {optimizer, optimizer, "state"});
            states = states != nullptr ? states : test::at_path(root, {optimizer, base, "state"});
            for (const auto& [index, state] : pickle::dict_items(states)) {
                const auto step = pt::tensor_ref(pickle::find(state, "step"));
                ASSERT_TRUE(step.ok());
                const float later = 3;
                PieceList content;
                content.add_literal({reinterpret_cast<const char*>(&later), sizeof later});
                const std::size_t storage = editor.add_storage(model::DType::float32, 1, "cpu", std::move(content));
                editor.pickle().replace(step->node, editor.tensor(*step, storage, 0, {}));
            }
        });
    }
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code(), ErrorCode::inconsistent);
    EXPECT_THAT(checkpoint.error().message(), AllOf(HasSubstr("it is at optimizer step 2"), HasSubstr("at step 3")));
}

// Stages have groups of their own.
TEST(TornSaveOfAPipeline, HyperParametersOfStagesMayDiffer) {
    EditedTag tag("pipeline_stage1_ws4");
    for (const std::string& name : tag.names("mp_rank_01_optim")) {
        tag.change(name, {optimizer, base, "param_groups", 0, "lr"});
    }
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
}

TEST(TornSaveValues, OfAMetricMayBeTheRanksOwn) {
    EditedTag tag("stage3_fp16_ws2");
    double best = 1;
    for (const std::string& name : tag.names("model_states")) {
        tag.add_real(name, {"lr_scheduler"}, "best", best++);
    }
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
}

// A tensor's place in its file says nothing: what it holds does.
class NumbersInTensors : public testing::TestWithParam<std::pair<std::string, KeyPath>> {
 protected:
    /// Gives every rank a state `mu_product`; that of the last rank is `last`.
    static EditedTag tag_with(float last) {
        EditedTag tag(GetParam().first);
        KeyPath like = GetParam().second;
        like.emplace_back("step");
        const std::vector<std::string> names = tag.names("optim_states");
        for (const std::string& name : names) {
            tag.add_number(name, GetParam().second, "mu_product", name == names.back() ? last : 0.5F, like);
        }
        return tag;
    }
};
INSTANTIATE_TEST_SUITE_P(
    Stages, NumbersInTensors,
    testing::Values(std::pair<std::string, KeyPath>("stage2_fp16_ws3", {optimizer, base, "state", 0}),
                    std::pair<std::string, KeyPath>("stage3_fp16_ws2", {optimizer, optimizer, "state", 0})),
    [](const auto& param_info) { return param_info.param.first; });

TEST_P(NumbersInTensors, AreReadAndCompared) {
    const auto whole = read_checkpoint(*tag_with(0.5F).source(), "tag");
    EXPECT_TRUE(whole.ok()) << whole.error().message();
    const auto torn = read_checkpoint(*tag_with(0.25F).source(), "tag");
    ASSERT_FALSE(torn.ok());
    EXPECT_THAT(torn.error().message(),
                AllOf(HasSubstr("state[0].mu_product is 0.25"), HasSubstr("it is 0.5"), HasSubstr("two saves")));
}

// Ranks whose pickles are equal are compared once; what a tensor holds costs a read for each rank, and nothing else
// does.
TEST(TornSaveWork, IsOneReadForEachRanksNumberInATensor) {
    const auto reads = [](const EditedTag& tag) {
        const io::CountingSource source(tag.source());
        EXPECT_TRUE(read_checkpoint(source, "tag").ok());
        return source.counters().reads.load();
    };
    const KeyPath state{optimizer, optimizer, "state", 0};
    EditedTag tag("stage3_fp32_ws4");
    const std::uint64_t before = reads(tag);
    KeyPath like = state;
    like.emplace_back("step");
    for (const std::string& name : tag.names("optim_states")) {
        tag.add_number(name, state, "mu_product", 0.5F, like);
    }
    EXPECT_EQ(reads(tag), before + 4);
}

TEST(TornPipeline, LayerThatIsMissing) {
    EditedTag tag("pipeline_stage1_ws4");
    tag.files().erase("layer_02-model_states.pt");
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code(), ErrorCode::incomplete);
    EXPECT_THAT(checkpoint.error().message(),
                AllOf(HasSubstr("layer_02"), HasSubstr("is missing"), HasSubstr("2.up.weight")));
}

TEST(TornPipeline, LayerThatIsCutOff) {
    for (const char* name : {"layer_00-model_states.pt", "layer_03-model_states.pt"}) {
        EditedTag tag("pipeline_stage1_ws4");
        std::string& bytes = tag.files().at(name);
        bytes.resize(bytes.size() / 2);
        const auto checkpoint = read_checkpoint(*tag.source(), "tag");
        ASSERT_FALSE(checkpoint.ok()) << name;
        EXPECT_THAT(checkpoint.error().message(), HasSubstr(name));
    }
}

TEST(TornPipeline, LayerWithoutParametersThatIsCutOff) {
    EditedTag tag("pipeline_stage1_ws4");
    tag.files()["layer_02-model_01-model_states.pt"] = "half of a file";
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_THAT(checkpoint.error().message(), HasSubstr("layer_02-model_01-model_states.pt"));
}

TEST(TornPipeline, LayerOfAnotherShape) {
    EditedTag tag("pipeline_stage1_ws4");
    tag.files().at("layer_03-model_states.pt") = tag.files().at("layer_00-model_states.pt");
    tag.edit("layer_03-model_states.pt", [](pt::ArchiveEditor& editor, const pickle::Node* root) {
        for (const auto& [key, value] : pickle::dict_items(root)) {
            editor.pickle().replace(key, editor.pickle().string(key->text == "position" ? "head.weight" : "x"));
        }
    });
    const auto checkpoint = read_checkpoint(*tag.source(), "tag");
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code(), ErrorCode::inconsistent);
    EXPECT_THAT(checkpoint.error().message(),
                AllOf(HasSubstr("head.weight has the shape [5, 7], expected [11, 7]"), HasSubstr("mp_rank_01")));
}

TEST(TornPipeline, LayersOfALargerModelAreLeftOver) {
    EditedTag tag("pipeline_stage1_ws4");
    tag.files()["layer_07-model_states.pt"] = "left over";
    EXPECT_TRUE(read_checkpoint(*tag.source(), "tag").ok());
}

TEST(TornPipeline, WeightsAreMappedToTheirLayers) {
    EditedTag tag("pipeline_stage1_ws4");
    const auto source = tag.source();
    const auto checkpoint = read_checkpoint(*source, "tag");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    std::size_t layers = 0;
    for (std::size_t f = 0; f < (*checkpoint)->families.size(); ++f) {
        const Family& family = (*checkpoint)->families[f];
        layers += family.layers.files.size();
        for (std::size_t g = 0; g < family.groups.size(); ++g) {
            EXPECT_FALSE(family.groups[g].flat->weights);
            EXPECT_EQ(family.groups[g].flat->weights_itemsize, 2U);
            for (const model::Parameter& parameter : (*checkpoint)->content.ranks[f].groups[g].parameters) {
                const std::string& name = parameter.name;
                ASSERT_TRUE(parameter.weight) << name;
                EXPECT_EQ(parameter.weight->dtype(), model::DType::bfloat16);
                const auto& weight = std::get<model::Contiguous>(parameter.weight->rule());
                const auto file = source->open("tag/layer_0" + name.substr(0, 1) + "-model_states.pt").value();
                EXPECT_EQ(weight.file->name(), file->name());
                const auto archive = pt::Archive::open(file).value();
                const auto tensor = pt::tensor_ref(pickle::find(archive->root(), name.substr(2))).value();
                const pt::RecordPlace& place = archive->storages()[*archive->storage_index(tensor.storage.key)].place;
                EXPECT_EQ(weight.offset, place.offset + 2 * tensor.offset_numel) << name;
                EXPECT_EQ(parameter.weight->numel(), parameter.numel);
            }
        }
    }
    EXPECT_EQ(layers, 4U);
}

// A list that holds itself twice over is as wide as it is deep.
TEST(SavedValuesOfAHostileFile, CostNoMoreThanTheirBudget) {
    for (const char* field : {"lr_scheduler", "random_ltd"}) {
        EditedTag tag("stage3_fp16_ws2");
        for (const std::string& name : tag.names("model_states")) {
            tag.set(name, KeyPath{field}, [](pickle::Editor& pickle) {
                const pickle::Node* wide = pickle.string(std::string(10'000, 'x'));
                for (int level = 0; level < 30; ++level) {
                    wide = level % 2 == 0 ? pickle.list(std::vector<const pickle::Node*>(100, wide))
                                          : pickle.dict({pickle.string("a"), wide, pickle.string("b"), wide});
                }
                return wide;
            });
        }
        const auto source = tag.source();
        const auto file = source->open("tag/" + tag.names("model_states").front()).value();
        const auto archive = pt::Archive::open(file).value();
        const auto values = model_states_values({archive->root(), {file->name(), ""}}, *archive);
        ASSERT_TRUE(values.ok());
        std::size_t nbytes = 0;
        for (const SavedValue& value : *values) {
            nbytes += value.field.size() + value.text.size();
        }
        EXPECT_LT(nbytes, std::size_t{64} << 20U);
        EXPECT_TRUE(read_checkpoint(*source, "tag").ok());
    }
}

TEST(SavedValues, OfASetHaveNoOrder) {
    const auto tag_with = [](const std::vector<std::string>& last) {
        EditedTag tag("stage3_fp16_ws2");
        const std::vector<std::string> names = tag.names("model_states");
        for (const std::string& name : names) {
            tag.set(name, {"random_ltd"}, [&](pickle::Editor& pickle) {
                std::vector<const pickle::Node*> items;
                for (const std::string& item : name == names.back() ? last : std::vector<std::string>{"a", "b", "c"}) {
                    items.push_back(pickle.string(item));
                }
                return pickle.reduce(pickle.global("__builtin__", "set"), pickle.tuple({pickle.list(items)}));
            });
        }
        return tag;
    };
    EXPECT_TRUE(read_checkpoint(*tag_with({"c", "a", "b"}).source(), "tag").ok());
    EXPECT_FALSE(read_checkpoint(*tag_with({"c", "a", "d"}).source(), "tag").ok());
}

TEST(SavedValuesOwner, IsTheSaveForWhatAConfigSetsAndTheRankForAllElse) {
    for (const char* key : {"lr", "betas", "weight_decay", "step", "initial_lr", "use_muon", "mu_product"}) {
        EXPECT_TRUE(is_of_save(key)) << key;
    }
    for (const char* key : {"d", "d_numerator", "trust_ratio", "", "lrx"}) {
        EXPECT_FALSE(is_of_save(key)) << key;
    }
}

}  // namespace
}  // namespace torn_save
}  // namespace ckptfs::zero
