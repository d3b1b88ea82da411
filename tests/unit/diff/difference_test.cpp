// Sides that a test makes: what counts as a difference, and that every block is compared.
#include "diff/difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "diff/report.h"

namespace ckptfs::diff {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Floats in memory.
class Numbers final : public File {
 public:
    explicit Numbers(std::vector<float> values) : values_(std::move(values)) {}
    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return values_.size() * sizeof(float); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (fails) {
            return Error(ErrorCode::io, "cannot be read");
        }
        std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values_.data()) + offset, out.size());
        return {};
    }

    bool fails = false;

 private:
    std::string name_ = "numbers";
    std::vector<float> values_;
};

class DifferenceOfSides : public testing::Test {
 protected:
    DifferenceOfSides() {
        for (Side* side : {&a_, &b_}) {
            side->display = side == &a_ ? "a" : "b";
            side->format = "ZeRO-3";
        }
    }

    std::shared_ptr<Numbers> add(Side& side, const std::string& name, std::vector<float> values,
                                 const std::string& kind = "master") {
        const auto file = std::make_shared<Numbers>(values);
        const auto [known, is_new] = side.index.try_emplace(name, side.entries.size());
        if (is_new) {
            side.entries.push_back({name, "trained", 0, model::DType::float32, {}});
        }
        side.entries[known->second].tensors.emplace(
            kind, Tensor{model::DType::float32,
                         {values.size()},
                         values.size(),
                         [file](std::uint64_t from, std::uint64_t count, PieceList& out) {
                             out.add_source(file.get(), from * sizeof(float), count * sizeof(float));
                         }});
        return file;
    }

    Difference run(std::size_t threads = 3) {
        Work work;
        auto found = find_difference(a_, b_, threads, work);
        EXPECT_TRUE(found.ok());
        EXPECT_EQ(work.nbytes, work.total);
        return std::move(found).value();
    }

    Side a_;
    Side b_;
};

TEST_F(DifferenceOfSides, EveryBlockIsCompared) {
    std::vector<float> values(block_numel * 3 + 5, 1);
    add(a_, "w", values);
    values[0] = 1.5;
    values[block_numel - 1] = 2;
    values[block_numel] = 3;
    values.back() = 9;
    add(b_, "w", values);
    add(a_, "empty", {});
    add(b_, "empty", {});
    add(a_, "z", {1});
    add(b_, "z", {1});
    for (const std::size_t threads : {1U, 5U}) {
        const Difference found = run(threads);
        ASSERT_THAT(found.tensors, SizeIs(1));
        EXPECT_EQ(found.tensors[0].elements.different, 4U);
        EXPECT_EQ(found.tensors[0].elements.max_absolute, 8);
        EXPECT_EQ(found.names, 3U);
        ASSERT_THAT(found.kinds, SizeIs(1));
        EXPECT_EQ(found.kinds[0].tensors, 3U);
        EXPECT_EQ(found.kinds[0].tensors_different, 1U);
    }
}

TEST_F(DifferenceOfSides, NamesOfOneSideShapesAndStates) {
    add(a_, "left", {1});
    add(b_, "right", {1});
    add(a_, "shape", {1, 2});
    add(b_, "shape", {1, 2, 3});
    add(a_, "state", {1});
    add(b_, "state", {1});
    add(b_, "state", {1}, "exp_avg");
    const Difference found = run();
    EXPECT_THAT(found.only_in_a, ElementsAre("left"));
    EXPECT_THAT(found.only_in_b, ElementsAre("right"));
    ASSERT_THAT(found.tensors, SizeIs(2));
    EXPECT_EQ(found.tensors[0].name, "shape");
    EXPECT_EQ(found.tensors[0].numel, 0U);
    EXPECT_EQ(found.tensors[1].kind, "exp_avg");
    EXPECT_FALSE(found.tensors[1].a.has_value());
    const std::string text = as_text(a_, b_, found, 80);
    for (const char* part : {"only in A\n  left\n", "float32 [2] in A, float32 [3] in B",
                             "kept by one side only\n  exp_avg of 1 tensor: in B\n"}) {
        EXPECT_THAT(text, HasSubstr(part));
    }
}

TEST_F(DifferenceOfSides, AWeightThatStageThreeDoesNotKeepIsNone) {
    add(a_, "w", {1});
    add(b_, "w", {1});
    add(b_, "w", {1}, "weight");
    const Difference found = run();
    EXPECT_TRUE(found.is_none());
    EXPECT_THAT(found.notes, ElementsAre(HasSubstr("keeps masters alone")));
    b_.entries[0].engine_dtype = model::DType::bfloat16;
    EXPECT_THAT(run().values, SizeIs(1)) << "what the engine computes with";
}

