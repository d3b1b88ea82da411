// Derived views that are right pass, and each planted fault is found by the tensor's name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "ckptfs/extent.h"
#include "model/rounding.h"
#include "pt/archive_builder.h"
#include "support/fake_files.h"
#include "support/records.h"
#include "unit/verify/plain_view.h"
#include "verify/verify_derived_view.h"

namespace ckptfs::verify {
namespace derived_view {
namespace {

using ckptfs::test::MemoryFile;
using model::DType;
using model::Elements;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t numel = 6;

std::string little_endian(std::uint64_t value) {
    std::string result(sizeof value, '\0');
    std::memcpy(result.data(), &value, sizeof value);
    return result;
}

/// Two parameters of six elements with masters, moments and no weights, and a buffer of integers. All lie in one file.
class DerivedView : public testing::Test {
 protected:
    DerivedView() {
        std::vector<float> values(4 * numel);
        for (std::size_t index = 0; index < values.size(); ++index) {
            values[index] = 1.0F + 0.001F * static_cast<float>(index);
        }
        source_bytes_.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
        source_bytes_ += little_endian(42);
        source_ = std::make_shared<MemoryFile>(source_bytes_, "source");
        model::Group group;
        group.states = {"exp_avg"};
        for (const char* name : {"a", "b"}) {
            model::Parameter parameter;
            parameter.name = name;
            parameter.shape = {2, 3};
            parameter.numel = numel;
            parameter.master = floats(group.parameters.size());
            parameter.states = {floats(2 + group.parameters.size())};
            parameter.dtype = DType::bfloat16;
            group.parameters.push_back(std::move(parameter));
        }
        model::Rank rank;
        rank.groups.push_back(std::move(group));
        rank.buffers.push_back(
            {"steps", {}, Elements(DType::int64, 1, model::Contiguous{source_.get(), 4 * numel * 4})});
        rank.tied.push_back({"tied", "a"});
        model_.ranks.push_back(std::move(rank));
    }

    [[nodiscard]] Elements floats(std::size_t block) const {
        return {DType::float32, numel, model::Contiguous{source_.get(), block * numel * sizeof(float)}};
    }
    [[nodiscard]] PieceList pieces(std::size_t block) const {
        PieceList result;
        floats(block).append(result);
        return result;
    }
    /// As bfloat16, as a view would convert it.
    [[nodiscard]] PieceList rounded(std::size_t block) const {
        std::string bytes;
        for (std::size_t index = 0; index < numel; ++index) {
            std::uint32_t bits = 0;
            std::memcpy(&bits, source_bytes_.data() + (block * numel + index) * sizeof bits, sizeof bits);
            const std::uint16_t code = model::bfloat16_of_float32(bits);
            bytes.append(reinterpret_cast<const char*>(&code), sizeof code);
        }
        PieceList result;
        result.add_literal(bytes);
        return result;
    }
    [[nodiscard]] PieceList buffer() const {
        PieceList result;
        result.add_source(source_.get(), 4 * numel * 4, 8);
        return result;
    }

    void add(const std::string& name, const PieceList& list) {
        const auto file = VirtualFile::create(name, list, source_);
        ASSERT_TRUE(file.ok()) << file.error().message();
        view_.add(*file);
    }
    void add_safetensors(const std::string& name, const std::string& header, const std::vector<PieceList>& tensors) {
        PieceList list;
        list.add_literal(little_endian(header.size()) + header);
        for (const PieceList& tensor : tensors) {
            list.append(tensor);
        }
        add(name, list);
    }
    void add_universal(const std::string& name, const PieceList& content) {
        pt::ArchiveBuilder builder;
        const std::size_t storage = builder.add_storage(DType::float32, numel, "cpu", content);
        const auto* tensor = builder.tensor(storage, 0, {2, 3});
        const auto* root = builder.pickle().dict({builder.pickle().string("param"), tensor});
        const auto file = builder.lay_out(root, name.substr(name.rfind('/') + 1), source_);
        ASSERT_TRUE(file.ok()) << file.error().message();
        view_.add(*file, name);
    }

    std::vector<std::string> problems_of(
        const char* request, const Naming& naming = [](const std::string& name) { return std::optional(name); }) {
        Problems problems;
        const auto totals = verify_derived_view(model_, view_, ViewRequest::parse(request).value(), naming,
                                                ckptfs::test::read_records, problems);
        EXPECT_TRUE(totals.ok()) << totals.error().message();
        if (totals) {
            totals_ = *totals;
        }
        return problems.kept();
    }

