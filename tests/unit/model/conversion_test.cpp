// Conversions against PyTorch's (tests/data/conversion), and files that convert what is read.
#include "model/conversion.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

#include "support/fake_files.h"
#include "support/test_data.h"

namespace ckptfs::model {
namespace conversion {
namespace {

// The same as in make_conversions.py.
constexpr std::array<std::uint64_t, 16> low_16{0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x2000, 0x2fff, 0x3000,
                                               0x3001, 0x4000, 0x5555, 0x7fff, 0x8000, 0x8001, 0xc000, 0xffff};
constexpr std::array<std::uint64_t, 16> low_48{0x000000000000, 0x000000000001, 0x00000fffffff, 0x000010000000,
                                               0x000010000001, 0x000020000000, 0x00002fffffff, 0x000030000000,
                                               0x000030000001, 0x400000000000, 0x555555555555, 0x7fffffffffff,
                                               0x800000000000, 0x800000000001, 0xc00000000000, 0xffffffffffff};
constexpr std::size_t block_count = 16;

void append_bits(std::string& bytes, std::uint64_t bits, std::size_t nbytes) {
    bytes.append(reinterpret_cast<const char*>(&bits), nbytes);
}

std::string inputs(DType dtype) {
    std::string bytes;
    for (std::uint64_t upper = 0; upper < 65536; ++upper) {
        if (itemsize(dtype) == 2) {
            append_bits(bytes, upper, 2);
            continue;
        }
        for (const std::uint64_t low : itemsize(dtype) == 4 ? low_16 : low_48) {
            append_bits(bytes, upper << (itemsize(dtype) == 4 ? 16U : 48U) | low, itemsize(dtype));
        }
    }
    return bytes;
}

std::string converted(DType from, const std::string& in, DType to) {
    std::string out(in.size() / itemsize(from) * itemsize(to), '\x55');
    convert(from, std::as_bytes(std::span(in)), to, std::as_writable_bytes(std::span(out)));
    std::string portable(out.size(), '\x55');
    convert(from, std::as_bytes(std::span(in)), to, std::as_writable_bytes(std::span(portable)),
            Instructions::portable);
    EXPECT_EQ(portable == out, true) << "other instructions give other elements";
    return out;
}

template <class Bits>
void make_nan_canonical(std::string& bytes, Bits infinite, Bits canonical) {
    const Bits magnitude = std::numeric_limits<Bits>::max() / 2;
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(Bits)) {
        Bits bits = 0;
        std::memcpy(&bits, bytes.data() + at, sizeof(Bits));
        if ((bits & magnitude) > infinite) {
            std::memcpy(bytes.data() + at, &canonical, sizeof(Bits));
        }
    }
}

void make_nan_canonical(std::string& bytes, DType dtype) {
    if (dtype == DType::float32) {
        make_nan_canonical<std::uint32_t>(bytes, 0x7f800000U, 0x7fc00000U);
    } else if (dtype == DType::bfloat16) {
        make_nan_canonical<std::uint16_t>(bytes, 0x7f80U, 0x7fc0U);
    } else {
        make_nan_canonical<std::uint16_t>(bytes, 0x7c00U, 0x7e00U);
    }
}

TEST(Conversion, GivesTheBitsThatPyTorchGives) {
    std::ifstream golden(test_data() / "conversion" / "golden.txt");
    std::size_t lines = 0;
    for (std::string line; std::getline(golden, line); ++lines) {
        std::istringstream words(line);
        std::string from;
        std::string to;
        words >> from >> to;
        const DType source = dtype_of_name(from).value();
        const DType target = dtype_of_name(to).value();
        ASSERT_TRUE(is_convertible(source, target));
        std::string out = converted(source, inputs(source), target);
        make_nan_canonical(out, target);
        const std::size_t block_nbytes = out.size() / block_count;
        for (std::size_t block = 0; block < block_count; ++block) {
            std::string crc;
            words >> crc;
            const auto* bytes = reinterpret_cast<const Bytef*>(out.data() + block * block_nbytes);
            EXPECT_EQ(crc32(0, bytes, static_cast<uInt>(block_nbytes)), std::stoul(crc, nullptr, 16))
                << from << " to " << to << ", block " << block;
        }
    }
    EXPECT_EQ(lines, 9U);
}

TEST(Conversion, KnowsItsLimits) {
    EXPECT_FALSE(is_convertible(DType::uint16, DType::float32));
    EXPECT_FALSE(is_convertible(DType::float32, DType::int64));
    EXPECT_FALSE(is_convertible(DType::float32, DType::float64));
    EXPECT_FALSE(is_convertible(DType::float8_e4m3fn, DType::float32));
    EXPECT_TRUE(is_floating_point(DType::float8_e4m3fn));
    EXPECT_TRUE(is_floating_point(DType::float64));
    EXPECT_FALSE(is_floating_point(DType::boolean));
    EXPECT_FALSE(is_floating_point(DType::uint8));
}

template <class Value>
std::string bytes_of(const std::vector<Value>& values) {
    std::string bytes(values.size() * sizeof(Value), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

TEST(Conversion, WidensWholeNumbersAndTruthValues) {
    const std::vector<std::int64_t> wide = {7, -7, (std::int64_t{1} << 24) + 1, (std::int64_t{1} << 24) + 3, INT64_MIN};
    EXPECT_EQ(converted(DType::int64, bytes_of(wide), DType::float32),
              bytes_of(std::vector<float>{7, -7, 16777216, 16777220, -9223372036854775808.0F}));
    EXPECT_EQ(converted(DType::int8, bytes_of(std::vector<std::int8_t>{-128, 127}), DType::float32),
              bytes_of(std::vector<float>{-128, 127}));
    EXPECT_EQ(converted(DType::uint8, bytes_of(std::vector<std::uint8_t>{255}), DType::float32),
              bytes_of(std::vector<float>{255}));
    EXPECT_EQ(converted(DType::boolean, bytes_of(std::vector<std::uint8_t>{1, 0}), DType::float32),
              bytes_of(std::vector<float>{1, 0}));
}

std::shared_ptr<const ConvertedFile> converted_file(std::shared_ptr<const File> source, DType from, DType to) {
    return ConvertedFile::create(std::move(source), from, to).value();
}

TEST(ConvertedFile, ReadsAnyWindow) {
    std::mt19937_64 random(7);
    for (const auto& [from, to] : std::array<std::pair<DType, DType>, 4>{{{DType::float32, DType::bfloat16},
                                                                          {DType::float16, DType::float32},
                                                                          {DType::bfloat16, DType::float16},
                                                                          {DType::float64, DType::float32}}}) {
        const std::string bytes = test::random_bytes(600'000, 3);
        const auto source = std::make_shared<const test::MemoryFile>(bytes);
        const auto file = converted_file(source, from, to);
        const std::string whole = converted(from, bytes, to);
        ASSERT_EQ(file->size(), whole.size());
        EXPECT_EQ(test::read_all(*file).value(), whole);
        for (int round = 0; round < 300; ++round) {
            const std::uint64_t offset = random() % (whole.size() + 1);
            const std::uint64_t limit = round % 2 == 0 ? 12 : whole.size();
            const std::uint64_t nbytes = random() % (std::min(limit, whole.size() - offset) + 1);
            ASSERT_EQ(test::read_range(*file, offset, nbytes).value(), whole.substr(offset, nbytes))
                << offset << " " << nbytes;
        }
        EXPECT_FALSE(test::read_range(*file, whole.size(), 1).ok());
    }
}

TEST(ConvertedFile, ReadsNoByteThatIsNotAskedFor) {
    const auto source = std::make_shared<const test::MemoryFile>(test::random_bytes(4'000, 3));
    const auto file = converted_file(source, DType::float32, DType::bfloat16);
    ASSERT_TRUE(test::read_range(*file, 100, 50).ok());
    EXPECT_EQ(source->calls(), (std::vector<test::ReadCall>{{200, 100}}));
    source->forget_calls();
    ASSERT_TRUE(test::read_range(*file, 101, 2).ok());
    EXPECT_EQ(source->calls(), (std::vector<test::ReadCall>{{200, 4}, {204, 4}}));
}

TEST(ConvertedFile, HolesAreThoseOfTheSource) {
    class WithHole final : public test::MemoryFile {
     public:
        using MemoryFile::MemoryFile;
        [[nodiscard]] Result<FileRun> run_at(std::uint64_t offset) const override {
            return offset < 10 ? FileRun{10 - offset, false} : FileRun{size() - offset, true};
        }
    };
    const auto file =
        converted_file(std::make_shared<const WithHole>(std::string(40, 'x')), DType::float32, DType::bfloat16);
    EXPECT_EQ(*file->run_at(0), (FileRun{6, false}));  // the hole begins inside the third element
    EXPECT_EQ(*file->run_at(5), (FileRun{1, false}));
    EXPECT_EQ(*file->run_at(6), (FileRun{14, true}));
    EXPECT_EQ(*file->run_at(9), (FileRun{11, true}));
}

TEST(ConvertedFile, PassesErrorsOn) {
    auto source = std::make_shared<test::FaultyFile>(std::make_shared<const test::MemoryFile>(std::string(400, 'x')),
                                                     200, 4, Error(ErrorCode::stale, "gone"));
    const auto file = converted_file(source, DType::float32, DType::bfloat16);
    EXPECT_TRUE(test::read_range(*file, 0, 100).ok());
    EXPECT_EQ(test::read_range(*file, 0, 101).error().code(), ErrorCode::stale);
    source->repair();
    EXPECT_TRUE(test::read_all(*file).ok());
}

TEST(ConvertedFile, RefusesWhatItCannotConvert) {
    const auto source = std::make_shared<const test::MemoryFile>(std::string(6, 'x'));
    EXPECT_EQ(ConvertedFile::create(source, DType::uint16, DType::float32).error().code(), ErrorCode::unsupported);
    EXPECT_EQ(ConvertedFile::create(source, DType::float32, DType::float16).error().code(), ErrorCode::internal);
}

TEST(AppendAs, ConvertsOnlyWhereItMust) {
    const std::string bytes = test::random_bytes(80, 5);
    const test::MemoryFile file(bytes);
    const Elements elements(DType::float32, 10, Contiguous{&file, 40});
    PieceList pieces;
    Keepers keepers;
    ASSERT_TRUE(append_as(elements, DType::float32, "w", pieces, keepers).ok());
    EXPECT_TRUE(keepers.files.empty());
    ASSERT_TRUE(append_as(elements, DType::bfloat16, "w", pieces, keepers).ok());
    ASSERT_TRUE(append_as(Elements(DType::float32, 3, Zeros{}), DType::float16, "z", pieces, keepers).ok());
    EXPECT_EQ(keepers.files.size(), 1U);
    const auto shown = VirtualFile::create("model.safetensors", pieces, nullptr).value();
    const std::string tail = bytes.substr(40);
    EXPECT_EQ(test::read_all(*shown).value(),
              tail + converted(DType::float32, tail, DType::bfloat16) + std::string(6, '\0'));
    const Elements integers(DType::uint64, 5, Contiguous{&file, 0});
    EXPECT_EQ(append_as(integers, DType::float32, "n", pieces, keepers).error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace conversion
}  // namespace ckptfs::model
