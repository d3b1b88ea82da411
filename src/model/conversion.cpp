// Loops over blocks of one length that is known to the compiler, which makes vector instructions of them.
#include "model/conversion.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "model/rounding.h"
#include "util/checked.h"

namespace ckptfs::model {
namespace {

/// Elements that a loop converts at once.
constexpr std::size_t lane_count = 64;
/// Of source bytes in a read; also what a read takes of the stack.
constexpr std::size_t block_nbytes = std::size_t{128} << 10U;

// One element each, as rounding.h has it, but without branches: compilers make vector instructions of masks, and of
// comparisons of signed numbers.

/// All ones where a < b, both below 2^31.
inline std::uint32_t mask_of_less(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::uint32_t>(
        -static_cast<std::int32_t>(static_cast<std::int32_t>(a) < static_cast<std::int32_t>(b)));
}

inline std::uint32_t select(std::uint32_t mask, std::uint32_t chosen, std::uint32_t otherwise) {
    return (chosen & mask) | (otherwise & ~mask);
}

inline std::uint16_t to_bfloat16(std::uint32_t bits) {
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
    return static_cast<std::uint16_t>(select(mask_of_less(0x7f800000U, bits & 0x7fffffffU), 0x7fc0U, rounded));
}

inline std::uint16_t to_float16(std::uint32_t bits) {
    constexpr std::uint32_t infinite = 0x7f800000U;
    constexpr std::uint32_t largest = 0x477fffffU;       // below 65,536
    constexpr std::uint32_t least_normal = 0x38800000U;  // 2^-14
    // Added to a smaller number, 0.5 leaves no place for bits below 2^-24, the unit of subnormal values: the processor
    // rounds to it, in the mode that every program starts with.
    constexpr float rounder = 0.5F;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    const std::uint32_t is_small = mask_of_less(magnitude, least_normal);
    const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude & is_small) + rounder) -
                                    std::bit_cast<std::uint32_t>(rounder);
    const std::uint32_t normal =
        (magnitude - (std::uint32_t{127 - 15} << 23U) + 0xfffU + ((magnitude >> 13U) & 1U)) >> 13U;
    const std::uint32_t large = select(mask_of_less(infinite, magnitude), 0x7e00U, 0x7c00U);
    const std::uint32_t finite = select(is_small, subnormal, normal);
    return static_cast<std::uint16_t>(select(mask_of_less(largest, magnitude), large, finite) |
                                      ((bits >> 16U) & 0x8000U));
}

inline std::uint32_t float32_of_bfloat16(std::uint16_t bits) {
    return std::uint32_t{bits} << 16U;
}

inline std::uint32_t float32_of_float16(std::uint16_t bits) {
    const std::uint32_t magnitude = bits & 0x7fffU;
    const std::uint32_t rebias = std::uint32_t{127 - 15} << 23U;
    // Infinities and NaN have the greatest exponent of either type.
    const std::uint32_t normal = (magnitude << 13U) + rebias + (mask_of_less(0x7bffU, magnitude) & rebias);
    const auto subnormal =
        std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24F);
    return select(mask_of_less(magnitude, 0x400U), subnormal, normal) | ((std::uint32_t{bits} & 0x8000U) << 16U);
}

/// What the processor does, in the mode that every program starts with.
inline std::uint32_t float32_of_float64(std::uint64_t bits) {
    return std::bit_cast<std::uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
}

template <DType dtype>
struct Bits;
template <>
struct Bits<DType::float32> {
    using Type = std::uint32_t;
    static std::uint32_t widen(Type bits) { return bits; }
    static Type narrow(std::uint32_t bits) { return bits; }
};
template <>
struct Bits<DType::bfloat16> {
    using Type = std::uint16_t;
    static std::uint32_t widen(Type bits) { return float32_of_bfloat16(bits); }
    static Type narrow(std::uint32_t bits) { return to_bfloat16(bits); }
};
template <>
struct Bits<DType::float16> {
    using Type = std::uint16_t;
    static std::uint32_t widen(Type bits) { return float32_of_float16(bits); }
    static Type narrow(std::uint32_t bits) { return to_float16(bits); }
};
/// A source only. torch goes by way of float32 to 16 bits too.
template <>
struct Bits<DType::float64> {
    using Type = std::uint64_t;
    static std::uint32_t widen(Type bits) { return float32_of_float64(bits); }
};

