// Batch sizes as DeepSpeed computes them.
#include "report/batch_arithmetic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ckptfs::report {
namespace {

using nlohmann::json;
using testing::IsEmpty;

TEST(BatchArithmetic, FillsInWhatDeepSpeedFillsIn) {
    const auto batch = [](const json& config) { return batch_of(config, 4).value().value(); };
    const auto is = [](const Batch& found, std::uint64_t train, std::uint64_t micro, std::uint64_t accumulation) {
        return found.train == train && found.micro == micro && found.accumulation == accumulation;
    };
    EXPECT_TRUE(is(batch({{"train_batch_size", 48}}), 48, 12, 1));
    EXPECT_TRUE(is(batch({{"train_batch_size", 48}, {"train_micro_batch_size_per_gpu", 4}}), 48, 4, 3));
    EXPECT_TRUE(is(batch({{"train_batch_size", 48}, {"gradient_accumulation_steps", 6}}), 48, 2, 6));
    EXPECT_TRUE(is(batch({{"train_micro_batch_size_per_gpu", 4}}), 16, 4, 1));
    EXPECT_TRUE(is(batch({{"train_micro_batch_size_per_gpu", 4}, {"gradient_accumulation_steps", 3}}), 48, 4, 3));
}

TEST(BatchArithmetic, WhatDeepSpeedRefuses) {
    EXPECT_FALSE(batch_of({{"train_batch_size", 50}}, 4).ok());
    EXPECT_FALSE(batch_of({{"train_batch_size", 48}, {"train_micro_batch_size_per_gpu", 5}}, 4).ok());
    EXPECT_FALSE(batch_of({{"train_batch_size", 2}}, 4).ok());
    EXPECT_FALSE(batch_of({{"train_batch_size", 0}}, 4).ok());
    EXPECT_FALSE(batch_of({{"train_batch_size", -8}}, 4).ok());
    EXPECT_FALSE(batch_of({{"train_batch_size", "many"}}, 4).ok());
    EXPECT_FALSE(batch_of({{"train_micro_batch_size_per_gpu", 1e30}}, 4).ok());
}

TEST(BatchArithmetic, WhatTheConfigLeavesOpen) {
    EXPECT_FALSE(batch_of(json::object(), 4).value().has_value());
    EXPECT_FALSE(batch_of({{"train_batch_size", "auto"}}, 4).value().has_value());
    EXPECT_FALSE(batch_of({{"gradient_accumulation_steps", 2}}, 4).value().has_value());
}

TEST(BatchArithmetic, ChoicesThatFitTheMemoryComeFirst) {
    std::vector<std::uint64_t> micros;
    for (const Batch& batch : batch_choices(48, 4, 2)) {
        EXPECT_EQ(batch.micro * batch.accumulation * 2, 48U);
        micros.push_back(batch.micro);
    }
    EXPECT_THAT(micros, testing::ElementsAre(4, 3, 2, 1, 6, 8, 12, 24));
    EXPECT_THAT(batch_choices(48, 4, 5), IsEmpty());
    EXPECT_THAT(batch_choices(0, 4, 5), IsEmpty());
}

}  // namespace
}  // namespace ckptfs::report
