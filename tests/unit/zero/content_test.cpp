// The content of every checkpoint of tests/data/zero against what Python readers see in it (make_contents.py).
#include "zero/content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "io/posix_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "zero/reader.h"
#include "zero/weights_reader.h"

namespace ckptfs::zero {
namespace content {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

const json& contents() {
    static const json table = [] {
        std::ifstream stream(test_data() / "zero/contents.json");
        return json::parse(stream);
    }();
    return table;
}

std::vector<std::string> fixtures() {
    std::vector<std::string> names;
    for (const auto& [name, ranks] : contents().items()) {
        names.push_back(name);
    }
    return names;
}

fs::path tag_of(const std::string& fixture) {
    const fs::path root = test_data() / "zero" / fixture;
    return root / test::file_bytes((root / "latest").string());
}

std::string hash_of(const model::Elements& elements) {
    PieceList pieces;
    elements.append(pieces);
    const auto file = VirtualFile::create("test", std::move(pieces), nullptr);
    std::vector<std::byte> bytes(file.value()->size());
    EXPECT_TRUE(file.value()->read(0, bytes).ok());
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const std::byte byte : bytes) {
        hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3U;
    }
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(hash));
    return text.data();
}

json described(const std::vector<std::uint64_t>& shape, const model::Elements& elements) {
    return {model::name(elements.dtype()), shape, hash_of(elements)};
}

/// A rank as make_contents.py describes it.
json described(const model::Rank& rank, bool is_stage3) {
    const json none = json::object();
    json result{{"masters", none}, {"states", none}, {"weights", none},    {"frozen", none},
                {"buffers", none}, {"tied", none},   {"order", rank.order}};
    for (const model::Group& group : rank.groups) {
        for (const model::Parameter& parameter : group.parameters) {
            EXPECT_NE(parameter.trainable, false);
            if (parameter.master) {
                result["masters"][parameter.name] = described(parameter.shape, *parameter.master);
            }
            EXPECT_EQ(parameter.states.size(), group.states.size());
            for (std::size_t s = 0; s < parameter.states.size(); ++s) {
                result["states"][group.states[s]][parameter.name] = described(parameter.shape, parameter.states[s]);
            }
            EXPECT_EQ(parameter.weight.has_value(), !is_stage3) << parameter.name;
            const model::Elements weight = parameter.weight.value_or(model::Elements(parameter.dtype, 0, {}));
            const auto shape = is_stage3 ? std::vector<std::uint64_t>{0} : parameter.shape;
            result["weights"][parameter.name] = described(shape, weight);
            EXPECT_EQ(parameter.dtype, weight.dtype());
        }
    }
    for (const model::Parameter& parameter : rank.frozen) {
        EXPECT_EQ(parameter.trainable, false);
        result["frozen"][parameter.name] = described(parameter.shape, *parameter.weight);
    }
    for (const model::Tensor& buffer : rank.buffers) {
        result["buffers"][buffer.name] = described(buffer.shape, buffer.elements);
    }
    for (const model::TiedName& tied : rank.tied) {
        result["tied"][tied.name] = tied.of;
    }
    return result;
}

json described(const model::Checkpoint& checkpoint, bool is_stage3) {
    json result = json::array();
    for (const model::Rank& rank : checkpoint.ranks) {
        result.push_back(described(rank, is_stage3));
    }
    return result;
}

class Content : public testing::TestWithParam<std::string> {
 protected:
    fs::path tag_ = tag_of(GetParam());
    Result<std::shared_ptr<const io::DirectorySource>> source_ =
        io::DirectorySource::open_directory(tag_.parent_path().string());
};

TEST_P(Content, IsWhatPythonReads) {
    const auto checkpoint = read_checkpoint(**source_, tag_.filename().string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    const model::Checkpoint& content = (*checkpoint)->content;
    EXPECT_THAT(content.gaps, IsEmpty());
    EXPECT_EQ(described(content, (*checkpoint)->stage == 3), contents()[GetParam()]);
    const bool tells_trainable = (*checkpoint)->format != Format::stage0;
    for (const model::Rank& rank : content.ranks) {
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                EXPECT_EQ(parameter.trainable.has_value(), tells_trainable) << parameter.name;
            }
        }
    }
}

TEST_P(Content, WithoutTheOptimizerIsTheSameWeights) {
    json expected = contents()[GetParam()];
    const auto weights = read_weights(**source_, tag_.filename().string());
    const bool is_stage3 = fs::exists(tag_ / "zero_pp_rank_0_mp_rank_00_model_states.pt");
    if (is_stage3) {
        ASSERT_FALSE(weights.ok());
        EXPECT_EQ(weights.error().code(), ErrorCode::unsupported) << weights.error().message();
        return;
    }
    ASSERT_TRUE(weights.ok()) << weights.error().message();
    EXPECT_THAT((*weights)->content.gaps, IsEmpty());
    for (json& rank : expected) {
        rank["masters"] = json::object();
        rank["states"] = json::object();
    }
    EXPECT_EQ(described((*weights)->content, false), expected);
}

std::map<std::string, model::Scalar> scalars_of(const model::Group& group) {
    return {group.hyper_parameters.begin(), group.hyper_parameters.end()};
}

class Numbers : public testing::TestWithParam<std::string> {};

