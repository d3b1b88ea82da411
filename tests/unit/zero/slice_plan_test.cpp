// Rules of tensor parallelism against what DeepSpeed's converter made of them (tests/data/zero/make_slice_tables.py).
#include "zero/slice_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "io/posix_source.h"
#include "support/fake_files.h"
#include "support/test_data.h"

namespace ckptfs::zero {
namespace slice_plan {
namespace {

using testing::HasSubstr;

std::shared_ptr<const pt::Archive> tables() {
    const auto source = io::DirectorySource::open_directory((test_data() / "zero").string());
    return pt::Archive::open((*source)->open("slice_tables.pt").value()).value();
}

std::vector<std::int32_t> integers(const pickle::Node* list) {
    std::vector<std::int32_t> result;
    for (const pickle::Node* item : list->items) {
        result.push_back(static_cast<std::int32_t>(item->integer));
    }
    return result;
}

std::vector<std::uint64_t> extents(const pickle::Node* list) {
    std::vector<std::uint64_t> result;
    for (const std::int32_t extent : integers(list)) {
        result.push_back(static_cast<std::uint64_t>(extent));
    }
    return result;
}

std::string bytes_of(const std::vector<std::int32_t>& values) {
    std::string bytes(values.size() * sizeof(std::int32_t), '\0');
    if (!values.empty()) {
        std::memcpy(bytes.data(), values.data(), bytes.size());
    }
    return bytes;
}

std::vector<std::int32_t> read_all(const model::Elements& elements) {
    PieceList pieces;
    elements.append(pieces);
    const auto file = VirtualFile::create("whole", std::move(pieces), nullptr);
    std::vector<std::int32_t> values(elements.numel());
    EXPECT_EQ((*file)->size(), values.size() * sizeof(std::int32_t));
    EXPECT_TRUE((*file)->read(0, std::as_writable_bytes(std::span(values))).ok());
    return values;
}

TEST(SlicePlan, JoinsAsDeepSpeedDoes) {
    const auto archive = tables();
    const auto& cases = archive->root()->items;
    ASSERT_GT(cases.size(), 20U);
    for (const pickle::Node* table : cases) {
        const std::string name = pickle::find(table, "name")->text;
        SCOPED_TRACE(name);
        const auto rules = SliceRules::read({pickle::find(table, "info"), {name, "info"}},
                                            static_cast<std::uint64_t>(pickle::find(table, "degree")->integer));
        ASSERT_TRUE(rules.ok()) << rules.error().message();
        EXPECT_EQ(rules->unmatched({"layers.0.p"}).value(), std::nullopt);
        const auto rule = rules->rule_of("layers.0.p");
        ASSERT_TRUE(rule.ok()) << rule.error().message();
        std::vector<std::vector<std::uint64_t>> shapes;
        std::vector<std::unique_ptr<test::MemoryFile>> files;
        std::vector<model::Elements> slices;
        for (const pickle::Node* shape : pickle::find(table, "shapes")->items) {
            const auto values = integers(pickle::find(table, "slices")->items[shapes.size()]);
            shapes.push_back(extents(shape));
            files.push_back(std::make_unique<test::MemoryFile>(bytes_of(values), "slice"));
            slices.emplace_back(model::DType::int32, values.size(), model::Contiguous{files.back().get(), 0});
        }
        const auto plan = plan_slices("layers.0.p", *rule, shapes);
        ASSERT_TRUE(plan.ok()) << plan.error().message();
        EXPECT_EQ(read_all(plan->apply(slices)), integers(pickle::find(table, "whole")));
        if (pickle::find(table, "own_shape")->integer != 0) {
            EXPECT_EQ(plan->shape, extents(pickle::find(table, "shape")));
        }
    }
}

void expect_refused(const SliceForm& form, const std::vector<std::vector<std::uint64_t>>& shapes, ErrorCode code,
                    const std::string& text) {
    const auto plan = plan_slices("p", {form, std::nullopt}, shapes);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.error().code(), code);
    EXPECT_THAT(plan.error().message(), HasSubstr(text));
}

TEST(SlicePlan, WhatDoesNotFitIsRefused) {
    expect_refused(ConcatenatedSlices{0}, {{2, 3}, {2, 4}}, ErrorCode::inconsistent, "differ in more than axis 0");
    expect_refused(ConcatenatedSlices{1}, {{3}, {3}}, ErrorCode::inconsistent, "cut along axis 1");
    expect_refused(ReplicatedSlices{}, {{2}, {3}}, ErrorCode::inconsistent, "whole on every rank");
    expect_refused(AveragedSlices{}, {{2}, {2}}, ErrorCode::unsupported, "mean");
    expect_refused(SubParameterSlices{{3, -1}, 0, {}, 3, {}}, {{4, 2}, {3, 2}}, ErrorCode::inconsistent,
                   "3 equal sub-parameters");
    expect_refused(SubParameterSlices{{3, -1}, 0, {3, 5}, 0, {}}, {{4, 2}, {4, 2}}, ErrorCode::inconsistent,
                   "not cut evenly");
    expect_refused(SubParameterSlices{{8, -1}, 0, {5, 3}, 0, {{3, 2}, {2, 1}}}, {{4, 2}, {4, 2}},
                   ErrorCode::inconsistent, "as many elements as the slice of rank 0");
    expect_refused(SubParameterSlices{{8, -1}, 0, {5, 3}, 0, {{UINT64_MAX, 2}, {1, 2}}}, {{4, 2}, {4, 2}},
                   ErrorCode::inconsistent, "wider than its slices");
    const AffinePiece half{{2, 2}, 0, {2, 1}, 0, {2, 1}, 1};
    AffinePiece scaled = half;
    scaled.scale = 0.5;
    expect_refused(AffineSlices{{2, 2}, {{scaled}, {scaled}}}, {{2, 2}, {2, 2}}, ErrorCode::unsupported, "scales it");
    expect_refused(AffineSlices{{4, 2}, {{half}, {half}}}, {{2, 2}, {2, 2}}, ErrorCode::inconsistent,
                   "do not cover it");
    AffinePiece transposed = half;
    transposed.slice_strides = {1, 2};
    expect_refused(AffineSlices{{2, 2}, {{transposed}, {transposed}}}, {{2, 2}, {2, 2}}, ErrorCode::unsupported,
                   "along one axis");
    AffinePiece outside = half;
    outside.slice_offset = 1;
    expect_refused(AffineSlices{{4, 2}, {{outside}, {half}}}, {{2, 2}, {2, 2}}, ErrorCode::unsupported,
                   "along one axis");
}

TEST(SlicePlan, RulesOfOtherRanksThanHoldItAreRefused) {
    const AffinePiece half{{2, 2}, 0, {2, 1}, 0, {2, 1}, 1};
    AffinePiece other = half;
    other.source_offset = 4;
    const AffineSlices two{{4, 2}, {{half}, {other}}};
    EXPECT_TRUE(plan_slices("p", {two, std::nullopt}, std::vector<std::vector<std::uint64_t>>{{2, 2}, {2, 2}}).ok());
    expect_refused(two, {{2, 2}}, ErrorCode::inconsistent, "of 2 ranks, and 1 hold it");
    expect_refused(two, {{2, 2}, {2, 2}, {2, 2}}, ErrorCode::inconsistent, "of 2 ranks, and 3 hold it");
    const SubParameterSlices wide{{8, -1}, 0, {5, 3}, 0, {{3, 2}, {2, 1}}};
    expect_refused(wide, {{5, 2}}, ErrorCode::inconsistent, "widths for 2 ranks, and 1 hold it");
    expect_refused(wide, {{5, 2}, {3, 2}, {1, 2}}, ErrorCode::inconsistent, "widths for 2 ranks, and 3 hold it");
    expect_refused(SubParameterSlices{{8}, 1, {5, 3}, 0, {}}, {{8}}, ErrorCode::inconsistent, "axis");
    expect_refused(ReplicatedSlices{}, {}, ErrorCode::inconsistent, "no rank holds it");
}

TEST(SlicePlan, CountsOfSubParametersAreNoLargerThanTheParameter) {
    constexpr std::uint64_t many = std::uint64_t{1} << 40U;
    expect_refused(SubParameterSlices{{-1, 0}, 0, {}, many, {}}, {{many, 0}}, ErrorCode::inconsistent,
                   "0 elements in " + std::to_string(many));
    expect_refused(SubParameterSlices{{-1}, 0, {}, 1'000'000, {}}, {{500'000}, {500'000}}, ErrorCode::inconsistent,
                   "at most 65536");
    expect_refused(SubParameterSlices{{-1, 0}, 0, {}, 1, {}}, {{UINT64_MAX, 0}, {2, 0}}, ErrorCode::inconsistent,
                   "longer axis");
    expect_refused(ConcatenatedSlices{0}, {{UINT64_MAX, 0}, {2, 0}}, ErrorCode::inconsistent, "longer axis");
    const std::vector<std::vector<std::uint64_t>> shapes{{4, 2}, {4, 2}};
    const auto sizes = sub_parameter_sizes("p", {{-1, 2}, 0, {}, 4, {}}, shapes);
    ASSERT_TRUE(sizes.ok());
    EXPECT_EQ(*sizes, (std::vector<std::uint64_t>{2, 2, 2, 2}));
}

TEST(NamePatterns, MatchAsPythonMatches) {
    NamePatterns patterns;
    for (const char* pattern : {"^a\\.b$", "a.b", "a\\.", "[ab]+\\.c", "b", "(?P<n>z)(?=y)(?i:Y)(?P=n)"}) {
        ASSERT_TRUE(patterns.add(pattern).ok());
    }
    using Numbers = std::vector<std::size_t>;
    EXPECT_EQ(patterns.matches("a.b").value(), (Numbers{0, 1, 2}));
    EXPECT_EQ(patterns.matches("axb").value(), (Numbers{1}));
    EXPECT_EQ(patterns.matches("a.bc").value(), (Numbers{1, 2}));
    EXPECT_EQ(patterns.matches("aba.c").value(), (Numbers{3}));
    EXPECT_EQ(patterns.matches("x.b").value(), Numbers());
    EXPECT_EQ(patterns.matches("zyz").value(), (Numbers{5}));
}

TEST(NamePatterns, RefuseWhatTakesTooMuch) {
    NamePatterns patterns;
    const std::string long_pattern = std::string(2'000, 'x') + ".";
    for (const std::string& pattern : {std::string("((ab){200}){200}"), std::string("(a?){16000}"), long_pattern}) {
        const auto added = patterns.add(pattern);
        ASSERT_FALSE(added.ok()) << pattern;
        EXPECT_EQ(added.error().code(), ErrorCode::unsupported);
        EXPECT_THAT(added.error().message(), HasSubstr(pattern));
    }
    std::size_t added = 0;
    while (added < 1'000 && patterns.add("(layers\\.?){500}").ok()) {
        ++added;
    }
    EXPECT_GE(added, 5U);
    EXPECT_LT(added, 1'000U) << "expressions are bounded together";
}

TEST(NamePatterns, AHostileExpressionIsGivenUp) {
    NamePatterns patterns;
    ASSERT_TRUE(patterns.add("([ab]+)+c").ok());
    const auto matches = patterns.matches(std::string(500, 'a') + "!c");
    ASSERT_FALSE(matches.ok());
    EXPECT_EQ(matches.error().code(), ErrorCode::unsupported);
    EXPECT_THAT(matches.error().message(), HasSubstr("'([ab]+)+c' takes too many steps on the name 'aaa"));
}

}  // namespace
}  // namespace slice_plan
}  // namespace ckptfs::zero
