// docs/support.md is generated from the list of refusals; set CKPTFS_UPDATE_DOCS=1 to write it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>

#include "support/test_data.h"
#include "zero/refusal.h"

namespace ckptfs::zero {
namespace {

TEST(Support, PageIsGeneratedFromTheCode) {
    const std::string path = test_data() / "../../docs/support.md";
    if (std::getenv("CKPTFS_UPDATE_DOCS") != nullptr) {
        std::ofstream(path) << support_markdown();
    }
    std::ifstream stream(path);
    const std::string page{std::istreambuf_iterator<char>(stream), {}};
    EXPECT_EQ(page, support_markdown()) << "run unit_zero with CKPTFS_UPDATE_DOCS=1";
}

TEST(Support, EveryRefusalSaysWhatToDo) {
    ASSERT_FALSE(refusals().empty());
    for (const RefusalEntry& entry : refusals()) {
        const Error error = refuse(entry.id, "/ckpt", "evidence");
        EXPECT_EQ(error.code(), ErrorCode::unsupported);
        EXPECT_NE(error.message().find(entry.name), std::string::npos);
        // "NAME is not supported": a plural would need another verb.
        const std::string_view head =
            entry.name.substr(0, std::min(entry.name.find(" of "), entry.name.find(" that ")));
        EXPECT_FALSE(head.ends_with('s')) << entry.name;
        EXPECT_NE(error.message().find(entry.instead), std::string::npos);
    }
}

}  // namespace
}  // namespace ckptfs::zero
