// Lightning's single file of real checkpoints: its values, their order, and what is refused.
#include "view/lightning_file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "io/posix_source.h"
#include "support/memory_source.h"
#include "support/test_data.h"
#include "view/lightning_kind.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace lightning {
namespace {

using pickle::Node;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

std::shared_ptr<const zero::Written> checkpoint_of(const std::string& name) {
    const auto directory = test_data() / "zero" / name;
    std::string tag;
    std::ifstream(directory / "latest") >> tag;
    const std::shared_ptr<const Source> source = io::DirectorySource::open_directory(directory.string()).value();
    auto checkpoint = zero::read_checkpoint(*source, tag);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    return *checkpoint;
}

std::shared_ptr<const pt::Archive> file_of(const std::string& name) {
    const auto checkpoint = checkpoint_of(name);
    EXPECT_TRUE(check_lightning(*checkpoint).ok());
    const auto file = lightning_file(checkpoint, "epoch=1-step=8.ckpt");
    EXPECT_TRUE(file.ok()) << file.error().message();
    auto archive = pt::Archive::open(*file);
    EXPECT_TRUE(archive.ok()) << archive.error().message();
    return *archive;
}

std::vector<std::string> keys_of(const Node* dict) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : pickle::dict_items(dict)) {
        keys.push_back(key->text);
    }
    return keys;
}

std::string bytes_of(const pt::Archive& archive, const Node* node) {
    const pt::TensorRef tensor = *pt::tensor_ref(node);
    const pt::Archive::Storage& storage = archive.storages()[*archive.storage_index(tensor.storage.key)];
    const std::uint64_t itemsize = model::itemsize(tensor.dtype);
    return *test::read_range(*storage.place.file, storage.place.offset + tensor.offset_numel * itemsize,
                             tensor.numel() * itemsize);
}

std::string bytes_of(const model::Elements& elements) {
    PieceList pieces;
    elements.append(pieces);
    return *test::read_all(**VirtualFile::create("elements", std::move(pieces), nullptr));
}

TEST(LightningFile, HoldsTheMastersOfEveryParameter) {
    for (const char* name : {"stage1_bf16_ws3", "stage2_fp16_ws3", "alignment_ws3", "round_robin_ws3", "elastic_ws3",
                             "bf16_optimizer_ws3", "stage3_groups_ws3", "stage3_frozen_tied_ws2"}) {
        const auto checkpoint = checkpoint_of(name);
        const auto archive = file_of(name);
        const pickle::DictIndex weights(find(archive->root(), "state_dict"));
        for (const model::Group& group : checkpoint->content.ranks.front().groups) {
            for (const model::Parameter& parameter : group.parameters) {
                const Node* const tensor = weights.find(parameter.name);
                ASSERT_TRUE(pt::is_tensor(tensor)) << name << ": " << parameter.name;
                EXPECT_EQ(pt::tensor_ref(tensor)->sizes, parameter.shape);
                EXPECT_EQ(bytes_of(*archive, tensor), bytes_of(*parameter.master)) << name << ": " << parameter.name;
            }
        }
    }
}

TEST(LightningFile, KeepsTheClientStateAndLeavesOutDeepSpeeds) {
    const auto archive = file_of("client_state_ws2");
    EXPECT_EQ(archive->root_name(), "epoch=1-step=8");
    const std::vector<std::string> keys = keys_of(archive->root());
    EXPECT_THAT(keys, IsSupersetOf({"epoch", "note", "seen", "nested", "param_shapes", "ds_config"}));
    EXPECT_THAT(keys, Not(Contains("module")));
    EXPECT_THAT(keys, Not(Contains("dp_world_size")));
    EXPECT_EQ(keys.back(), "state_dict");
    EXPECT_EQ(find(archive->root(), "note")->text, "kept");
    EXPECT_THAT(pt::tensor_ref(find(archive->root(), "seen"))->sizes, ElementsAre(5));
}

TEST(LightningFile, BuffersComeFirstAndTiedNamesAreOneTensor) {
    const auto archive = file_of("frozen_tied_ws2");
    const Node* const weights = find(archive->root(), "state_dict");
    const std::vector<std::string> keys = keys_of(weights);
    EXPECT_EQ(keys.front(), "drifting");
    EXPECT_EQ(keys.back(), "head.weight");
    EXPECT_EQ(find(weights, "head.weight"), find(weights, "embedding.weight"));
    EXPECT_EQ(pt::tensor_ref(find(weights, "count"))->dtype, model::DType::int64);
    EXPECT_EQ(pt::tensor_ref(find(weights, "frozen.weight"))->dtype, model::DType::bfloat16);
}

TEST(LightningFile, RefusesWhatLightningDoesNotWrite) {
    EXPECT_THAT(check_lightning(*checkpoint_of("stage0_ws2")).error().message(), HasSubstr("stage 0"));
    EXPECT_THAT(check_lightning(*checkpoint_of("pipeline_stage1_ws4")).error().message(),
                HasSubstr("2 model-parallel ranks"));
}

TEST(LightningKind, ShowsOneFileUnderItsDirectorysName) {
    const auto checkpoint = checkpoint_of("stage2_bf16_ws4");
    const ViewOptions options;
    const auto shown = [&](const std::string& tag, const std::string& display) {
        return *lightning_kind().make({checkpoint, options, std::make_shared<FileCache>(), tag, display}, {});
    };
    const auto view = shown("ckpt/last.ckpt/checkpoint", "runs/ckpt/last.ckpt/checkpoint");
    EXPECT_EQ(view->file_count(), 1U);
    EXPECT_EQ(view->file_name(0), "last.ckpt");
    EXPECT_EQ(view->find("last.ckpt"), 0U);
    EXPECT_EQ(view->find("checkpoint"), std::nullopt);
    EXPECT_EQ(*view->file_size(0), (*view->open(0))->size());
    EXPECT_EQ(shown("checkpoint", "./checkpoint")->file_name(0), "checkpoint.ckpt");
    const auto suggested = [&](const std::string& tag) {
        return lightning_kind().suggestions({checkpoint, options, std::make_shared<FileCache>(), tag, tag}).size();
    };
    EXPECT_EQ(suggested("last.ckpt/checkpoint"), 1U);
    EXPECT_EQ(suggested("global_step2"), 0U);
}

}  // namespace
}  // namespace lightning
}  // namespace ckptfs::view
