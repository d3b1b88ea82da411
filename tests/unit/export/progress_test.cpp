// What is said while an export goes on.
#include "export/progress.h"

#include <gtest/gtest.h>

namespace ckptfs::exporting {
namespace {

TEST(Progress, SaysWhatIsDoneAndWhatIsLeft) {
    Counters counters;
    counters.total = 4'000'000'000;
    EXPECT_EQ(progress_text(counters, 0), "looking at what there is to write");
    counters.phase = Phase::writing;
    counters.earlier = 500'000'000;
    counters.read = 200'000'000;
    counters.copied = 200'000'000;
    counters.holes = 100'000'000;
    EXPECT_EQ(progress_text(counters, 0), "1.0 GB of 4.0 GB (25 %)");
    EXPECT_EQ(progress_text(counters, 1e8), "1.0 GB of 4.0 GB (25 %), 100.0 MB/s, 30 s left");
    counters.phase = Phase::syncing;
    EXPECT_EQ(progress_text(counters, 1e8), "4.0 GB written, waiting for the disk");
    counters.phase = Phase::verifying;
    counters.verified = 2'000'000'000;
    EXPECT_EQ(progress_text(counters, 1e7),
              "read back and compared: 2.0 GB of 4.0 GB (50 %), 10.0 MB/s, 3 min 20 s left");
    counters.total = 0;
    EXPECT_EQ(progress_text(counters, 0), "read back and compared: 2.0 GB of 0 B");
}

TEST(Progress, IsThatOfTheMoment) {
    Counters counters;
    const auto text = progress_of(counters);
    EXPECT_EQ(text(), progress_text(counters, 0));
    counters.phase = Phase::syncing;
    counters.total = 1000;
    EXPECT_EQ(text(), progress_text(counters, 0));
}

}  // namespace
}  // namespace ckptfs::exporting
