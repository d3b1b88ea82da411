// Config files as DeepSpeed reads them: held against Python's hjson (tests/data/hjson), and what errors say.
#include "zero/hjson.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "zero/config.h"

namespace ckptfs::zero {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(Hjson, IsWhatPythonReads) {
    std::ifstream stream(test_data() / "hjson/cases.json");
    const json cases = json::parse(stream);
    int refused = 0;
    for (const json& one : cases) {
        const auto found = parse_hjson(one["text"].get<std::string>(), "f");
        refused += one.contains("refused") ? 1 : 0;
        if (one.contains("refused")) {
            EXPECT_FALSE(found.ok()) << one["text"] << " became " << *found;
        } else if (found.ok()) {
            EXPECT_EQ(*found, one["value"]) << one["text"];
            EXPECT_EQ(found->dump(), one["value"].dump()) << one["text"];
        } else {
            ADD_FAILURE() << one["text"] << ": " << found.error().message();
        }
    }
    EXPECT_GT(refused, 300);
    EXPECT_GT(cases.size(), 1000U);
}

std::string message(const std::string& text) {
    const auto found = parse_hjson(text, "the config 'f'");
    EXPECT_FALSE(found.ok()) << text;
    return found.ok() ? "" : found.error().message();
}

TEST(Hjson, ErrorsNameThePlaceAndTheReason) {
    EXPECT_EQ(message("{\n  \"stage\": 2\n  \"é\" 3\n}"),
              "the config 'f', line 3, column 7: ':' is expected after the key 'é'");
    EXPECT_EQ(message("{\n  a: 1\n  b: {c: 1, c: 2}\n}"),
              "the config 'f', line 3, column 13: the key 'c' is there twice in one object; remove one");
    EXPECT_THAT(message("{\n a: [1\n}"), HasSubstr("line 3, column 1: '}' where a value is expected"));
    EXPECT_THAT(message("{\n a: 1\n"), HasSubstr("line 1, column 1: the '{' that is here is never closed"));
    EXPECT_THAT(message("a: 1\n/* b: 2"), HasSubstr("line 2, column 1: the comment that begins here has no end"));
    EXPECT_THAT(message("a: \"b\nc\""), HasSubstr("line 1, column 6"));
    EXPECT_THAT(message("a: 1e999"), HasSubstr("column 4: a number outside the range of a double"));
    EXPECT_THAT(message("a: \"\\ud800\""), HasSubstr("half of a surrogate pair"));
    EXPECT_THAT(message("a: \xff"), HasSubstr("not UTF-8"));
    EXPECT_THAT(message("{a: 1} b"), HasSubstr("column 8: there is more"));
}

TEST(Hjson, DepthIsBounded) {
    EXPECT_TRUE(parse_hjson(std::string(400, '[') + std::string(400, ']'), "f").ok());
    EXPECT_THAT(message(std::string(100'000, '[')), HasSubstr("more than 400 levels"));
    std::string objects;
    for (int i = 0; i < 100'000; ++i) {
        objects += "{a:";
    }
    EXPECT_THAT(message(objects), HasSubstr("more than 400 levels"));
}

TEST(Hjson, ATextOfOneLineMayHoldTripleQuotes) {
    EXPECT_EQ((*parse_hjson("a: '''b'c'''", "f"))["a"], "b'c");
}

class ConfigFile : public testing::Test {
 protected:
    Result<json> read(const std::string& text) {
        const std::string path = std::string(temporary_.path()) + "/ds_config.json";
        std::ofstream(path) << text;
        return read_config_file(path);
    }

    ckptfs::test::TemporaryDirectory temporary_;
};

TEST_F(ConfigFile, IsHjson) {
    const auto config =
        read("{\n  // ZeRO\n  zero_optimization: {\n    stage: 3,\n    sub_group_size: 1e6,  # small\n  },\n}\n");
    ASSERT_TRUE(config.ok()) << config.error().message();
    EXPECT_EQ(layout_config(*config).sub_group_size, 1'000'000U);
}

TEST_F(ConfigFile, WholeNumbersAreThoseOfJson) {
    const json config = *read("a: 3\nb: -3\nc: 3.0\nd: 18446744073709551615\ne: 0\nf: -0\n");
    for (const char* key : {"a", "c", "d", "e"}) {
        EXPECT_TRUE(config[key].is_number_unsigned()) << key;
    }
    EXPECT_EQ(config["b"], -3);
    EXPECT_EQ(config["f"], 0);
}

TEST_F(ConfigFile, ErrorsNameTheFile) {
    EXPECT_THAT(read("[1]").error().message(), HasSubstr("ds_config.json' holds a list"));
    EXPECT_THAT(read("{a: 1, a: 2}").error().message(), HasSubstr("ds_config.json', line 1, column 8: the key 'a'"));
    EXPECT_THAT(read(std::string(5 << 20, ' ')).error().message(), HasSubstr("is larger than"));
    EXPECT_THAT(read_config_file(std::string(temporary_.path())).error().message(), HasSubstr("cannot be read"));
    EXPECT_EQ(read_config_file("/nonexistent").error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace ckptfs::zero
