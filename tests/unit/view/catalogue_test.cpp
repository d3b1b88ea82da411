// What the root of a catalogue holds so that nobody trains from scratch by mistake.
#include "view/catalogue.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "ckptfs/view_request.h"

namespace ckptfs::view {
namespace catalogue_test {

TEST(CatalogueGuard, LatestNamesADirectoryWhoseModelStatesLeadNowhere) {
    std::string named;
    std::set<std::string> links;
    for (const StaticEntry& entry : catalogue_guard()) {
        if (entry.is_link) {
            links.insert(entry.path);
            EXPECT_EQ(entry.text.find('/'), std::string::npos) << "a name that the directory does not have";
        } else {
            EXPECT_TRUE(entry.path == "latest" || entry.path == "latest_universal") << entry.path;
            named = entry.text;
        }
    }
    EXPECT_EQ(named, "choose world-size-N in this directory");
    for (const std::string& directory : {named, std::string("pytorch_model")}) {
        EXPECT_TRUE(links.contains(directory + "/mp_rank_00_model_states.pt"));
        EXPECT_TRUE(links.contains(directory + "/zero_pp_rank_0_mp_rank_00_model_states.pt"));
    }
}

TEST(CatalogueGuard, NoneOfItHasTheNameOfARequest) {
    for (const StaticEntry& entry : catalogue_guard()) {
        EXPECT_FALSE(ViewRequest::parse(entry.path.substr(0, entry.path.find('/')))) << entry.path;
    }
}

}  // namespace catalogue_test
}  // namespace ckptfs::view
