// Layouts against files that the safetensors library wrote (tests/data/safetensors).
#include "safetensors/layout.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <limits>

#include "support/effort.h"
#include "support/test_data.h"

namespace ckptfs::safetensors {
namespace layout {
namespace {

using model::DType;

const Metadata pt{{"format", "pt"}};

std::string golden(const std::string& name) {
    std::ifstream file(test_data() / "safetensors" / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void expect_as_golden(const std::vector<Entry>& entries, const Metadata& metadata, const std::string& name) {
    const std::string bytes = golden(name);
    const auto layout = lay_out(entries, metadata, name);
    ASSERT_TRUE(layout.ok()) << layout.error().message();
    EXPECT_EQ(layout->header, bytes.substr(0, layout->header.size()));
    EXPECT_EQ(layout->nbytes, bytes.size());
    EXPECT_EQ(layout->header.size() % 8, 0U);
}

TEST(SafetensorsLayout, PutsDTypesInTheOrderOfTheLibrary) {
    std::vector<Entry> entries;
    for (int value = 0; value < 64; ++value) {
        const auto dtype = static_cast<DType>(value);
        if (!format_name(dtype).empty()) {
            entries.push_back({std::string(model::name(dtype)), dtype, {2, 3}});
        }
    }
    ASSERT_EQ(entries.size(), 20U);
    expect_as_golden(entries, pt, "dtypes.safetensors");
}

TEST(SafetensorsLayout, SortsAndEscapesNamesAsTheLibraryDoes) {
    std::vector<Entry> entries;
    for (const char* name : {"h.10.weight", "h.2.weight", "h.1.weight", "H", "_", "\xf0\x9f\x98\x80", "\xef\xbd\x81",
                             "quote\"back\\slash/", "\b\f\n\r\t\x01\x1f\x7f", "caf\xc3\xa9\xe2\x80\xa8", ""}) {
        entries.push_back({name, DType::float32, {1}});
    }
    expect_as_golden(entries, pt, "names.safetensors");
}

TEST(SafetensorsLayout, WritesScalarsEmptyTensorsAndNoMetadata) {
    expect_as_golden(
        {{"scalar", DType::float32, {}}, {"empty", DType::float32, {0, 3}}, {"matrix", DType::float32, {2, 1, 5}}}, {},
        "shapes.safetensors");
    expect_as_golden({}, pt, "nothing.safetensors");
    expect_as_golden({}, {}, "nothing_at_all.safetensors");
}

TEST(SafetensorsLayout, OrderTellsWhereEachEntryLies) {
    const auto layout = lay_out({{"b", DType::bfloat16, {4}}, {"z", DType::int64, {1}}, {"a", DType::bfloat16, {2}}},
                                pt, "model.safetensors");
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->order, (std::vector<std::size_t>{1, 2, 0}));
    EXPECT_EQ(layout->nbytes, layout->header.size() + 8 + 4 + 8);
}

void expect_refused(const std::vector<Entry>& entries, ErrorCode code, const std::string& word) {
    const auto layout = lay_out(entries, pt, "model.safetensors");
    ASSERT_FALSE(layout.ok());
    EXPECT_EQ(layout.error().code(), code);
    EXPECT_NE(layout.error().message().find(word), std::string::npos) << layout.error().message();
}

TEST(SafetensorsLayout, RefusesByName) {
    expect_refused({{"wave", DType::complex_double, {1}}}, ErrorCode::unsupported, "'wave'");
    expect_refused({{"bad\xff", DType::float32, {1}}}, ErrorCode::unsupported, "not UTF-8");
    expect_refused({{"__metadata__", DType::float32, {1}}}, ErrorCode::unsupported, "the format's own");
    expect_refused({{"w", DType::float32, {1}}, {"w", DType::bfloat16, {1}}}, ErrorCode::invalid_argument,
                   "two tensors called 'w'");
    const std::uint64_t half = std::uint64_t{1} << 62U;
    expect_refused({{"w", DType::float32, {half}}}, ErrorCode::damaged, "64 bits");
    expect_refused({{"w", DType::uint8, {2, half}}, {"x", DType::uint8, {half, 2}}}, ErrorCode::damaged, "64 bits");
    if (test::looks_for_races) {
        return;  // what follows takes a minute there, and has no threads
    }
    std::vector<std::uint64_t> long_shape(5'000'000, std::numeric_limits<std::uint64_t>::max());
    long_shape.front() = 0;
    expect_refused({{"w", DType::uint8, long_shape}}, ErrorCode::unsupported, "--max-shard-size");
}

}  // namespace
}  // namespace layout
}  // namespace ckptfs::safetensors
