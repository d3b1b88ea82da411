// Whole models out of model-parallel ranks.
#include "zero/join_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "support/edited_tag.h"
#include "zero/reader.h"

namespace ckptfs::zero {
namespace join_ranks_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Patterns = std::map<std::string, std::vector<std::string>>;

const Patterns fitting{{"tp_replicated_parameter_patterns", {"embedding\\.weight", ".*norm\\.(weight|bias)$"}},
                       {"parameter_with_row_parallelism_patterns", {"blocks\\.\\d+\\.down\\.weight"}}};

void add_info(test::EditedTag& tag, const Patterns& patterns) {
    for (const std::string& name : tag.names("model_states")) {
        tag.edit(name, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            pickle::Editor& pickle = editor.pickle();
            std::vector<const pickle::Node*> items;
            for (const auto& [key, texts] : patterns) {
                std::vector<const pickle::Node*> list;
                for (const std::string& text : texts) {
                    list.push_back(pickle.string(text));
                }
                items.push_back(pickle.string(key));
                items.push_back(pickle.list(list));
            }
            pickle::Node* extended = pickle.copy(root);
            extended->items.insert(extended->items.end(),
                                   {pickle.string("universal_checkpoint_info"), pickle.dict(items)});
            pickle.replace(root, extended);
        });
    }
}

std::shared_ptr<const Written> read(const test::EditedTag& tag) {
    const auto source = tag.source();
    const auto checkpoint = read_checkpoint(*source, "tag");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    return *checkpoint;
}

Result<model::Checkpoint> join(const Written& checkpoint) {
    return join_model_parallel(checkpoint.content, checkpoint.families);
}

std::string bytes_of(const model::Elements& elements) {
    PieceList pieces;
    elements.append(pieces);
    const auto file = VirtualFile::create("elements", std::move(pieces), nullptr);
    std::string bytes((*file)->size(), '\0');
    EXPECT_TRUE((*file)->read(0, std::as_writable_bytes(std::span(bytes))).ok());
    return bytes;
}

/// What the rules in `fitting` say, byte by byte.
std::string joined_bytes(const std::string& name, const std::vector<std::string>& slices, std::uint64_t rows) {
    if (name.find("norm") != std::string::npos || name == "embedding.weight") {
        return slices[0];
    }
    if (name.find("down.weight") == std::string::npos) {
        return slices[0] + slices[1];
    }
    std::string whole;
    for (std::uint64_t row = 0; row < rows; ++row) {
        for (const std::string& slice : slices) {
            whole += slice.substr(row * slice.size() / rows, slice.size() / rows);
        }
    }
    return whole;
}

void expect_joined(const std::string& name, std::uint64_t rows, const model::Elements& whole,
                   const std::vector<model::Elements>& slices) {
    std::vector<std::string> bytes;
    for (const model::Elements& slice : slices) {
        bytes.push_back(bytes_of(slice));
    }
    EXPECT_EQ(bytes_of(whole), joined_bytes(name, bytes, rows)) << name;
}

class TensorParallel : public testing::TestWithParam<std::string> {};

TEST_P(TensorParallel, RanksMakeOneModel) {
    test::EditedTag tag(GetParam());
    add_info(tag, fitting);
    const auto checkpoint = read(tag);
    const auto joined = join(*checkpoint);
    ASSERT_TRUE(joined.ok()) << joined.error().message();
    ASSERT_EQ(joined->ranks.size(), 1U);
    const std::vector<model::Rank>& ranks = checkpoint->content.ranks;
    const model::Rank& whole = joined->ranks[0];
    ASSERT_EQ(whole.groups.size(), ranks[0].groups.size());
    std::map<std::string, std::vector<std::uint64_t>> shapes;
    for (std::size_t g = 0; g < whole.groups.size(); ++g) {
        EXPECT_EQ(whole.groups[g].step, 2.0);
        ASSERT_EQ(whole.groups[g].parameters.size(), ranks[0].groups[g].parameters.size());
        for (std::size_t p = 0; p < whole.groups[g].parameters.size(); ++p) {
            const model::Parameter& parameter = whole.groups[g].parameters[p];
            const model::Parameter& left = ranks[0].groups[g].parameters[p];
            const model::Parameter& right = ranks[1].groups[g].parameters[p];
            shapes[parameter.name] = parameter.shape;
            const std::uint64_t rows = parameter.shape[0];
            EXPECT_EQ(parameter.master->numel(), parameter.numel);
            expect_joined(parameter.name, rows, *parameter.master, {*left.master, *right.master});
            ASSERT_EQ(parameter.states.size(), 2U);
            expect_joined(parameter.name, rows, parameter.states[1], {left.states[1], right.states[1]});
            ASSERT_EQ(parameter.weight.has_value(), left.weight.has_value());
            if (parameter.weight) {
                expect_joined(parameter.name, rows, *parameter.weight, {*left.weight, *right.weight});
            }
        }
    }
    EXPECT_THAT(shapes["blocks.0.up.weight"], ElementsAre(9, 7));
    EXPECT_THAT(shapes["blocks.0.up.bias"], ElementsAre(9));
    EXPECT_THAT(shapes["blocks.0.down.weight"], ElementsAre(7, 9));
    EXPECT_THAT(shapes["embedding.weight"], ElementsAre(11, 7));
    ASSERT_EQ(whole.tied.size(), 1U);
    EXPECT_EQ(whole.tied[0].name, "head.weight");
    EXPECT_EQ(whole.order, ranks[0].order);
}

