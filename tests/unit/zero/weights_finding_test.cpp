// Which differences between weights and masters are a training's own, and which those of two saves.
#include "zero/weights_finding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <deque>

namespace ckptfs::zero {
namespace weights_finding_of {
namespace {

using testing::HasSubstr;
using testing::Not;

class AnyFile final : public File {
 public:
    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return 0; }
    Result<void> read(std::uint64_t /*offset*/, std::span<std::byte> /*out*/) const override {
        return Error(ErrorCode::internal, "nothing reads it");
    }

 private:
    std::string name_ = "any";
};

/// What was compared, rank by rank.
class Comparison {
 public:
    explicit Comparison(std::size_t ranks) {
        checkpoint_.families.resize(1);
        for (std::uint64_t rank = 0; rank < ranks; ++rank) {
            weights_.ranks.push_back({0, rank, 0, 0, {}});
        }
    }

    const std::string* parameter(const std::string& name) { return &names_.emplace_back(name); }

    Comparison& add(std::size_t rank, const std::string* name, std::uint64_t compared, std::uint64_t different,
                    std::size_t file = 0) {
        RankWeights& of = weights_.ranks[rank];
        of.compared_numel += compared;
        of.different_numel += different;
        of.parameters.push_back({name, &files_.at(file), compared, different});
        return *this;
    }

    [[nodiscard]] WeightsFinding finding() const { return weights_finding(checkpoint_, weights_); }

 private:
    std::array<AnyFile, 2> files_;
    std::deque<std::string> names_;
    Written checkpoint_;
    WeightsComparison weights_;
};

TEST(WeightsFinding, OfWeightsThatFitIsNone) {
    Comparison found(2);
    const std::string* matrix = found.parameter("matrix");
    found.add(0, matrix, 1'000, 0).add(1, matrix, 1'000, 0);
    EXPECT_FALSE(found.finding().differ);
    EXPECT_FALSE(found.finding().mixed);
}

TEST(WeightsFinding, IsNoMixWhereAllRanksDiffer) {
    Comparison found(2);
    const std::string* matrix = found.parameter("matrix");
    found.add(0, matrix, 1'000, 900).add(1, matrix, 1'000, 950);
    EXPECT_TRUE(found.finding().differ);
    EXPECT_FALSE(found.finding().mixed);
    EXPECT_THAT(found.finding().text, HasSubstr("on ranks 0-1 (1850 of 2000 compared elements differ; parameters 'm"));
}

TEST(WeightsFinding, IsNoMixWhereChanceSparesARank) {
    Comparison found(4);
    const std::string* matrix = found.parameter("matrix");
    found.add(0, matrix, 1'000, 3).add(1, matrix, 1'000, 4).add(2, matrix, 1'000, 0).add(3, matrix, 1'000, 2);
    EXPECT_FALSE(found.finding().mixed);
    EXPECT_THAT(found.finding().text, HasSubstr("on ranks 0-1, 3 (9 of 4000"));
}

TEST(WeightsFinding, IsAMixWhereARankFitsThatHoldsTheSameParameter) {
    Comparison found(4);
    const std::string* matrix = found.parameter("matrix");
    found.add(0, matrix, 100'000, 0).add(1, matrix, 100'000, 300).add(2, matrix, 100'000, 0).add(3, matrix, 100'000, 0);
    EXPECT_TRUE(found.finding().mixed);
    EXPECT_THAT(found.finding().text, HasSubstr("on rank 1, while they are on ranks 0, 2-3 ("));
}

TEST(WeightsFinding, IsNoMixWhereAParameterWasClamped) {
    for (const std::uint64_t different : {std::uint64_t{1}, std::uint64_t{500}}) {
        Comparison found(3);
        const std::string* scale = found.parameter("scale");
        const std::string* matrix = found.parameter("matrix");
        found.add(0, scale, different, different).add(0, matrix, 100'000, 0);
        found.add(1, matrix, 100'000, 0).add(2, matrix, 100'000, 0);
        EXPECT_TRUE(found.finding().differ);
        EXPECT_FALSE(found.finding().mixed) << different;
        EXPECT_THAT(found.finding().text, HasSubstr("on rank 0 ("));
        EXPECT_THAT(found.finding().text, Not(HasSubstr("while")));
    }
}

TEST(WeightsFinding, IsNoMixWhereAFewElementsOfARanksOnlyParameterWereClamped) {
    Comparison found(2);
    found.add(0, found.parameter("embedding"), 100'000, 300).add(1, found.parameter("matrix"), 100'000, 0);
    EXPECT_FALSE(found.finding().mixed);
}

// No parameter is on both.
TEST(WeightsFinding, IsAMixWhereMostOfWhatARankHoldsDiffers) {
    Comparison found(2);
    found.add(0, found.parameter("embedding"), 100'000, 0).add(0, found.parameter("bias"), 100, 0);
    found.add(1, found.parameter("matrix"), 100'000, 90'000).add(1, found.parameter("norm"), 100, 0);
    EXPECT_TRUE(found.finding().mixed);
    EXPECT_THAT(found.finding().text, HasSubstr("on rank 1, while they are on rank 0 ("));
}

TEST(WeightsFinding, IsAMixWhereMostOfAFileOfWeightsDiffers) {
    Comparison found(2);
    const std::string* first = found.parameter("0.matrix");
    const std::string* second = found.parameter("1.matrix");
    for (const std::size_t rank : {0U, 1U}) {
        found.add(rank, first, 100'000, 0, 0).add(rank, second, 100'000, 90'000, 1);
    }
    EXPECT_TRUE(found.finding().mixed);
    EXPECT_THAT(found.finding().text, HasSubstr("on ranks 0-1, while others there are ("));
}

// A layer of one number.
TEST(WeightsFinding, IsNoMixWhereAFileHoldsOnlyAFewElements) {
    Comparison found(2);
    const std::string* scale = found.parameter("0.scale");
    const std::string* matrix = found.parameter("1.matrix");
    found.add(0, scale, 1, 1, 0).add(0, matrix, 100'000, 0, 1).add(1, matrix, 100'000, 0, 1);
    EXPECT_TRUE(found.finding().differ);
    EXPECT_FALSE(found.finding().mixed);
}

}  // namespace
}  // namespace weights_finding_of
}  // namespace ckptfs::zero
