// ckptfs export as a command, while something happens to its source.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "harness.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ExportCommand : public testing::Test {
 protected:
    int run(const fs::path& source, std::vector<std::string> options) {
        options.insert(options.begin(), {"export", source.string(), target_.string()});
        return harness_.run(options);
    }

    Harness harness_;
    const fs::path target_ = harness_.directory() / "exported";
};

TEST_F(ExportCommand, WhatComesInTheLastMomentIsSeen) {
    const fs::path source = harness_.copy("stage2_bf16_ws4");
    harness_.interrupted = [&] {
        if (fs::exists(target_.string() + ".partial/content/latest")) {
            std::ofstream(source / "added") << "x";
        }
        return 0;
    };
    for (const char* tag : {"", "--tag=global_step2"}) {
        fs::remove(source / "added");
        fs::remove_all(target_.string() + ".partial");
        std::vector<std::string> options{"--world-size=2", "--jobs=1"};
        if (*tag != '\0') {
            options.emplace_back(tag);
        }
        EXPECT_EQ(run(source, options), 4) << harness_.out();
        EXPECT_THAT(harness_.error(), HasSubstr("was begun when there was no 'added', which is there now"));
        EXPECT_FALSE(fs::exists(target_));
    }
}

}  // namespace
}  // namespace ckptfs::cli::test
