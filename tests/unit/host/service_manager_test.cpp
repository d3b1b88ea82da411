// What a service manager gets at its socket, of either kind.
#include "host/service_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "support/temporary_directory.h"

namespace ckptfs {
namespace {

using testing::HasSubstr;

/// A service manager's end.
class Manager {
 public:
    /// `name`: as in NOTIFY_SOCKET.
    explicit Manager(std::string name) : name_(std::move(name)), descriptor_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy(name_.begin(), name_.end(), std::begin(address.sun_path));
        const bool is_abstract = name_.front() == '@';
        if (is_abstract) {
            address.sun_path[0] = '\0';
        }
        const std::size_t nbytes = offsetof(sockaddr_un, sun_path) + name_.size() + (is_abstract ? 0 : 1);
        EXPECT_EQ(::bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(nbytes)), 0);
    }
    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;
    ~Manager() { ::close(descriptor_); }

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] std::string received() const {
        std::array<char, 256> text{};
        const ssize_t got = ::recv(descriptor_, text.data(), text.size(), MSG_DONTWAIT);
        return got < 0 ? "nothing" : std::string(text.data(), static_cast<std::size_t>(got));
    }

 private:
    std::string name_;
    int descriptor_;
};

TEST(ServiceManager, GetsTheStateAtAPathAndAtAnAbstractName) {
    const test::TemporaryDirectory directory;
    for (const std::string& name :
         {std::string(directory.path()) + "/notify", "@ckptfs-test-" + std::to_string(::getpid())}) {
        const Manager manager(name);
        const auto told = tell_service_manager(manager.name(), "READY=1\nSTATUS=mounted");
        ASSERT_TRUE(told.ok()) << told.error().message();
        EXPECT_EQ(manager.received(), "READY=1\nSTATUS=mounted");
        EXPECT_EQ(manager.received(), "nothing");
    }
}

TEST(ServiceManager, OneThatIsGoneIsAnError) {
    const test::TemporaryDirectory directory;
    const auto told = tell_service_manager(std::string(directory.path()) + "/nobody", "READY=1");
    ASSERT_FALSE(told.ok());
    EXPECT_EQ(told.error().system_errno(), ENOENT);
    EXPECT_THAT(told.error().message(), HasSubstr("cannot be told at NOTIFY_SOCKET"));
}

TEST(ServiceManager, WhatIsNoSocketsNameIsRefused) {
    for (const std::string& name : {std::string(), std::string("@"), std::string("/"), std::string("relative"),
                                    std::string("vsock:2:9999"), "/" + std::string(200, 'a')}) {
        const auto told = tell_service_manager(name, "READY=1");
        ASSERT_FALSE(told.ok()) << name;
        EXPECT_EQ(told.error().code(), ErrorCode::invalid_argument) << name;
    }
}

}  // namespace
}  // namespace ckptfs