    std::string source_bytes_;
    std::shared_ptr<const File> source_;
    model::Checkpoint model_;
    PlainView view_;
    ViewTotals totals_;
};

const std::string masters = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                            R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[24,48]},)"
                            R"("steps":{"dtype":"I64","shape":[],"data_offsets":[48,56]}})";
const std::string weights = R"({"steps":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                            R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
                            R"("tied":{"dtype":"BF16","shape":[2,3],"data_offsets":[20,32]}})";

TEST_F(DerivedView, WeightsThatAreRightPass) {
    add_safetensors("model.safetensors", masters, {pieces(0), pieces(1), buffer()});
    EXPECT_THAT(problems_of("weights-fp32"), IsEmpty());
    EXPECT_EQ(totals_.tensors, 3U);
    EXPECT_EQ(totals_.compared_nbytes, 56U);
}

TEST_F(DerivedView, ConvertedWeightsThatAreRightPass) {
    add_safetensors("model.safetensors", weights, {buffer(), rounded(1), rounded(0)});
    EXPECT_THAT(problems_of("weights"), IsEmpty());
    EXPECT_THAT(problems_of("weights-bf16"), IsEmpty());
}

TEST_F(DerivedView, AWrongRoundingIsFound) {
    PieceList truncated;
    std::string bytes;
    for (std::size_t index = 0; index < numel; ++index) {
        bytes += source_bytes_.substr((numel + index) * 4 + 2, 2);
    }
    truncated.add_literal(bytes);
    add_safetensors("model.safetensors", weights, {buffer(), truncated, rounded(0)});
    EXPECT_THAT(problems_of("weights"), ElementsAre(HasSubstr("tensor 'b', weight: differs from the source")));
}

TEST_F(DerivedView, AnotherDTypeIsFound) {
    add_safetensors("model.safetensors", masters, {pieces(0), pieces(1), buffer()});
    EXPECT_THAT(problems_of("weights"),
                Contains(HasSubstr("tensor 'a', weight: is float32 [2, 3] in the view, expected bfloat16 [2, 3]")));
}

TEST_F(DerivedView, SwappedTensorsAreFound) {
    add_safetensors("model.safetensors", masters, {pieces(1), pieces(0), buffer()});
    const auto problems = problems_of("weights-fp32");
    EXPECT_THAT(problems, Contains(HasSubstr("tensor 'a', weight: differs from the source from element 0 of 6 on")));
    EXPECT_THAT(problems, Contains(HasSubstr("are shown nowhere")));
}

TEST_F(DerivedView, BytesFromAnotherPlaceAreFoundAlsoWhereTheyAreEqual) {
    const auto twin = std::make_shared<MemoryFile>(source_bytes_, "twin");
    PieceList copy;
    copy.add_source(twin.get(), 0, numel * 4);
    add_safetensors("model.safetensors", masters, {copy, pieces(1), buffer()});
    EXPECT_THAT(problems_of("weights-fp32"),
                ElementsAre(HasSubstr("tensor 'a', weight: bytes 0 to 24 of 'source' are")));
}

TEST_F(DerivedView, WhatIsMissingTwiceOrForeignIsFound) {
    const std::string header = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                               R"("c":{"dtype":"F32","shape":[2,3],"data_offsets":[24,48]}})";
    add_safetensors("1.safetensors", header, {pieces(0), pieces(1)});
    add_safetensors("2.safetensors", header, {pieces(0), pieces(1)});
    const auto problems = problems_of("weights-fp32");
    EXPECT_THAT(problems, Contains(HasSubstr("both '1.safetensors' and '2.safetensors' show it")));
    EXPECT_THAT(problems, Contains(HasSubstr("the source has no such tensor")));
    EXPECT_THAT(problems, Contains(HasSubstr("tensor 'b', weight: the view does not show it")));
    EXPECT_THAT(problems, Contains(HasSubstr("tensor 'steps', weight: the view does not show it")));
}

TEST_F(DerivedView, NamesAreThoseOfTheView) {
    const std::string header = R"({"x.a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
    add_safetensors("model.safetensors", header, {pieces(0)});
    EXPECT_THAT(
        problems_of("weights-fp32",
                    [](const std::string& name) { return name == "a" ? std::optional("x." + name) : std::nullopt; }),
        IsEmpty());
}

TEST_F(DerivedView, AnIndexIsHeldAgainstTheFiles) {
    add_safetensors("model.safetensors", masters, {pieces(0), pieces(1), buffer()});
    PieceList index;
    index.add_literal(R"({"weight_map":{"a":"model.safetensors","b":"other.safetensors","c":"x"}})");
    add("model.safetensors.index.json", index);
    const auto problems = problems_of("weights-fp32");
    EXPECT_THAT(problems, Contains(HasSubstr("'b' is said to be in 'other.safetensors'")));
    EXPECT_THAT(problems, Contains(HasSubstr("'steps' is said to be in ''")));
    EXPECT_THAT(problems, Contains(HasSubstr("names the tensor 'c'")));
    EXPECT_EQ(problems.size(), 3U);
}

TEST_F(DerivedView, StatesAreOneFileEach) {
    const std::string header = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                               R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[24,48]}})";
    add_safetensors("fp32.safetensors", header, {pieces(0), pieces(1)});
    add_safetensors("exp_avg.safetensors", header, {pieces(2), pieces(3)});
    EXPECT_THAT(problems_of("states"), IsEmpty());
    EXPECT_EQ(totals_.tensors, 4U);
}