TEST_F(DifferenceOfSides, TiedNamesAreSetsWhicheverOwnsTheTensor) {
    add(a_, "in", {1, 2});
    a_.tied = {{"out", "in"}};
    add(b_, "out", {1, 2});
    b_.tied = {{"in", "out"}};
    Difference found = run();
    EXPECT_TRUE(found.is_none()) << as_text(a_, b_, found, 80);
    EXPECT_EQ(found.names, 2U);
    add(b_, "in", {1, 3});
    b_.tied.clear();
    found = run();
    ASSERT_THAT(found.tensors, SizeIs(1));
    EXPECT_EQ(found.tensors[0].name, "in");
    ASSERT_THAT(found.values, SizeIs(2));
    EXPECT_EQ(found.values[0].name, "tied to");
}

TEST_F(DifferenceOfSides, NumbersAreMatchedByTheirPlace) {
    a_.numbers = {{"", "global_steps", std::int64_t{2}}, {"group 0", "lr", 0.1}, {"group 1", "lr", 0.1}};
    b_.numbers = {{"", "global_steps", std::int64_t{3}}, {"group 0", "lr", 0.1}, {"group 0", "eps", 1e-8}};
    Difference found = run();
    EXPECT_EQ(found.numbers, 2U);
    ASSERT_THAT(found.values, SizeIs(3));
    EXPECT_THAT(as_text(a_, b_, found, 80), HasSubstr("global_steps  2 -> 3\n"));
    b_.format = "ZeRO-1/2";
    found = run();
    ASSERT_THAT(found.values, SizeIs(1)) << "formats keep different numbers";
    EXPECT_THAT(found.notes, ElementsAre(HasSubstr("2 counters and hyper-parameters")));
}

TEST_F(DifferenceOfSides, NumbersAreComparedByValue) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    a_.numbers = {
        {"g", "nan", nan}, {"g", "zero", std::int64_t{0}}, {"g", "one", 1.0}, {"g", "word", std::string("x")}};
    b_.numbers = {
        {"g", "nan", nan}, {"g", "zero", 0.0}, {"g", "one", std::int64_t{1}}, {"g", "word", std::string("x")}};
    EXPECT_TRUE(run().is_none());
    const std::int64_t large = (std::int64_t{1} << 53) + 1;
    a_.numbers = {{"g", "nan", nan}, {"g", "large", large}, {"g", "flag", true}, {"g", "end", 0x1p63}};
    b_.numbers = {{"g", "nan", 1.0},
                  {"g", "large", 0x1p53},
                  {"g", "flag", std::int64_t{1}},
                  {"g", "end", std::numeric_limits<std::int64_t>::max()}};
    EXPECT_THAT(run().values, SizeIs(4));
}

TEST_F(DifferenceOfSides, WhatCannotBeReadIsAnError) {
    add(a_, "w", {1})->fails = true;
    add(b_, "w", {1});
    Work work;
    const auto found = find_difference(a_, b_, 2, work);
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().code(), ErrorCode::io);
}

TEST_F(DifferenceOfSides, WhatIsNotFiniteIsNullInJson) {
    add(a_, "w", {1});
    add(b_, "w", {std::numeric_limits<float>::infinity()});
    const auto json = nlohmann::json::parse(as_json(a_, b_, run()));
    EXPECT_EQ(json["same"], false);
    EXPECT_EQ(json["tensors"][0]["numel_not_finite"], 1);
    EXPECT_TRUE(json["tensors"][0]["max_absolute"].is_null());
    Difference far;
    far.kinds = {{"weight", 1, 1, 1, {1, 0, std::numeric_limits<double>::infinity(), 2, true}}};
    const auto kind = nlohmann::json::parse(as_json(a_, b_, far))["kinds"][0];
    EXPECT_TRUE(kind["max_absolute"].is_null()) << "above what a double holds";
    EXPECT_EQ(kind["max_relative"], 2);
    EXPECT_THAT(json["only_in_a"].get<std::vector<std::string>>(), IsEmpty());
    EXPECT_THAT(as_text(a_, b_, run(), 80), HasSubstr("1 not finite"));
}

}  // namespace
}  // namespace ckptfs::diff
