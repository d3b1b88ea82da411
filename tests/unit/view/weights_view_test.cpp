// Weights and states of models made by hand, and of real checkpoints.
#include "view/weights_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "pt/archive.h"
#include "support/fake_files.h"
#include "support/memory_source.h"
#include "support/test_data.h"
#include "view/states_view.h"
#include "view/zero_tag.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace weights {
namespace {

using model::DType;
using nlohmann::json;

/// A model of one file of fp32 numbers: element i of the file is i.
class HandMade {
 public:
    HandMade() {
        std::string bytes;
        for (int i = 0; i < 256; ++i) {
            const auto value = static_cast<float>(i);
            bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
        }
        file = std::make_shared<const test::MemoryFile>(std::move(bytes), "masters.pt");
        content.ranks.emplace_back();
    }

    model::Elements numbers(std::uint64_t first, std::uint64_t numel) const {
        return {DType::float32, numel, model::Contiguous{file.get(), first * sizeof(float)}};
    }
    model::Parameter parameter(const std::string& name, std::uint64_t first, std::uint64_t numel) const {
        model::Parameter result;
        result.name = name;
        result.shape = {numel};
        result.numel = numel;
        result.master = numbers(first, numel);
        result.dtype = DType::bfloat16;
        return result;
    }
    model::Rank& rank() { return content.ranks.front(); }
    model::Group& group() { return rank().groups.empty() ? rank().groups.emplace_back() : rank().groups.front(); }

    Result<std::shared_ptr<const View>> view(const std::string& name = "weights",
                                             const ViewOptions& options = {}) const {
        const ViewRequest request = ViewRequest::parse(name).value();
        const auto cache = std::make_shared<FileCache>();
        const ModelSource source{content, {}, file, {}, "tag"};
        return request.kind == ViewKind::states ? states_view(source, options, cache)
                                                : weights_view(source, options, request, cache);
    }

    std::shared_ptr<const test::MemoryFile> file;
    model::Checkpoint content;
};

std::vector<std::string> file_names(const View& view) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        names.push_back(view.file_name(i));
    }
    return names;
}

std::string whole_file(const View& view, const std::string& name) {
    const auto index = view.find(name);
    EXPECT_TRUE(index) << name;
    const auto file = view.open(*index).value();
    EXPECT_EQ(file->size(), view.file_size(*index).value());
    return test::read_all(*file).value();
}

json header_of(const std::string& bytes) {
    std::uint64_t nbytes = 0;
    std::memcpy(&nbytes, bytes.data(), sizeof(nbytes));
    json header = json::parse(bytes.substr(8, nbytes));
    header["data"] = 8 + nbytes;
    return header;
}

std::vector<std::string> tensor_names(const View& view, const std::string& name = "model.safetensors") {
    std::vector<std::string> names;
    const json header = header_of(whole_file(view, name));
    for (const auto& [key, value] : header.items()) {
        if (key != "__metadata__" && key != "data") {
            names.push_back(key);
        }
    }
    return names;
}

std::string tensor_bytes(const std::string& file, const std::string& name) {
    const json header = header_of(file);
    const std::uint64_t begin = header.at(name).at("data_offsets").at(0);
    const std::uint64_t end = header.at(name).at("data_offsets").at(1);
    return file.substr(header.at("data").get<std::uint64_t>() + begin, end - begin);
}

TEST(WeightsView, ShowsMastersAsTheDTypeOfTheEngine) {
    HandMade made;
    made.group().parameters = {made.parameter("w", 1, 3)};
    const auto view = made.view().value();
    EXPECT_THAT(file_names(*view), testing::ElementsAre("model.safetensors"));
    const std::string file = whole_file(*view, "model.safetensors");
    EXPECT_EQ(header_of(file)["w"]["dtype"], "BF16");
    EXPECT_EQ(tensor_bytes(file, "w"), std::string("\x80\x3f\x00\x40\x40\x40", 6));
    const std::string widened = whole_file(*made.view("weights-fp32").value(), "model.safetensors");
    EXPECT_EQ(tensor_bytes(widened, "w"), made.file->bytes().substr(4, 12));
    const std::string half = whole_file(*made.view("weights-fp16").value(), "model.safetensors");
    EXPECT_EQ(tensor_bytes(half, "w"), std::string("\x00\x3c\x00\x40\x00\x42", 6));
}

