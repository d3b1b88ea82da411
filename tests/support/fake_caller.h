// A caller as a test wants it.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "io/caller.h"

namespace ckptfs::test {

/// By default this process itself, with the usual umask.
struct FakeCaller final : Caller {
    FakeCaller() = default;
    FakeCaller(std::uint32_t user, std::uint32_t group, std::vector<std::uint32_t> others = {})
        : uid_is(user), gid_is(group), groups_are(std::move(others)) {}

    [[nodiscard]] bool is_known() const override { return known; }
    [[nodiscard]] std::uint32_t uid() const override { return uid_is; }
    [[nodiscard]] std::uint32_t gid() const override { return gid_is; }
    [[nodiscard]] std::uint32_t umask() const override { return umask_is; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override {
        ++asked_for_groups;
        return groups_error == 0 ? Outcome(groups_are) : Errno{groups_error};
    }

    std::uint32_t uid_is = ::geteuid();
    std::uint32_t gid_is = ::getegid();
    std::uint32_t umask_is = 022;
    std::vector<std::uint32_t> groups_are;
    int groups_error = 0;
    bool known = true;
    mutable std::atomic<int> asked_for_groups{0};
};

}  // namespace ckptfs::test