/// Whole numbers and truth values are sources only; to the nearest, as the processor does it.
template <class Integer>
struct IntegerBits {
    using Type = Integer;
    static std::uint32_t widen(Type value) { return std::bit_cast<std::uint32_t>(static_cast<float>(value)); }
};
template <>
struct Bits<DType::int64> : IntegerBits<std::int64_t> {};
template <>
struct Bits<DType::int32> : IntegerBits<std::int32_t> {};
template <>
struct Bits<DType::int16> : IntegerBits<std::int16_t> {};
template <>
struct Bits<DType::int8> : IntegerBits<std::int8_t> {};
template <>
struct Bits<DType::uint8> : IntegerBits<std::uint8_t> {};
template <>
struct Bits<DType::boolean> : IntegerBits<std::uint8_t> {};

/// The spans need not be aligned. Inlined, so that it is compiled for the instructions that its caller may use.
template <DType from, DType to>
[[gnu::always_inline]] inline void convert_all(std::span<const std::byte> in, std::span<std::byte> out) {
    using In = typename Bits<from>::Type;
    using Out = typename Bits<to>::Type;
    std::array<In, lane_count> source{};
    std::array<Out, lane_count> target{};
    const std::size_t numel = in.size() / sizeof(In);
    for (std::size_t at = 0; at < numel; at += lane_count) {
        const std::size_t count = std::min(lane_count, numel - at);
        std::memcpy(source.data(), in.data() + at * sizeof(In), count * sizeof(In));
        for (std::size_t lane = 0; lane < lane_count; ++lane) {
            target[lane] = Bits<to>::narrow(Bits<from>::widen(source[lane]));
        }
        std::memcpy(out.data() + at * sizeof(Out), target.data(), count * sizeof(Out));
    }
}

using Conversion = void (*)(std::span<const std::byte>, std::span<std::byte>);

template <DType from, DType to>
void convert_anywhere(std::span<const std::byte> in, std::span<std::byte> out) {
    convert_all<from, to>(in, out);
}

#if defined(__x86_64__)
template <DType from, DType to>
[[gnu::target("avx2")]] void convert_with_avx2(std::span<const std::byte> in, std::span<std::byte> out) {
    convert_all<from, to>(in, out);
}

bool has_avx2() {
    static const bool found = static_cast<bool>(__builtin_cpu_supports("avx2"));
    return found;
}

template <DType from, DType to>
Conversion compiled_for(Instructions instructions) {
    return instructions == Instructions::all && has_avx2() ? convert_with_avx2<from, to> : convert_anywhere<from, to>;
}
#else
template <DType from, DType to>
Conversion compiled_for(Instructions /*instructions*/) {
    return convert_anywhere<from, to>;
}
#endif

template <DType to>
Conversion conversion_to(DType from, Instructions instructions) {
    switch (from) {
        case DType::float32:
            return compiled_for<DType::float32, to>(instructions);
        case DType::bfloat16:
            return compiled_for<DType::bfloat16, to>(instructions);
        case DType::float16:
            return compiled_for<DType::float16, to>(instructions);
        case DType::float64:
            return compiled_for<DType::float64, to>(instructions);
        case DType::int64:
            return compiled_for<DType::int64, to>(instructions);
        case DType::int32:
            return compiled_for<DType::int32, to>(instructions);
        case DType::int16:
            return compiled_for<DType::int16, to>(instructions);
        case DType::int8:
            return compiled_for<DType::int8, to>(instructions);
        case DType::uint8:
            return compiled_for<DType::uint8, to>(instructions);
        case DType::boolean:
            return compiled_for<DType::boolean, to>(instructions);
        default:
            return nullptr;
    }
}

/// nullptr where there is none.
Conversion conversion(DType from, DType to, Instructions instructions = Instructions::all) {
    switch (to) {
        case DType::float32:
            return conversion_to<DType::float32>(from, instructions);
        case DType::bfloat16:
            return conversion_to<DType::bfloat16>(from, instructions);
        case DType::float16:
            return conversion_to<DType::float16>(from, instructions);
        default:
            return nullptr;
    }
}

}  // namespace

bool is_floating_point(DType dtype) {
    switch (dtype) {
        case DType::float16:
        case DType::float32:
        case DType::float64:
        case DType::bfloat16:
        case DType::float8_e5m2:
        case DType::float8_e4m3fn:
        case DType::float8_e5m2fnuz:
        case DType::float8_e4m3fnuz:
        case DType::float8_e8m0fnu:
        case DType::float4_e2m1fn_x2:
            return true;
        default:
            return false;
    }
}

bool is_convertible(DType from, DType to) {
    return conversion(from, to) != nullptr;
}

void convert(DType from, std::span<const std::byte> in, DType to, std::span<std::byte> out, Instructions instructions) {
    conversion(from, to, instructions)(in, out);
}

