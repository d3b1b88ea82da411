// Replies that go through a pipe, into another pipe instead of /dev/fuse.
#include "fuse/reply_pipe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <random>
#include <vector>

#include "support/fake_files.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"

namespace ckptfs {
namespace {

constexpr std::uint64_t question = 41;
constexpr std::size_t page = 4096;

class ReplyPipeTest : public ::testing::Test {
 protected:
    void SetUp() override {
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
        answers_ = io::UniqueFd(ends[0]);
        device_ = io::UniqueFd(ends[1]);
        ASSERT_GE(::fcntl(device_.get(), F_SETPIPE_SZ, 1 << 20), 1 << 20);
        directory_.write("file", content_);
        file_ = io::UniqueFd(::open((directory_ / "file").c_str(), O_RDONLY | O_CLOEXEC));
        ask(question);
    }

    static void ask(std::uint64_t number) {
        fuse_in_header request{};
        request.unique = number;
        ReplyPipe::see_request(&request, sizeof(request));
    }
    /// What libfuse does for an empty reply to `number`; whether it was exchanged.
    bool write_reply(std::uint64_t number) {
        fuse_out_header header{};
        header.len = sizeof(header);
        header.unique = number;
        const iovec part{&header, sizeof(header)};
        return ReplyPipe::writes(device_.get(), part, answer_);
    }
    struct Answer {
        fuse_out_header header{};
        std::string bytes;
    };
    Answer answered() {
        Answer result;
        std::vector<char> all(2 << 20);
        std::size_t filled = 0;
        for (ssize_t got = 1; got > 0; filled += static_cast<std::size_t>(std::max<ssize_t>(got, 0))) {
            got = ::read(answers_.get(), all.data() + filled, all.size() - filled);
        }
        EXPECT_GE(filled, sizeof(result.header));
        std::memcpy(&result.header, all.data(), sizeof(result.header));
        result.bytes.assign(all.data() + sizeof(result.header), filled - sizeof(result.header));
        EXPECT_EQ(result.header.len, filled);
        return result;
    }

