// A weight is right where it is its master, rounded.
#include "zero/weights_runs.h"

#include <algorithm>
#include <cstring>

#include "model/rounding.h"
#include "util/splitmix.h"

namespace ckptfs::zero {
namespace {

constexpr std::uint64_t block_nbytes = std::uint64_t{1} << 20U;

template <class Bits>
Bits element(std::span<const std::byte> bytes, std::uint64_t index) {
    Bits bits{};
    std::memcpy(&bits, bytes.data() + index * sizeof bits, sizeof bits);
    return bits;
}

bool is_nan_16(model::DType dtype, std::uint16_t bits) {
    return (bits & 0x7fffU) > (dtype == model::DType::bfloat16 ? 0x7f80U : 0x7c00U);
}

/// One for all NaNs.
constexpr std::uint16_t any_nan = 0x7fffU;

template <model::DType dtype>
std::uint16_t rounded(std::uint32_t master) {
    if (model::is_nan_float32(master)) {
        return any_nan;
    }
    return dtype == model::DType::bfloat16 ? model::bfloat16_of_float32(master) : model::float16_of_float32(master);
}

std::uint16_t with_one_nan(model::DType dtype, std::uint16_t weight) {
    return is_nan_16(dtype, weight) ? any_nan : weight;
}

/// `value_of`: the element at an index.
template <class ValueOf>
std::uint64_t sum_of_elements(std::uint64_t count, std::uint64_t first, ValueOf value_of) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto value = value_of(i);
        if constexpr (sizeof value > 4) {
            sum += splitmix64(splitmix64(value) + first + i);
        } else {
            sum += splitmix64((first + i) << 32U | value);
        }
    }
    return sum;
}

template <class Bits>
std::uint64_t sum_as_they_are(std::span<const std::byte> bytes, std::uint64_t first) {
    return sum_of_elements(bytes.size() / sizeof(Bits), first,
                           [&](std::uint64_t i) { return element<Bits>(bytes, i); });
}

std::uint64_t sum_as_they_are(model::DType dtype, std::span<const std::byte> bytes, std::uint64_t first) {
    switch (model::itemsize(dtype)) {
        case 2:
            return sum_as_they_are<std::uint16_t>(bytes, first);
        case 4:
            return sum_as_they_are<std::uint32_t>(bytes, first);
        case 8:
            return sum_as_they_are<std::uint64_t>(bytes, first);
        default:
            return sum_as_they_are<std::uint8_t>(bytes, first);
    }
}

template <model::DType weights>
std::uint64_t sum_rounded(std::span<const std::byte> masters, std::uint64_t first) {
    return sum_of_elements(masters.size() / sizeof(std::uint32_t), first,
                           [&](std::uint64_t i) { return rounded<weights>(element<std::uint32_t>(masters, i)); });
}

std::uint64_t count_unequal(const WeightsRun& run, std::span<const std::byte> masters,
                            std::span<const std::byte> weights, std::uint64_t count) {
    const model::DType dtype = run.weights.dtype;
    const std::uint64_t itemsize = model::itemsize(dtype);
    const auto count_if = [count](auto same) {
        std::uint64_t different = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            different += same(i) ? 0U : 1U;
        }
        return different;
    };
    if (run.masters.dtype == dtype) {
        return count_if([&](std::uint64_t i) {
            return std::memcmp(masters.data() + i * itemsize, weights.data() + i * itemsize, itemsize) == 0;
        });
    }
    return count_if([&](std::uint64_t i) {
        const auto master = element<std::uint32_t>(masters, i);
        const std::uint16_t expected = dtype == model::DType::bfloat16 ? rounded<model::DType::bfloat16>(master)
                                                                       : rounded<model::DType::float16>(master);
        return expected == with_one_nan(dtype, element<std::uint16_t>(weights, i));
    });
}

}  // namespace

Result<std::uint64_t> RunComparer::count_differences(const WeightsRun& run) {
    const std::uint64_t master_itemsize = model::itemsize(run.masters.dtype);
    const std::uint64_t itemsize = model::itemsize(run.weights.dtype);
    const std::uint64_t block_numel = block_nbytes / std::max(master_itemsize, itemsize);
    std::uint64_t different = 0;
    for (std::uint64_t from = 0; from < run.numel; from += block_numel) {
        const std::uint64_t count = std::min(block_numel, run.numel - from);
        masters_.resize(count * master_itemsize);
        weights_.resize(count * itemsize);
        CKPTFS_TRY(run.masters.file->read(run.masters.offset + from * master_itemsize, masters_));
        CKPTFS_TRY(run.weights.file->read(run.weights.offset + from * itemsize, weights_));
        different += count_unequal(run, masters_, weights_, count);
    }
    return different;
}

std::uint64_t digest_of_masters(model::DType masters, model::DType weights, std::span<const std::byte> bytes,
                                std::uint64_t first) {
    if (masters == weights) {
        return sum_as_they_are(masters, bytes, first);
    }
    return weights == model::DType::bfloat16 ? sum_rounded<model::DType::bfloat16>(bytes, first)
                                             : sum_rounded<model::DType::float16>(bytes, first);
}

std::uint64_t digest_of_weights(model::DType masters, model::DType weights, std::span<const std::byte> bytes,
                                std::uint64_t first) {
    if (masters == weights) {
        return sum_as_they_are(weights, bytes, first);
    }
    return sum_of_elements(bytes.size() / sizeof(std::uint16_t), first,
                           [&](std::uint64_t i) { return with_one_nan(weights, element<std::uint16_t>(bytes, i)); });
}

}  // namespace ckptfs::zero