TEST(WeightsView, KeepsWhatIsNoFloatingPointNumberAndBuffersUnderSource) {
    HandMade made;
    model::Parameter packed = made.parameter("packed", 0, 2);
    packed.master.reset();
    packed.weight = model::Elements(DType::uint8, 2, model::Zeros{});
    packed.dtype = DType::uint8;
    packed.trainable = false;
    made.rank().frozen = {packed};
    made.rank().buffers = {{"mean", {2}, made.numbers(0, 2)},
                           {"steps", {}, model::Elements(DType::int64, 1, model::Zeros{})}};
    const json source = header_of(whole_file(*made.view().value(), "model.safetensors"));
    EXPECT_EQ(source["mean"]["dtype"], "F32");
    EXPECT_EQ(source["packed"]["dtype"], "U8");
    const json half = header_of(whole_file(*made.view("weights-bf16").value(), "model.safetensors"));
    EXPECT_EQ(half["mean"]["dtype"], "BF16");
    EXPECT_EQ(half["steps"]["dtype"], "I64");
    EXPECT_EQ(half["packed"]["dtype"], "U8");
}

TEST(WeightsView, StoresOneOfTiedNames) {
    HandMade made;
    made.group().parameters = {made.parameter("wte.weight", 0, 4), made.parameter("ln.weight", 4, 2)};
    made.rank().tied = {{"lm_head.weight", "wte.weight"}};
    EXPECT_THAT(tensor_names(*made.view().value()), testing::ElementsAre("ln.weight", "wte.weight"));
    ViewOptions head_only;
    head_only.parameters = "^lm_head";
    EXPECT_THAT(tensor_names(*made.view("weights", head_only).value()), testing::ElementsAre("lm_head.weight"));
}

TEST(WeightsView, StripsPrefixesAndRenames) {
    HandMade made;
    made.group().parameters = {made.parameter("module._orig_mod.a.weight", 0, 2), made.parameter("module.b", 2, 2),
                               made.parameter("my_module.c", 4, 2)};
    EXPECT_THAT(tensor_names(*made.view().value()), testing::ElementsAre("a.weight", "b", "my_module.c"));
    ViewOptions options;
    options.strip_prefixes = {"my_"};
    options.renames = {{"^module\\.", "model."}, {"weight$", "w"}};
    EXPECT_THAT(tensor_names(*made.view("weights", options).value()),
                testing::ElementsAre("model._orig_mod.a.w", "model.b", "model.c"));
    // zero_to_fp32.py strips nothing, and neither does a bin by itself.
    const auto view = made.view("weights-bin").value();
    const auto archive = pt::Archive::open(view->open(0).value()).value();
    std::vector<std::string> names;
    for (const auto& [key, value] : pickle::dict_items(archive->root())) {
        names.push_back(key->text);
    }
    EXPECT_THAT(names, testing::ElementsAre("module._orig_mod.a.weight", "module.b", "my_module.c"));
}

void expect_error(const Result<std::shared_ptr<const View>>& view, ErrorCode code, const std::string& words) {
    ASSERT_FALSE(view.ok());
    EXPECT_EQ(view.error().code(), code);
    EXPECT_THAT(view.error().message(), testing::HasSubstr(words));
}