TEST_P(Numbers, AreThoseOfTheGroups) {
    const fs::path tag = tag_of(GetParam());
    const auto source = io::DirectorySource::open_directory(tag.parent_path().string());
    const auto checkpoint = read_checkpoint(**source, tag.filename().string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    const model::Checkpoint& content = (*checkpoint)->content;
    EXPECT_EQ(content.global_steps, 2);
    ASSERT_EQ(content.ranks.front().groups.size(), 3U);
    std::vector<model::Scalar> decays;
    for (const model::Group& group : content.ranks.front().groups) {
        EXPECT_EQ(group.step, 2.0);
        const auto scalars = scalars_of(group);
        EXPECT_EQ(scalars.at("betas[0]"), model::Scalar(0.9));
        EXPECT_EQ(scalars.at("amsgrad"), model::Scalar(false));
        EXPECT_FALSE(scalars.contains("params"));
        EXPECT_FALSE(scalars.contains("params[0]"));
        decays.push_back(scalars.at("weight_decay"));
    }
    EXPECT_NE(decays[0], decays[1]);
}

INSTANTIATE_TEST_SUITE_P(Stages, Numbers, testing::Values("stage2_bf16_ws4", "stage3_groups_ws3"),
                         [](const auto& of) { return of.param; });

/// A copy of a checkpoint whose optimizer files are broken.
class WithoutOptimizer : public testing::Test {
 protected:
    void copy(const std::string& fixture) const {
        fs::copy(tag_of(fixture), tag_, fs::copy_options::recursive);
        for (const auto& entry : fs::directory_iterator(tag_)) {
            if (entry.path().filename().string().find("optim_states") != std::string::npos) {
                fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
            }
        }
    }

    [[nodiscard]] Result<std::shared_ptr<const WeightsOnly>> read() const {
        const auto source = io::DirectorySource::open_directory(tag_.parent_path().string());
        const auto checkpoint = read_checkpoint(**source, tag_.filename().string());
        EXPECT_FALSE(checkpoint.ok());
        return read_weights(**source, tag_.filename().string());
    }

    void expect_error(ErrorCode code, const std::string& text) const {
        const auto weights = read();
        ASSERT_FALSE(weights.ok());
        EXPECT_EQ(weights.error().code(), code) << weights.error().message();
        EXPECT_THAT(weights.error().message(), HasSubstr(text));
    }

    test::TemporaryDirectory temporary_;
    fs::path tag_ = fs::path(temporary_.path()) / "tag";
};

TEST_F(WithoutOptimizer, TheWeightsCanBeRead) {
    copy("frozen_tied_ws2");
    const auto weights = read();
    ASSERT_TRUE(weights.ok()) << weights.error().message();
    EXPECT_EQ((*weights)->dp_world_size, 2U);
    EXPECT_EQ(described((*weights)->content, false)[0]["weights"], contents()["frozen_tied_ws2"][0]["weights"]);
}

TEST_F(WithoutOptimizer, RoundRobinParametersAreInOptimizerOrder) {
    copy("round_robin_ws3");
    const auto weights = read();
    const fs::path whole = tag_of("round_robin_ws3");
    const auto source = io::DirectorySource::open_directory(whole.parent_path().string());
    const auto checkpoint = read_checkpoint(**source, whole.filename().string());
    ASSERT_TRUE(weights.ok() && checkpoint.ok());
    const auto names = [](const model::Checkpoint& content) {
        std::vector<std::string> result;
        for (const model::Parameter& parameter : content.ranks[0].groups[0].parameters) {
            result.push_back(parameter.name);
        }
        return result;
    };
    EXPECT_EQ(names((*weights)->content), names((*checkpoint)->content));
}

TEST_F(WithoutOptimizer, AllModelStatesMustBeWhole) {
    copy("tensor_parallel_stage2_ws4");
    ASSERT_TRUE(read().ok());
    fs::resize_file(tag_ / "mp_rank_01_model_states.pt", fs::file_size(tag_ / "mp_rank_01_model_states.pt") / 2);
    expect_error(ErrorCode::incomplete, "mp_rank_01_model_states.pt");
    fs::remove(tag_ / "mp_rank_01_model_states.pt");
    expect_error(ErrorCode::incomplete, "mp_rank_01_model_states.pt is missing");
}

TEST_F(WithoutOptimizer, ModelStatesOfTwoSaves) {
    copy("tensor_parallel_stage2_ws4");
    fs::copy_file(tag_of("tensor_parallel_stage2_ws4_at_ws6") / "mp_rank_01_model_states.pt",
                  tag_ / "mp_rank_01_model_states.pt", fs::copy_options::overwrite_existing);
    expect_error(ErrorCode::inconsistent, "mp_rank_01_model_states.pt: its world sizes or global_steps");
}

TEST_F(WithoutOptimizer, APipelineNeedsItsLayers) {
    copy("pipeline_stage1_ws4");
    ASSERT_TRUE(read().ok());
    fs::remove(tag_ / "layer_02-model_states.pt");
    expect_error(ErrorCode::incomplete, "the file of layer 2");
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Content, testing::ValuesIn(fixtures()), [](const auto& of) {
    std::string name = of.param;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '/' || c == '.'; }, '_');
    return name;
});

}  // namespace
}  // namespace content
}  // namespace ckptfs::zero
