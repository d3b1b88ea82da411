// Stream: what is handed over rather than read, and who is told where it changed on its way.
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>

#include "streams.h"

namespace ckptfs::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// Whose bytes may turn out to be another generation's.
class ChangingFile final : public MemoryFile {
 public:
    using MemoryFile::MemoryFile;
    Result<void> check() const override {
        ++checks;
        return has_changed ? Error(ErrorCode::stale, "changed") : Result<void>();
    }

    std::atomic<bool> has_changed = false;
    mutable std::atomic<int> checks = 0;
};

/// Where nothing is read ahead that comes at once.
ReadAheadOptions few_processors() {
    auto few = options();
    few.most_fast_streams = 0;
    few.now = standing_still;
    return few;
}

/// One stream of a file of two blocks, with nothing read ahead.
class HandingOver : public testing::Test {
 protected:
    std::shared_ptr<ChangingFile> file_ = std::make_shared<ChangingFile>(random_bytes(2 * mib), "shard");
    ReadAhead ahead_{few_processors()};
    Stream stream_{ahead_, file_, Stream::Ahead::always};
    CollectingTarget target_;
    std::vector<std::byte> out_ = std::vector<std::byte>(mib);
};

TEST_F(HandingOver, IsDoneInThePlaceOfReadingWhatIsThereAtOnce) {
    const auto file = std::make_shared<ChangingFile>(random_bytes(8 * mib));
    ReadAhead ahead(few_processors());
    Stream stream(ahead, file, Stream::Ahead::always);
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        const auto read = stream.read(at, out_, &target_);
        ASSERT_TRUE(read.ok());
        EXPECT_EQ(read->count, 0U);
        ASSERT_TRUE(read->handed_over);
        ASSERT_EQ(target_.bytes, file->bytes().substr(at, mib));
    }
    EXPECT_TRUE(file->calls().empty());
    EXPECT_EQ(file->checks, 16) << "before and after";
    EXPECT_TRUE(stream.settle().ok());
    EXPECT_EQ(stream.read(0, std::span(out_).first(4096), &target_)->count, 1U) << "small ones are copied";
    target_.most_nbytes = mib - 1;
    const auto read = stream.read(0, out_, &target_);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read->count, 1U) << "the target has no room";
    EXPECT_EQ(read->parts.front().data(), out_.data());
    EXPECT_EQ(ahead.held_nbytes(), 0U);
}

TEST_F(HandingOver, IsNotDoneOfWhatIsReadAhead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(40 * mib));
    auto chosen = options();
    chosen.now = standing_still;
    ReadAhead ahead(chosen);
    Stream stream(ahead, file, Stream::Ahead::always);
    read_in_order(stream, long_run);
    EXPECT_GT(stream.read(long_run, out_, &target_)->count, 0U);
    EXPECT_EQ(target_.begun, 0);
    EXPECT_TRUE(stream.read(8 * mib, out_, &target_)->handed_over) << "elsewhere";
    Stream kept_by_the_kernel(ahead, file, Stream::Ahead::if_slow);
    ReadAhead without_memory(options(0));
    Stream never_read_ahead(without_memory, file, Stream::Ahead::always);
    for (Stream* const other : {&kept_by_the_kernel, &never_read_ahead}) {
        for (std::uint64_t at = 0; at < file->size(); at += mib) {
            EXPECT_TRUE(other->read(at, out_, &target_)->handed_over) << at;
        }
    }
}

TEST_F(HandingOver, IsDoneWhileThereAreMoreStreamsThanProcessorsThatReadAhead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(128 * mib));
    auto two = options();
    two.most_fast_streams = 2;
    two.now = standing_still;
    ReadAhead ahead(two);
    std::map<const Stream*, std::uint64_t> read_until;
    std::vector<std::byte> out(request);
    const auto goes_on_by_handing_over = [&](Stream& stream) {
        const auto read = stream.read(read_until[&stream], out, &target_);
        EXPECT_TRUE(read.ok());
        read_until[&stream] += request;
        return read->handed_over != nullptr;
    };
    const auto go_on = [&](Stream& stream, std::uint64_t nbytes) {
        for (std::uint64_t done = 0; done < nbytes; done += request) {
            goes_on_by_handing_over(stream);
        }
    };
    Stream one(ahead, file, Stream::Ahead::always);
    Stream kept_by_the_kernel(ahead, file, Stream::Ahead::if_slow);
    Stream read_elsewhere(ahead, file, Stream::Ahead::always);
    go_on(kept_by_the_kernel, long_run);
    goes_on_by_handing_over(read_elsewhere);
    auto another = std::make_unique<Stream>(ahead, file, Stream::Ahead::always);
    go_on(one, long_run);
    go_on(*another, long_run);
    EXPECT_FALSE(goes_on_by_handing_over(one));
    EXPECT_FALSE(goes_on_by_handing_over(*another));
    auto third = std::make_unique<Stream>(ahead, file, Stream::Ahead::always);
    go_on(*third, long_run);
    EXPECT_TRUE(goes_on_by_handing_over(*third));
    go_on(one, 6 * mib);  // what was read ahead is used up
    EXPECT_TRUE(goes_on_by_handing_over(one));
    go_on(*another, 6 * mib);
    while (ahead.held_nbytes() > 0) {
        ahead.release_idle();  // a thread may still have read into a block
        go_on(one, request);
        go_on(*another, request);
        go_on(*third, request);
    }
    another.reset();
    EXPECT_FALSE(goes_on_by_handing_over(*third)) << "two are left";
    Stream fourth(ahead, file, Stream::Ahead::always);
    go_on(fourth, long_run);
    EXPECT_TRUE(goes_on_by_handing_over(fourth));
    for (int round = 0; round < 2; ++round) {
        ahead.release_idle();
        go_on(one, request);
        go_on(fourth, request);
    }
    EXPECT_FALSE(goes_on_by_handing_over(fourth)) << "nobody has used the third one";
}