TEST(WeightsView, RefusesNamesThatCollideAndBadPatterns) {
    HandMade made;
    made.group().parameters = {made.parameter("module.a", 0, 2), made.parameter("a", 2, 2)};
    expect_error(made.view(), ErrorCode::invalid_argument, "'module.a' and 'a' would both be called 'a'");
    ViewOptions options;
    options.renames = {{"(", "x"}};
    expect_error(made.view("weights", options), ErrorCode::invalid_argument, "--rename");
    options.renames = {};
    options.parameters = "[";
    expect_error(made.view("weights", options), ErrorCode::invalid_argument, "--parameters");
    options.parameters = "nothing like it";
    expect_error(made.view("weights", options), ErrorCode::invalid_argument, "no tensor that is asked for");
    made.group().parameters = {made.parameter(std::string(100'000, 'x'), 0, 2)};
    options.parameters = "(x|y)*z";
    expect_error(made.view("weights", options), ErrorCode::unsupported, "100000 bytes");
}

TEST(WeightsView, NoNameMakesAPatternTakeForEver) {
    HandMade made;
    const std::string hostile = std::string(40, 'a') + "!lora.";
    made.group().parameters = {made.parameter(hostile, 0, 2), made.parameter("a.b.lora", 2, 2)};
    ViewOptions options;
    options.parameters = "(\\w+\\.?)+lora$";
    expect_error(made.view("weights", options), ErrorCode::unsupported, "--parameters gives, takes too many steps");
    options.parameters.reset();
    options.renames = {{"(\\w+\\.?)+lora$", "x"}};
    expect_error(made.view("weights", options), ErrorCode::unsupported, "--rename gives, takes too many steps");
    options.renames = {{"\\.\\w+lora$|\\.lora", ".x"}};
    EXPECT_THAT(tensor_names(*made.view("weights", options).value()), testing::UnorderedElementsAre(hostile, "a.b.x"));
    options.renames = {{"lora", "$1"}};
    expect_error(made.view("weights", options), ErrorCode::invalid_argument, "'lora=$1', which --rename gives");
}

TEST(WeightsView, ShowsAPart) {
    HandMade made;
    made.group().parameters = {made.parameter("base.lora_A", 0, 2), made.parameter("base.lora_B", 2, 2)};
    model::Parameter frozen = made.parameter("base.weight", 4, 2);
    frozen.weight = std::exchange(frozen.master, std::nullopt);
    frozen.trainable = false;
    made.rank().frozen = {frozen};
    made.rank().buffers = {{"base.mean", {2}, made.numbers(6, 2)}};
    ViewOptions options;
    options.trainable_only = true;
    EXPECT_THAT(tensor_names(*made.view("weights", options).value()),
                testing::ElementsAre("base.lora_A", "base.lora_B"));
    options.trainable_only = false;
    options.parameters = "_A$|weight";
    EXPECT_THAT(tensor_names(*made.view("weights", options).value()),
                testing::ElementsAre("base.lora_A", "base.weight"));
}

TEST(WeightsView, WhatIsTrainedIsNotGuessed) {
    HandMade made;
    made.group().parameters = {made.parameter("a", 0, 2), made.parameter("b", 2, 2)};
    made.group().parameters.back().trainable.reset();
    EXPECT_TRUE(made.view().ok());
    ViewOptions options;
    options.trainable_only = true;
    expect_error(made.view("weights", options), ErrorCode::unsupported, "whether 'b' is trained");
}

TEST(WeightsView, RefusesWhatItCannotShowWhole) {
    HandMade made;
    made.group().parameters = {made.parameter("w", 0, 2)};
    made.group().parameters.front().master.reset();
    expect_error(made.view(), ErrorCode::incomplete, "'w'");
    made.group().parameters = {made.parameter("w", 0, 2)};
    made.rank().buffers = {{"scale", {4}, model::Elements(DType::float8_e4m3fn, 4, model::Zeros{})}};
    EXPECT_TRUE(made.view().ok());
    expect_error(made.view("weights-fp32"), ErrorCode::unsupported, "'scale' is float8_e4m3fn");
    made.content.gaps = {"model.pt: x is a view"};
    expect_error(made.view(), ErrorCode::unsupported, "model.pt: x is a view");
}

TEST(WeightsView, ShardsFollowTheOrderOfTheModule) {
    HandMade made;
    made.group().parameters = {made.parameter("c", 0, 4), made.parameter("a", 4, 4), made.parameter("b", 8, 4)};
    made.rank().order = {"b", "a", "c"};
    ViewOptions options;
    options.max_shard_nbytes = 20;
    const auto view = made.view("weights", options).value();
    EXPECT_THAT(file_names(*view),
                testing::ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                     "model.safetensors.index.json"));
    EXPECT_THAT(tensor_names(*view, "model-00001-of-00002.safetensors"), testing::ElementsAre("a", "b"));
    EXPECT_THAT(tensor_names(*view, "model-00002-of-00002.safetensors"), testing::ElementsAre("c"));
    const json index = json::parse(whole_file(*view, "model.safetensors.index.json"));
    EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
    EXPECT_EQ(index["metadata"]["total_size"], 24);
}

TEST(StatesView, HasAFileForEachState) {
    HandMade made;
    model::Group& group = made.group();
    group.parameters = {made.parameter("module.w", 0, 4), made.parameter("module.b", 4, 2)};
    group.states = {"exp_avg"};
    group.parameters[0].states = {made.numbers(10, 4)};
    group.parameters[1].states = {made.numbers(14, 2)};
    group.hyper_parameters = {{"lr", 0.1}, {"betas[0]", 0.9}, {"amsgrad", false}, {"fused", std::string("no")}};
    group.step = 3;
    model::Group& other = made.rank().groups.emplace_back();
    other.parameters = {made.parameter("module.z", 6, 2)};
    const auto view = made.view("states").value();
    EXPECT_THAT(file_names(*view), testing::ElementsAre("fp32.safetensors", "exp_avg.safetensors"));
    EXPECT_THAT(tensor_names(*view, "fp32.safetensors"), testing::ElementsAre("b", "w", "z"));
    const std::string moments = whole_file(*view, "exp_avg.safetensors");
    EXPECT_EQ(tensor_bytes(moments, "w"), made.file->bytes().substr(40, 16));
    EXPECT_FALSE(header_of(moments).contains("z"));
    EXPECT_EQ(header_of(moments)["__metadata__"], (json{{"format", "pt"},
                                                        {"param_groups[0].lr", "0.1"},
                                                        {"param_groups[0].betas[0]", "0.9"},
                                                        {"param_groups[0].amsgrad", "false"},
                                                        {"param_groups[0].fused", "no"},
                                                        {"param_groups[0].step", "3"},
                                                        {"param_groups[0].params", R"(["w","b"])"},
                                                        {"param_groups[1].params", R"(["z"])"}}));
}

TEST(StatesView, LeavesOutTheFileOfAStateThatNothingAskedForHas) {
    HandMade made;
    made.group().parameters = {made.parameter("w", 0, 4)};
    made.group().states = {"momentum"};
    made.group().parameters[0].states = {made.numbers(10, 4)};
    model::Group& other = made.rank().groups.emplace_back();
    other.parameters = {made.parameter("z", 6, 2)};
    ViewOptions options;
    options.parameters = "^z";
    const auto view = made.view("states", options);
    ASSERT_TRUE(view.ok()) << view.error().message();
    EXPECT_THAT(file_names(**view), testing::ElementsAre("fp32.safetensors"));
    options.parameters = "^nothing";
    expect_error(made.view("states", options), ErrorCode::invalid_argument, "no tensor that is asked for");
}

TEST(StatesView, RefusesNamesOfStatesThatAreTakenOrTooLong) {
    HandMade made;
    made.group().parameters = {made.parameter("w", 0, 2)};
    made.group().parameters[0].states = {made.numbers(10, 2)};
    for (const std::string state : {"fp32", "step"}) {
        made.group().states = {state};
        expect_error(made.view("states"), ErrorCode::unsupported, "a state called '" + state + "'");
    }
    made.group().states = {std::string(243, 'x')};
    EXPECT_TRUE(made.view("states").ok());
    made.group().states = {std::string(244, 'x')};
    expect_error(made.view("states"), ErrorCode::unsupported, "256 bytes");
}

TEST(StatesView, RefusesWhereThereAreNone) {
    HandMade made;
    model::Parameter whole = made.parameter("w", 0, 2);
    whole.weight = std::exchange(whole.master, std::nullopt);
    made.group().parameters = {whole};
    expect_error(made.view("states"), ErrorCode::unsupported, "no optimizer states");
    made.group().parameters = {made.parameter("w", 0, 2)};
    made.group().states = {"../x"};
    expect_error(made.view("states"), ErrorCode::unsupported, "no name for a file");
}

std::string tag_of(const std::string& fixture) {
    std::string tag;
    std::ifstream(test_data() / "zero" / fixture / "latest") >> tag;
    return tag;
}

/// What is read while a view is listed, while files are opened, and while one tensor is read.
TEST(WeightsView, ReadsTheBytesOfATensorAndNoOthers) {
    for (const std::string fixture : {"stage2_bf16_ws4", "stage3_bf16_ws3", "frozen_tied_ws2", "stage3_groups_ws3"}) {
        const auto counting = std::make_shared<const io::CountingSource>(
            io::DirectorySource::open_directory((test_data() / "zero" / fixture).string()).value());
        const auto checkpoint = zero::read_checkpoint(*counting, tag_of(fixture)).value();
        const io::WorkCounters& counters = counting->counters();
        for (const std::string name : {"weights", "weights-fp32", "weights-fp16", "weights-fp32-bin", "states"}) {
            const ViewRequest request = ViewRequest::parse(name).value();
            const ViewOptions options;
            const Ingredients ingredients{checkpoint, options, std::make_shared<FileCache>(), "tag", fixture};
            const std::uint64_t before = counters.reads;
            const auto view = kind_of(request.kind).make(ingredients, request).value();
            for (std::size_t i = 0; i < view->file_count(); ++i) {
                ASSERT_TRUE(view->file_size(i).ok());
            }
            const auto file = view->open(0).value();
            EXPECT_EQ(counters.reads, before) << fixture << " " << name;
            if (!view->file_name(0).ends_with(".safetensors")) {
                continue;
            }
            std::uint64_t header_nbytes = 0;
            ASSERT_TRUE(file->read(0, std::as_writable_bytes(std::span(&header_nbytes, 1))).ok());
            EXPECT_EQ(counters.reads, before);
            json header = json::parse(test::read_range(*file, 8, header_nbytes).value());
            for (const auto& [tensor, entry] : header.items()) {
                if (tensor == "__metadata__") {
                    continue;
                }
                const std::uint64_t begin = entry.at("data_offsets").at(0);
                const std::uint64_t end = entry.at("data_offsets").at(1);
                const std::uint64_t read_before = counters.nbytes;
                ASSERT_TRUE(test::read_range(*file, 8 + header_nbytes + begin, end - begin).ok());
                // Shown from 2 or 4 bytes an element, of integers 8, wherever they lie.
                const std::uint64_t nbytes = counters.nbytes - read_before;
                std::uint64_t numel = 1;
                for (const std::uint64_t extent : entry.at("shape")) {
                    numel *= extent;
                }
                const bool is_number = entry.at("dtype") == "I64";
                EXPECT_TRUE(nbytes == numel * 2 || nbytes == numel * 4 || (is_number && nbytes == numel * 8))
                    << fixture << " " << name << " " << tensor << " " << nbytes;
            }
        }
    }
}

TEST(WeightsView, ConvertsNothingWhereTheModelStatesHaveTheDType) {
    const std::string fixture = "stage2_bf16_ws4";
    const auto counting = std::make_shared<const io::CountingSource>(
        io::DirectorySource::open_directory((test_data() / "zero" / fixture).string()).value());
    const auto checkpoint = zero::read_checkpoint(*counting, tag_of(fixture)).value();
    for (const auto& [name, itemsize] : std::vector<std::pair<std::string, std::uint64_t>>{
             {"weights", 2}, {"weights-bf16", 2}, {"weights-fp32", 4}, {"weights-fp16", 4}}) {
        const ViewRequest request = ViewRequest::parse(name).value();
        const ViewOptions options;
        const Ingredients ingredients{checkpoint, options, std::make_shared<FileCache>(), "tag", fixture};
        const auto view = kind_of(request.kind).make(ingredients, request).value();
        const std::string file = whole_file(*view, "model.safetensors");
        const json header = header_of(file);
        const auto& entry = header.at("embedding.weight");
        const std::uint64_t begin =
            header.at("data").get<std::uint64_t>() + entry.at("data_offsets").at(0).get<std::uint64_t>();
        const std::uint64_t numel =
            entry.at("shape").at(0).get<std::uint64_t>() * entry.at("shape").at(1).get<std::uint64_t>();
        const std::uint64_t before = counting->counters().nbytes;
        ASSERT_TRUE(test::read_range(*view->open(0).value(), begin, numel * (entry.at("dtype") == "F32" ? 4 : 2)).ok());
        EXPECT_EQ(counting->counters().nbytes - before, numel * itemsize) << name;
    }
}

/// The fixture's tag in memory, without its optimizer file of rank 1, or with that cut short.
std::shared_ptr<const Tag> broken_tag(const std::string& fixture, bool cut_short) {
    test::MemorySource source;
    const std::string tag = tag_of(fixture);
    for (const auto& entry : std::filesystem::directory_iterator(test_data() / "zero" / fixture / tag)) {
        const std::string name = entry.path().filename().string();
        std::ifstream file(entry.path(), std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(file), {}};
        if (name.find("_pp_rank_1_") != std::string::npos && name.ends_with("optim_states.pt")) {
            if (!cut_short) {
                continue;
            }
            bytes.resize(bytes.size() / 2);
        }
        source.add("tag/" + name, std::move(bytes));
    }
    return zero_tag_reader({})->read(source, "tag");
}

TEST(WeightsView, NeedsNoOptimizerBelowStage3) {
    for (const std::string fixture : {"stage2_bf16_ws4", "stage1_fp16_ws2", "frozen_tied_ws2"}) {
        const auto source = io::DirectorySource::open_directory((test_data() / "zero" / fixture).string()).value();
        const auto whole = zero_tag_reader({})->read(*source, tag_of(fixture));
        ASSERT_EQ(whole->problem(), nullptr);
        for (const bool cut_short : {false, true}) {
            const auto broken = broken_tag(fixture, cut_short);
            ASSERT_NE(broken->problem(), nullptr);
            const ViewRequest weights = ViewRequest::parse("weights").value();
            const auto shown = broken->show(weights);
            ASSERT_TRUE(shown.ok()) << shown.error().message();
            EXPECT_EQ(whole_file(**shown, "model.safetensors"),
                      whole_file(*whole->show(weights).value(), "model.safetensors"));
            EXPECT_TRUE(broken->show(ViewRequest::parse("weights-fp32-bin").value()).ok());
            const auto states = broken->show(ViewRequest::parse("states").value());
            ASSERT_FALSE(states.ok());
            EXPECT_EQ(states.error().message(), broken->problem()->message());
            EXPECT_FALSE(broken->show(ViewRequest::at_world_size(2)).ok());
        }
    }
    EXPECT_FALSE(broken_tag("stage3_bf16_ws3", false)->show(ViewRequest::parse("weights").value()).ok());
}

}  // namespace
}  // namespace weights
}  // namespace ckptfs::view
