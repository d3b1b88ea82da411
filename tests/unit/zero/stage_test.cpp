// read_stage(): in every form in which Python has pickled it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "zero/optimizer_file.h"

namespace ckptfs::zero {
namespace {

using namespace std::string_literals;
using testing::AllOf;
using testing::HasSubstr;

Result<int> stage_in(const std::string& value) {
    const auto tree = *pickle::Tree::parse("\x80\x02"s + value + ".");
    return read_stage({tree->root(), {"shard.pt", "zero_stage"}});
}

const std::string stage_enum = "cdeepspeed.runtime.zero.config\nZeroStageEnum\n";

/// getattr(ZeroStageEnum, name), as pickle.dumps() of Python 3.11.2 writes it.
std::string by_name(const std::string& name) {
    return "c__builtin__\ngetattr\n" + stage_enum + "X"s + static_cast<char>(name.size()) + "\0\0\0"s + name + "\x86R";
}

TEST(Stage, IsReadInEveryFormThatPythonWrites) {
    EXPECT_EQ(*stage_in("K\x02"s), 2) << "an int, in old files";
    EXPECT_EQ(*stage_in(stage_enum + "K\x01\x85R"), 1) << "ZeroStageEnum(1)";
    EXPECT_EQ(*stage_in(by_name("disabled")), 0);
    EXPECT_EQ(*stage_in(by_name("optimizer_states")), 1);
    EXPECT_EQ(*stage_in(by_name("gradients")), 2);
    EXPECT_EQ(*stage_in(by_name("weights")), 3);
}

TEST(Stage, IsNeverGuessed) {
    for (const std::string& value : {"N"s, "K\x04"s, "J\xff\xff\xff\xff"s, stage_enum + ")R",
                                     stage_enum + "X\x01\0\0\0a\x85R"s, by_name("momenta"), by_name("")}) {
        const auto stage = stage_in(value);
        ASSERT_FALSE(stage.ok()) << value;
        EXPECT_EQ(stage.error().code(), ErrorCode::damaged);
        EXPECT_THAT(stage.error().message(), AllOf(HasSubstr("shard.pt: zero_stage"), HasSubstr("expected the stage")));
    }
}

}  // namespace
}  // namespace ckptfs::zero
