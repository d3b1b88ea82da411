// A request has one name, which parses back.
#include "ckptfs/view_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ckptfs {
namespace {

ViewRequest weights(WeightsDType dtype, WeightsContainer container) {
    ViewRequest request;
    request.kind = ViewKind::weights;
    request.dtype = dtype;
    request.container = container;
    return request;
}

TEST(ViewRequestTest, HasOneNameThatParsesBack) {
    const std::vector<std::pair<std::string, ViewRequest>> named{
        {"world-size-8", ViewRequest::at_world_size(8)},
        {"world-size-1048576", ViewRequest::at_world_size(max_world_size)},
        {"dp-size-4", ViewRequest::at_world_size(4, true)},
        {"weights", weights(WeightsDType::source, WeightsContainer::safetensors)},
        {"weights-bf16", weights(WeightsDType::bf16, WeightsContainer::safetensors)},
        {"weights-fp16", weights(WeightsDType::fp16, WeightsContainer::safetensors)},
        {"weights-fp32", weights(WeightsDType::fp32, WeightsContainer::safetensors)},
        {"weights-fp32-bin", weights(WeightsDType::fp32, WeightsContainer::bin)},
        {"weights-bin", weights(WeightsDType::source, WeightsContainer::bin)},
    };
    for (const auto& [name, request] : named) {
        EXPECT_EQ(request.name(), name);
        EXPECT_EQ(ViewRequest::parse(name), request) << name;
    }
    for (const std::string name : {"states", "lightning", "universal"}) {
        const auto request = ViewRequest::parse(name);
        ASSERT_TRUE(request) << name;
        EXPECT_EQ(request->name(), name);
    }
}

TEST(ViewRequestTest, RefusesEveryOtherSpelling) {
    for (const std::string name :
         {"", "world-size-", "world-size-0", "world-size-08", "world-size-+8", "world-size-8 ", "world-size-1048577",
          "world-size-99999999999999999999", "dp-size-0", "weights-", "weights-source", "weights-bin-fp32",
          "weights-fp8", "Weights", "state", "universal-8"}) {
        EXPECT_EQ(ViewRequest::parse(name), std::nullopt) << name;
    }
}

}  // namespace
}  // namespace ckptfs