Result<std::shared_ptr<const ConvertedFile>> ConvertedFile::create(std::shared_ptr<const File> source, DType from,
                                                                   DType to) {
    if (!is_convertible(from, to)) {
        return Error(ErrorCode::unsupported, "'" + source->name() + "' is " + std::string(model::name(from)) +
                                                 ", which ckptfs does not convert to " + std::string(model::name(to)));
    }
    if (source->size() % itemsize(from) != 0) {
        return Error(ErrorCode::internal, "'" + source->name() + "' has " + std::to_string(source->size()) +
                                              " bytes, which are no whole " + std::string(model::name(from)));
    }
    return std::shared_ptr<const ConvertedFile>(new ConvertedFile(std::move(source), from, to));
}

ConvertedFile::ConvertedFile(std::shared_ptr<const File> source, DType from, DType to)
    : source_(std::move(source)), size_(source_->size() / itemsize(from) * itemsize(to)), from_(from), to_(to) {}

Result<void> ConvertedFile::read(std::uint64_t offset, std::span<std::byte> out) const {
    FilesRead read;
    CKPTFS_TRY(read_unchecked(offset, out, read));
    return read.check();
}

Result<void> ConvertedFile::read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const {
    if (!fits(offset, out.size(), size_)) {
        return Error(ErrorCode::invalid_argument, "bytes " + std::to_string(offset) + " to " +
                                                      std::to_string(offset + out.size()) + " of '" + name() +
                                                      "' were asked for, which has " + std::to_string(size_));
    }
    const std::uint64_t from_size = itemsize(from_);
    const std::uint64_t to_size = itemsize(to_);
    const Conversion convert_block = conversion(from_, to_);
    std::array<std::byte, block_nbytes> block;  // NOLINT(cppcoreguidelines-pro-type-member-init): read() fills it
    while (!out.empty()) {
        const std::uint64_t first = offset / to_size;
        const std::uint64_t within = offset % to_size;  // of the first element, bytes before the window
        if (within != 0 || out.size() < to_size) {
            std::array<std::byte, sizeof(std::uint64_t)> element{};
            CKPTFS_TRY(source_->read_unchecked(first * from_size, std::span(block).first(from_size), read));
            convert_block(std::span(block).first(from_size), std::span(element).first(to_size));
            const std::size_t count = std::min<std::uint64_t>(to_size - within, out.size());
            std::memcpy(out.data(), element.data() + within, count);
            out = out.subspan(count);
            offset += count;
            continue;
        }
        const std::uint64_t numel = std::min<std::uint64_t>(out.size() / to_size, block_nbytes / from_size);
        const std::span<std::byte> in = std::span(block).first(numel * from_size);
        CKPTFS_TRY(source_->read_unchecked(first * from_size, in, read));
        convert_block(in, out.first(numel * to_size));
        out = out.subspan(numel * to_size);
        offset += numel * to_size;
    }
    return {};
}

Result<FileRun> ConvertedFile::run_at(std::uint64_t offset) const {
    const std::uint64_t from_size = itemsize(from_);
    const std::uint64_t to_size = itemsize(to_);
    const std::uint64_t first = offset / to_size;
    CKPTFS_ASSIGN(const FileRun run, source_->run_at(first * from_size));
    // An element that a hole ends in is data.
    const std::uint64_t numel = run.is_hole ? run.nbytes / from_size : (run.nbytes + from_size - 1) / from_size;
    const bool is_hole = run.is_hole && numel > 0;
    return FileRun{std::max<std::uint64_t>(numel, 1) * to_size - offset % to_size, is_hole};
}

Result<void> append_as(const Elements& elements, DType dtype, const std::string& name, PieceList& out,
                       Keepers& keepers) {
    if (elements.dtype() == dtype || elements.numel() == 0) {
        elements.append(out);
        return {};
    }
    if (std::holds_alternative<Zeros>(elements.rule())) {
        out.add_zeros(elements.numel() * itemsize(dtype));
        return {};
    }
    PieceList pieces;
    elements.append(pieces);
    CKPTFS_ASSIGN(std::shared_ptr<const VirtualFile> source, VirtualFile::create(name, std::move(pieces), nullptr));
    keepers.nbytes += source->memory_nbytes() + sizeof(ConvertedFile);
    CKPTFS_ASSIGN(std::shared_ptr<const ConvertedFile> converted,
                  ConvertedFile::create(std::move(source), elements.dtype(), dtype));
    out.add_source(converted.get(), 0, converted->size());
    keepers.files.push_back(std::move(converted));
    return {};
}

}  // namespace ckptfs::model