    const std::string content_ = test::random_bytes(2 << 20, 5);
    test::TemporaryDirectory directory_;
    io::UniqueFd answers_;
    io::UniqueFd device_;
    io::UniqueFd file_;
    ReplyPipe pipe_;
    ssize_t answer_ = 0;
};

TEST_F(ReplyPipeTest, ARepliesBytesAreThoseThatItWasGivenInOrder) {
    const std::string literal = "between";
    constexpr std::size_t nbytes = 500'000;
    for (int round = 0; round < 3; ++round) {
        ask(question + static_cast<std::uint64_t>(round));
        ASSERT_TRUE(pipe_.begin(2 * nbytes + literal.size()));
        ASSERT_TRUE(pipe_.take(file_.get(), 13, nbytes));
        ASSERT_TRUE(pipe_.take(std::as_bytes(std::span(literal))));
        ASSERT_TRUE(pipe_.take(file_.get(), 1'000'001, nbytes));
        pipe_.arm();
        ASSERT_TRUE(write_reply(question + static_cast<std::uint64_t>(round)));
        const Answer got = answered();
        EXPECT_EQ(answer_, static_cast<ssize_t>(got.header.len));
        EXPECT_EQ(got.header.unique, question + static_cast<std::uint64_t>(round));
        EXPECT_EQ(got.header.error, 0);
        EXPECT_EQ(got.bytes, content_.substr(13, nbytes) + literal + content_.substr(1'000'001, nbytes));
    }
}

TEST_F(ReplyPipeTest, TheLargestReplyFitsWhereverItsPiecesBegin) {
    constexpr std::size_t pieces = 4;
    std::mt19937 random(1);
    for (int round = 0; round < 200; ++round) {
        ASSERT_TRUE(pipe_.begin(ReplyPipe::most_nbytes));
        std::uint64_t left = ReplyPipe::most_nbytes;
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            // The worst: a byte of one page, all of many, a byte of another.
            const std::uint64_t part =
                piece + 1 == pieces ? left
                                    : (left / (pieces - piece) / page) * page + (round == 0 ? 2 : random() % page);
            ASSERT_TRUE(pipe_.take(file_.get(), (round == 0 ? page - 1 : random() % page) + piece * page, part))
                << round << ' ' << piece;
            left -= part;
        }
    }
    EXPECT_FALSE(pipe_.begin(ReplyPipe::most_nbytes + 1));
}

TEST_F(ReplyPipeTest, WhatTheDeviceDoesNotTakeAsPagesIsCopied) {
    directory_.write("device", "");
    // Nothing can be spliced into a file that is appended to.
    device_ = io::UniqueFd(::open((directory_ / "device").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    ASSERT_TRUE(pipe_.begin(700'000));
    ASSERT_TRUE(pipe_.take(file_.get(), 99, 700'000));
    pipe_.arm();
    ASSERT_TRUE(write_reply(question));
    EXPECT_EQ(answer_, static_cast<ssize_t>(700'000 + sizeof(fuse_out_header)));
    EXPECT_EQ(test::file_bytes(directory_ / "device").substr(sizeof(fuse_out_header)), content_.substr(99, 700'000));
}

TEST_F(ReplyPipeTest, NothingIsMadeForWhatIsNotTaken) {
    const auto descriptors = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
    ASSERT_TRUE(pipe_.begin(page));
    const auto before = descriptors();
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(pipe_.begin(page));
        EXPECT_TRUE(pipe_.is_empty());
    }
    EXPECT_EQ(descriptors(), before);
    ask(0);
    EXPECT_FALSE(pipe_.begin(page)) << "no request was seen";
}

TEST_F(ReplyPipeTest, WhatWasTakenForNothingIsInNoOtherReply) {
    ASSERT_TRUE(pipe_.begin(3 * page));
    ASSERT_TRUE(pipe_.take(file_.get(), 0, page));
    ask(question + 1);
    ASSERT_TRUE(pipe_.begin(page));
    ASSERT_TRUE(pipe_.take(file_.get(), 7, page));
    pipe_.arm();
    ASSERT_TRUE(write_reply(question + 1));
    EXPECT_EQ(answered().bytes, content_.substr(7, page));
}

TEST_F(ReplyPipeTest, WhatIsNotThereIsNotTaken) {
    ASSERT_TRUE(pipe_.begin(2 * page));
    EXPECT_FALSE(pipe_.take(file_.get(), content_.size() - page, 2 * page)) << "the file ends before";
    ASSERT_TRUE(pipe_.begin(page));
    EXPECT_FALSE(pipe_.take(-1, 0, page));
}

TEST_F(ReplyPipeTest, OtherRepliesAreLeftAlone) {
    EXPECT_FALSE(write_reply(question));
    ASSERT_TRUE(pipe_.begin(page));
    ASSERT_TRUE(pipe_.take(file_.get(), 0, page));
    EXPECT_FALSE(write_reply(question)) << "it was not to be sent";
}

TEST_F(ReplyPipeTest, WhoeverWaitsIsToldWhereThereIsLessThanWasAnnounced) {
    ASSERT_TRUE(pipe_.begin(2 * page));
    ASSERT_TRUE(pipe_.take(file_.get(), 0, page));
    pipe_.arm();
    ASSERT_TRUE(write_reply(question));
    const Answer got = answered();
    EXPECT_EQ(got.header.error, -EIO);
    EXPECT_EQ(got.header.unique, question);
    EXPECT_EQ(got.bytes, "");
}

TEST_F(ReplyPipeTest, AFewAreLentAndComeBack) {
    ReplyPipes pipes;
    std::vector<ReplyPipes::Loan> loans;
    for (auto loan = pipes.borrow(); loan; loan = pipes.borrow()) {
        loans.push_back(std::move(loan));
        ASSERT_LT(loans.size(), 100U);
    }
    EXPECT_GE(loans.size(), 4U);
    ReplyPipe* const last = loans.back().get();
    loans.pop_back();
    EXPECT_EQ(pipes.borrow().get(), last);
}

}  // namespace
}  // namespace ckptfs
