// Who waits for whom where several processes want one mount: never without end.
#include "share/shared_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temporary_directory.h"

namespace ckptfs::share {
namespace {

using testing::HasSubstr;

class Joining : public testing::Test {
 protected:
    Joining() { EXPECT_TRUE(place_.make().ok()); }

    [[nodiscard]] SharedPlace find() const {
        return SharedPlace::find({temporary_.path(), "", {}},
                                 [this](const std::string& name) {
                                     return name == "TMPDIR" ? std::optional(temporary_.path()) : std::nullopt;
                                 })
            .value();
    }

    /// What join() says after a moment in which `lock` is held by somebody else.
    std::string refusal() {
        const auto joined = SharedView::join(
            place_, [] { return StartReport{}; }, std::chrono::milliseconds(50));
        return joined ? "joined" : joined.error().message();
    }

    ckptfs::test::TemporaryDirectory temporary_;
    SharedPlace place_ = find();
};

TEST_F(Joining, DoesNotWaitWithoutEndForWhoStartsADaemon) {
    auto lock = FileLock::of_directory(place_.directory()).value();
    ASSERT_TRUE(lock.try_lock(FileLock::Kind::exclusive).value());
    EXPECT_THAT(refusal(), HasSubstr("fuser -k '" + place_.directory() + "'"));
    lock.unlock();
    EXPECT_EQ(refusal(), "joined");
}

TEST_F(Joining, DoesNotWaitWithoutEndForWhoEndsTheMount) {
    auto lock = FileLock::of_file(place_.users()).value();
    ASSERT_TRUE(lock.try_lock(FileLock::Kind::exclusive).value());
    EXPECT_THAT(refusal(), HasSubstr("fuser -k '" + place_.daemon() + "'"));
    lock.unlock();
    EXPECT_EQ(refusal(), "joined");
}

}  // namespace
}  // namespace ckptfs::share