INSTANTIATE_TEST_SUITE_P(Stages, TensorParallel,
                         testing::Values("tensor_parallel_stage1_ws4", "tensor_parallel_stage2_ws4",
                                         "tensor_parallel_stage3_ws4"),
                         [](const auto& of) { return of.param; });

void expect_refused(const Patterns& patterns, ErrorCode code, const std::string& text) {
    test::EditedTag tag("tensor_parallel_stage2_ws4");
    if (!patterns.empty()) {
        add_info(tag, patterns);
    }
    const auto checkpoint = read(tag);
    const auto joined = join(*checkpoint);
    ASSERT_FALSE(joined.ok());
    EXPECT_EQ(joined.error().code(), code) << joined.error().message();
    EXPECT_THAT(joined.error().message(), HasSubstr(text));
}

TEST(JoinRanks, WithoutRulesTheyAreRefused) {
    expect_refused({}, ErrorCode::unsupported, "universal_checkpoint_info is missing");
}

TEST(JoinRanks, RulesForOtherNamesAreRefused) {
    Patterns patterns = fitting;
    patterns["vocabulary_parameter_patterns"] = {"word_embeddings\\.weight"};
    expect_refused(patterns, ErrorCode::inconsistent, "'word_embeddings\\.weight' matches no parameter");
}

TEST(JoinRanks, TwoRulesOfAKindAreRefused) {
    Patterns patterns = fitting;
    patterns["tp_replicated_parameter_patterns"].push_back("embedding");
    expect_refused(patterns, ErrorCode::inconsistent, "match embedding.weight");
}

TEST(JoinRanks, MeansAreRefused) {
    Patterns patterns = fitting;
    patterns["parameter_to_average_patterns"] = {"blocks\\.0\\.up\\.bias"};
    expect_refused(patterns, ErrorCode::unsupported, "slices of blocks.0.up.bias cannot be joined");
}

TEST(JoinRanks, PipelineStagesStandSideBySide) {
    const auto checkpoint = read(test::EditedTag("pipeline_stage1_ws4"));
    const auto joined = join(*checkpoint);
    ASSERT_TRUE(joined.ok()) << joined.error().message();
    ASSERT_EQ(joined->ranks.size(), 1U);
    const model::Rank& whole = joined->ranks[0];
    ASSERT_EQ(whole.groups.size(), 4U);
    std::map<std::string, std::string> found;
    for (const model::Group& group : whole.groups) {
        for (const model::Parameter& parameter : group.parameters) {
            found[parameter.name] = bytes_of(*parameter.master);
        }
    }
    std::map<std::string, std::string> expected;
    for (const model::Rank& rank : checkpoint->content.ranks) {
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                expected[parameter.name] = bytes_of(*parameter.master);
            }
        }
    }
    EXPECT_EQ(found, expected);
    EXPECT_EQ(whole.order.size(), found.size());
    EXPECT_EQ(whole.order.front(), "0.position");
    EXPECT_EQ(whole.order.back(), "3.head.weight");
}

TEST(JoinRanks, OneRankIsGivenBack) {
    const auto checkpoint = read(test::EditedTag("stage2_fp32_ws2"));
    const auto joined = join(*checkpoint);
    ASSERT_TRUE(joined.ok());
    EXPECT_EQ(joined->ranks.front().order, checkpoint->content.ranks.front().order);
}

}  // namespace
}  // namespace join_ranks_test
}  // namespace ckptfs::zero
