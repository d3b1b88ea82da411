// What the specification of safetensors forbids is found.
#include "verify/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/fake_files.h"

namespace ckptfs::verify {
namespace safetensors_file {
namespace {

using testing::HasSubstr;

std::string file_of(std::string header, std::size_t data_nbytes, std::uint64_t claimed = 0) {
    std::uint64_t length = claimed == 0 ? header.size() : claimed;
    std::string result;
    for (int byte = 0; byte < 8; ++byte, length >>= 8U) {
        result += static_cast<char>(length & 0xffU);
    }
    return result + header + std::string(data_nbytes, 'x');
}

Result<SafetensorsFile> read(const std::string& bytes) {
    return read_safetensors(ckptfs::test::MemoryFile(bytes, "model.safetensors"));
}

std::string refusal(const std::string& bytes) {
    const auto result = read(bytes);
    EXPECT_FALSE(result.ok());
    return result.ok() ? "" : result.error().message();
}

const std::string a = R"("a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]})";

TEST(SafetensorsFile, TensorsAreInTheOrderOfTheirBytes) {
    const auto result =
        read(file_of("{"
                     R"("z":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                     R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[4,4]},)"
                     R"("a":{"dtype":"F4","shape":[2,4],"data_offsets":[4,8]},)"
                     R"("__metadata__":{"format":"pt"}}   )",
                     8));
    ASSERT_TRUE(result.ok()) << result.error().message();
    ASSERT_EQ(result->tensors.size(), 3U);
    EXPECT_EQ(result->tensors[0].name, "z");
    EXPECT_EQ(result->tensors[1].name, "a");
    EXPECT_EQ(result->tensors[1].dtype, model::DType::float4_e2m1fn_x2);
    EXPECT_EQ(result->tensors[1].shape, (std::vector<std::uint64_t>{2, 2}));
    EXPECT_EQ(result->tensors[1].offset - result->tensors[0].offset, 4U);
    EXPECT_EQ(result->metadata.at("format"), "pt");
}

TEST(SafetensorsFile, TheHeaderIsChecked) {
    EXPECT_TRUE(read(file_of("{" + a + "}", 12)).ok());
    EXPECT_THAT(refusal("1234567"), HasSubstr("shorter"));
    EXPECT_THAT(refusal(file_of("{" + a + "}", 12, 1000)), HasSubstr("longer than the file"));
    EXPECT_THAT(refusal(file_of("{" + a + "}", 12, 100'000'001)), HasSubstr("longer than the file"));
    EXPECT_THAT(refusal(file_of(" {" + a + "}", 12)), HasSubstr("does not begin with '{'"));
    EXPECT_THAT(refusal(file_of("{" + a + "}\n", 12)), HasSubstr("padded"));
    EXPECT_THAT(refusal(file_of("{" + a + ",}", 12)), HasSubstr("no JSON object"));
    EXPECT_THAT(refusal(file_of("{" + a + "," + a + "}", 12)), HasSubstr("'a' twice"));
    EXPECT_THAT(refusal(file_of("{"
                                R"("__metadata__":{"step":1}})",
                                0)),
                HasSubstr("metadata"));
    EXPECT_THAT(refusal(file_of("{"
                                R"("__metadata__":"pt"})",
                                0)),
                HasSubstr("metadata"));
}

TEST(SafetensorsFile, TensorsAreChecked) {
    const auto tensor = [](const std::string& members, std::size_t nbytes = 12) {
        return refusal(file_of("{\"a\":{" + members + "}}", nbytes));
    };
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[2,3])"), HasSubstr("other members"));
    EXPECT_THAT(tensor(R"("dtype":"bfloat16","shape":[6],"data_offsets":[0,12])"), HasSubstr("'bfloat16'"));
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[-6],"data_offsets":[0,12])"), HasSubstr("whole numbers"));
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[6],"data_offsets":[12,0])"), HasSubstr("the larger"));
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[6],"data_offsets":[0,10])"), HasSubstr("has 10 bytes"));
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[9223372036854775808,2],"data_offsets":[0,0])"),
                HasSubstr("has 0 bytes"));
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[6],"data_offsets":[0,12])", 11), HasSubstr("behind the end"));
    EXPECT_THAT(tensor(R"("dtype":"BF16","shape":[6],"data_offsets":[0,12])", 13), HasSubstr("end at byte"));
    EXPECT_THAT(tensor(R"("dtype":"F4","shape":[1],"data_offsets":[0,0])", 0), HasSubstr("last extent"));
}

TEST(SafetensorsFile, GapsAndOverlapsAreFound) {
    const auto with_b = [](const std::string& offsets, std::size_t nbytes) {
        return refusal(file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}}", nbytes));
    };
    EXPECT_THAT(with_b("[16,20]", 20), HasSubstr("'b' begins"));
    EXPECT_THAT(with_b("[8,12]", 12), HasSubstr("'b' begins"));
    EXPECT_THAT(with_b("[0,4]", 12), HasSubstr("begins at byte"));
}

}  // namespace
}  // namespace safetensors_file
}  // namespace ckptfs::verify