TEST_F(HandingOver, WhatIsWaitedForIsReadAheadInstead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(32 * mib));
    auto slow = few_processors();
    std::atomic<int> looks = 0;
    slow.now = [&looks] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(5 * looks++)); };
    ReadAhead ahead(slow);
    Stream stream(ahead, file, Stream::Ahead::always);
    int handed_over = 0;
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        const auto read = stream.read(at, out_, &target_);
        ASSERT_TRUE(read.ok());
        handed_over += read->handed_over ? 1 : 0;
    }
    EXPECT_EQ(handed_over, 1) << "until it is known to be read in order";
}

TEST_F(HandingOver, WhatIsTornIsTornForAllWhoHaveTheFileOpen) {
    const auto file = std::make_shared<ChangingFile>(random_bytes(2 * mib));
    ReadAhead ahead(few_processors());
    Stream one(ahead, file, Stream::Ahead::always);
    Stream another(ahead, std::make_shared<MemoryFile>(random_bytes(2 * mib)), Stream::Ahead::always);
    const auto other_file = std::make_shared<ChangingFile>(random_bytes(2 * mib), "other");
    Stream of_other_file(ahead, other_file, Stream::Ahead::always);
    const auto read = one.read(0, out_, &target_);
    ASSERT_TRUE(read->handed_over);
    file->has_changed = true;
    EXPECT_FALSE(read->handed_over->gone_on());
    file->has_changed = false;
    EXPECT_TRUE(read->handed_over->gone_on()) << "it is told once";
    EXPECT_FALSE(one.settle().ok());
    EXPECT_FALSE(another.settle().ok()) << "the page cache may have given them to its reader";
    EXPECT_TRUE(of_other_file.settle().ok());
}

TEST_F(HandingOver, ClosingWaitsForNothingThatBeginsLater) {
    auto early = stream_.read(0, out_, &target_);
    auto closing = std::async(std::launch::async, [&] { return stream_.settle(); });
    EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    const auto late = stream_.read(mib, out_, &target_);
    ASSERT_TRUE(late->handed_over);
    early->handed_over.reset();
    EXPECT_TRUE(closing.get().ok());
}

TEST_F(HandingOver, IsNotTriedAgainWhereAFileCannot) {
    const auto file = std::make_shared<ChangingFile>(random_bytes(4 * mib));
    ReadAhead ahead(few_processors());
    Stream stream(ahead, file, Stream::Ahead::always);
    target_.takes_memory = false;
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        EXPECT_EQ(stream.read(at, out_, &target_)->count, 1U);
    }
    EXPECT_EQ(target_.begun, 1);
}

TEST_F(HandingOver, SmallPiecesInOnePlaceSayNothingOfOthers) {
    const auto source = std::make_shared<MemoryFile>(random_bytes(4 * mib));
    PieceList list;
    for (std::uint64_t at = 0; at < mib; at += 2 * kib) {
        list.add_source(source.get(), 2 * mib - at - kib, 2 * kib);
    }
    list.add_source(source.get(), mib, 2 * mib);
    const auto file = *VirtualFile::create("mixed", std::move(list), source);
    ReadAhead ahead(few_processors());
    Stream stream(ahead, file, Stream::Ahead::always);
    EXPECT_EQ(stream.read(0, out_, &target_)->count, 1U);
    EXPECT_TRUE(stream.read(mib, out_, &target_)->handed_over);
    EXPECT_EQ(target_.bytes, source->bytes().substr(mib, mib));
}

TEST_F(HandingOver, WhatHasChangedBeforeIsAnError) {
    file_->has_changed = true;
    const auto read = stream_.read(0, out_, &target_);
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code(), ErrorCode::stale);
    EXPECT_TRUE(stream_.settle().ok()) << "nothing wrong has gone out";
}

TEST_F(HandingOver, WhatChangesOnTheWayIsToldByTheNextReadAndAtTheEnd) {
    auto read = stream_.read(0, out_, &target_);
    ASSERT_TRUE(read.ok());
    ASSERT_TRUE(read->handed_over);
    file_->has_changed = true;
    auto closing = std::async(std::launch::async, [&] { return stream_.settle(); });
    EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout) << "it waits";
    read->handed_over.reset();
    const auto settled = closing.get();
    ASSERT_FALSE(settled.ok());
    EXPECT_EQ(settled.error().code(), ErrorCode::stale);
    EXPECT_THAT(settled.error().message(), AllOf(HasSubstr("'shard'"), HasSubstr("changed")));
    file_->has_changed = false;
    EXPECT_EQ(stream_.read(mib, out_, &target_).error().code(), ErrorCode::stale) << "once is for ever";
    EXPECT_EQ(stream_.read(mib, out_).error().code(), ErrorCode::stale);
}

}  // namespace
}  // namespace ckptfs::test