TEST_F(DerivedView, UniversalFilesAreReadByBothReaders) {
    add_universal("zero/a/fp32.pt", pieces(0));
    add_universal("zero/a/exp_avg.pt", pieces(2));
    add_universal("zero/b/fp32.pt", pieces(1));
    EXPECT_THAT(problems_of("universal"), ElementsAre("tensor 'b', exp_avg: the view does not show it"));
    add_universal("zero/b/exp_avg.pt", pieces(2));
    EXPECT_THAT(problems_of("universal"), Contains(HasSubstr("tensor 'b', exp_avg: differs")));
    EXPECT_GT(totals_.records, 8U);
}

// As the converter leaves stage 3: bare tensors of one axis. As it leaves stages 1 and 2: the module's other tensors
// too.
TEST_F(DerivedView, UniversalFilesHaveBothFormsOfTheConverter) {
    const auto add_bare = [&](const std::string& name, std::size_t block) {
        pt::ArchiveBuilder builder;
        const std::size_t storage = builder.add_storage(DType::float32, numel, "cpu", pieces(block));
        const auto file =
            builder.lay_out(builder.tensor(storage, 0, {numel}), name.substr(name.rfind('/') + 1), source_);
        ASSERT_TRUE(file.ok()) << file.error().message();
        view_.add(*file, name);
    };
    add_bare("zero/a/fp32.pt", 0);
    add_bare("zero/a/exp_avg.pt", 2);
    add_bare("zero/b/fp32.pt", 1);
    add_bare("zero/b/exp_avg.pt", 3);
    EXPECT_THAT(problems_of("universal"), IsEmpty());
    model::Rank& rank = model_.ranks.front();
    rank.buffers.clear();
    rank.groups.front().parameters[0].weight = floats(0);
    model::Parameter frozen;
    frozen.name = "frozen.x";
    frozen.shape = {2, 3};
    frozen.numel = numel;
    frozen.trainable = false;
    frozen.weight = floats(1);
    rank.frozen.push_back(frozen);
    EXPECT_THAT(problems_of("universal"),
                testing::UnorderedElementsAre("tensor 'frozen.x', fp32: the view does not show it",
                                              "tensor 'tied', fp32: the view does not show it"));
    add_universal("zero/frozen.x/fp32.pt", pieces(1));
    add_universal("zero/tied/fp32.pt", pieces(0));
    EXPECT_THAT(problems_of("universal"), IsEmpty());
}

TEST_F(DerivedView, TwoTensorsOfOneNameAreReported) {
    model_.ranks.front().groups.front().states = {"fp32"};
    add_safetensors("fp32.safetensors", masters.substr(0, masters.find(R"(,"steps")")) + "}", {pieces(0), pieces(1)});
    EXPECT_THAT(problems_of("states"), Contains("tensor 'a', fp32: one rank of the source has two of this name"));
}

TEST_F(DerivedView, PartsOfSeveralRanksAreJoinedAlongTheAxisThatGrew) {
    for (model::Parameter& parameter : model_.ranks.front().groups.front().parameters) {
        parameter.states.clear();
    }
    model_.ranks.front().groups.front().states.clear();
    model::Rank second = model_.ranks.front();
    second.groups.front().parameters[0].master = floats(2);
    model_.ranks.push_back(second);  // b is the same on both
    PieceList joined;
    for (const std::uint64_t row : {0U, 1U}) {
        floats(0).append(row * 3, 3, joined);
        floats(2).append(row * 3, 3, joined);
    }
    add_safetensors("fp32.safetensors",
                    R"({"a":{"dtype":"F32","shape":[2,6],"data_offsets":[0,48]},)"
                    R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[48,72]}})",
                    {joined, pieces(1)});
    EXPECT_THAT(problems_of("states"), IsEmpty());
}

}  // namespace
}  // namespace derived_view
}  // namespace ckptfs::verify
