// Cuts and indexes against what huggingface_hub and transformers make.
#include "view/weight_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/fake_files.h"

namespace ckptfs::view {
namespace weight_shards {
namespace {

using Cut = std::vector<std::vector<std::size_t>>;

// Each printed by split_state_dict_into_shards_factory of huggingface_hub 2.4, sizes in bytes and 10 at most.
TEST(WeightShards, AreCutAsHuggingfaceHubCutsThem) {
    EXPECT_EQ(split_into_shards({6, 6, 2, 6, 2, 2}, 10), (Cut{{0}, {1, 2}, {3, 4, 5}}));
    EXPECT_EQ(split_into_shards({20, 1, 1}, 10), (Cut{{0}, {1, 2}}));
    EXPECT_EQ(split_into_shards({1, 20, 1}, 10), (Cut{{1}, {0, 2}}));
    EXPECT_EQ(split_into_shards({5, 5, 5, 5}, 10), (Cut{{0, 1}, {2, 3}}));
    EXPECT_EQ(split_into_shards({10, 10}, 10), (Cut{{0}, {1}}));
    EXPECT_EQ(split_into_shards({3, 8, 12, 1, 11, 2}, 10), (Cut{{0}, {2}, {4}, {1, 3}, {5}}));
    EXPECT_EQ(split_into_shards({0, 9, 0, 9, 0}, 10), (Cut{{0, 1, 2, 4}, {3}}));
    EXPECT_EQ(split_into_shards({9, 0, 9, 0}, 10), (Cut{{0, 1, 3}, {2}}));
}

ShownTensor tensor(const std::string& name, std::uint64_t numel, bool is_parameter = true,
                   std::vector<std::string> tied = {}) {
    return {name,
            {numel},
            model::Elements(model::DType::float32, numel, model::Zeros{}),
            model::DType::bfloat16,
            is_parameter,
            std::move(tied)};
}

std::vector<std::string> names_of(const std::vector<TensorFile>& files) {
    std::vector<std::string> names;
    for (const TensorFile& file : files) {
        names.push_back(file.name);
    }
    return names;
}

TEST(WeightShards, OneFileNeedsNoIndex) {
    const auto files = weight_files({tensor("a", 4), tensor("b", 4)}, WeightsContainer::safetensors, 16).value();
    EXPECT_THAT(names_of(files), testing::ElementsAre("model.safetensors"));
    EXPECT_EQ(files.front().metadata, (safetensors::Metadata{{"format", "pt"}}));
    EXPECT_THAT(names_of(weight_files({tensor("a", 4)}, WeightsContainer::bin, 16).value()),
                testing::ElementsAre("pytorch_model.bin"));
}

TEST(WeightShards, AnIndexSaysWhereEachTensorIs) {
    const auto files = weight_files({tensor("b", 4, true, {"tied"}), tensor("a\xc3\xa9", 3, false), tensor("c", 8)},
                                    WeightsContainer::safetensors, 16)
                           .value();
    EXPECT_THAT(names_of(files),
                testing::ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                     "model.safetensors.index.json"));
    EXPECT_EQ(files.back().text, R"({
  "metadata": {
    "total_parameters": 12,
    "total_size": 30
  },
  "weight_map": {
    "a\u00e9": "model-00001-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "c": "model-00002-of-00002.safetensors"
  }
}
)");
}

TEST(WeightShards, TheIndexOfABinHasTiedNames) {
    const auto files =
        weight_files({tensor("b", 8, true, {"tied"}), tensor("c", 8)}, WeightsContainer::bin, 16).value();
    EXPECT_EQ(files.back().name, "pytorch_model.bin.index.json");
    EXPECT_EQ(files.back().text, R"({
  "metadata": {
    "total_size": 32
  },
  "weight_map": {
    "b": "pytorch_model-00001-of-00002.bin",
    "c": "pytorch_model-00002-of-00002.bin",
    "tied": "pytorch_model-00001-of-00002.bin"
  }
}
)");
}

TEST(WeightShards, KnowsTheNamesThatLoadersLookFor) {
    for (const char* name : {"model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
                             "model.fp16.safetensors", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin",
                             "pytorch_model.bin.index.json"}) {
        EXPECT_TRUE(is_weight_file_name(name)) << name;
    }
    for (const char* name : {"config.json", "adapter_model.safetensors", "optimizer.bin", "model.bin", "latest",
                             "model_states.pt", "tokenizer.json", "pytorch_model"}) {
        EXPECT_FALSE(is_weight_file_name(name)) << name;
    }
}

}  // namespace
}  // namespace weight_shards
}  // namespace ckptfs::view
