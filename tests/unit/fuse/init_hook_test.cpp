// The INIT exchange over a pair of sockets instead of /dev/fuse.
#include "fuse/init_hook.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>

namespace ckptfs {
namespace {

constexpr std::uint32_t init_ext = 1U << 30U;
constexpr std::uint32_t killpriv = 1U << 19U | 1U << 28U;
constexpr std::uint32_t mmap_bit = 1U << 4U;
constexpr std::uint32_t passthrough_bit = 1U << 5U;
constexpr std::uint64_t unique = 77;

struct Offer {
    std::uint32_t flags = init_ext | killpriv;
    std::uint32_t flags2 = mmap_bit | passthrough_bit;
};

struct Request {
    fuse_in_header header{};
    fuse_init_in init{};
};

struct Reply {
    fuse_out_header header{};
    fuse_init_out init{};
};

class InitExchange : public ::testing::Test {
 protected:
    void SetUp() override { ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends_.data()), 0); }
    void TearDown() override {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }

    void request(InitHook& hook, const Offer& offer) {
        Request sent;
        sent.header.opcode = FUSE_INIT;
        sent.header.unique = unique;
        sent.init.flags = offer.flags;
        sent.init.flags2 = offer.flags2;
        ASSERT_EQ(::send(ends_[0], &sent, sizeof(sent), 0), static_cast<ssize_t>(sizeof(sent)));
        Request seen;
        ASSERT_EQ(hook.read(ends_[1], &seen, sizeof(seen)), static_cast<ssize_t>(sizeof(seen)));
        EXPECT_EQ(std::memcmp(&sent, &seen, sizeof(sent)), 0);
    }

    Reply answer(InitHook& hook, std::uint64_t to = unique, std::int32_t error = 0) {
        Reply given;
        given.header.unique = to;
        given.header.error = error;
        given.init.flags = init_ext | 1U;
        std::array<iovec, 2> parts{{{&given.header, sizeof(given.header)}, {&given.init, sizeof(given.init)}}};
        EXPECT_EQ(hook.writev(ends_[1], parts.data(), 2), static_cast<ssize_t>(sizeof(given)));
        Reply arrived;
        EXPECT_EQ(::recv(ends_[0], &arrived, sizeof(arrived), 0), static_cast<ssize_t>(sizeof(arrived)));
        return arrived;
    }

 private:
    std::array<int, 2> ends_{-1, -1};
};

TEST_F(InitExchange, AsksForWhatIsWishedForAndOffered) {
    InitHook hook({.passthrough = true, .kills_privileges = true});
    request(hook, {});
    EXPECT_FALSE(hook.passthrough_allowed());
    const Reply reply = answer(hook);
    EXPECT_EQ(reply.init.flags, init_ext | killpriv | 1U);
    EXPECT_EQ(reply.init.flags2, mmap_bit | passthrough_bit);
    EXPECT_EQ(reply.init.unused[0], 1U);  // max_stack_depth
    EXPECT_TRUE(hook.passthrough_allowed());
    EXPECT_TRUE(hook.direct_mmap_allowed());
}

TEST_F(InitExchange, AsksForNothingThatIsNotWishedFor) {
    InitHook hook({});
    request(hook, {});
    const Reply reply = answer(hook);
    EXPECT_EQ(reply.init.flags, init_ext | 1U);
    EXPECT_EQ(reply.init.flags2, mmap_bit);
    EXPECT_EQ(reply.init.unused[0], 0U);
    EXPECT_FALSE(hook.passthrough_allowed());
    EXPECT_TRUE(hook.direct_mmap_allowed());
}

TEST_F(InitExchange, AsksForNothingThatIsNotOffered) {
    for (const Offer& offer : {Offer{.flags = init_ext, .flags2 = 0}, Offer{.flags = 0}}) {
        InitHook hook({.passthrough = true, .kills_privileges = true});
        request(hook, offer);
        const Reply reply = answer(hook);
        EXPECT_EQ(reply.init.flags, init_ext | 1U);
        EXPECT_EQ(reply.init.flags2, 0U);
        EXPECT_EQ(reply.init.unused[0], 0U);
        EXPECT_FALSE(hook.passthrough_allowed());
        EXPECT_FALSE(hook.direct_mmap_allowed());
    }
}

TEST_F(InitExchange, EditsTheAnswerToInitAloneAndOnlyOnce) {
    InitHook hook({.passthrough = true, .kills_privileges = true});
    request(hook, {});
    EXPECT_EQ(answer(hook, unique + 1).init.flags2, 0U);
    EXPECT_EQ(answer(hook, unique, -EPROTO).init.flags2, 0U);
    EXPECT_EQ(answer(hook).init.flags2, mmap_bit | passthrough_bit);
    EXPECT_EQ(answer(hook).init.flags2, 0U);
}

}  // namespace
}  // namespace ckptfs
