// This process, where it does something that nobody asked for in particular.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/caller.h"

namespace ckptfs {

class OwnCaller final : public Caller {
 public:
    [[nodiscard]] std::uint32_t uid() const override { return ::geteuid(); }
    [[nodiscard]] std::uint32_t gid() const override { return ::getegid(); }
    [[nodiscard]] std::uint32_t umask() const override { return 0; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override {
        std::vector<gid_t> groups(static_cast<std::size_t>(std::max(::getgroups(0, nullptr), 0)));
        const int count = ::getgroups(static_cast<int>(groups.size()), groups.data());
        if (count < 0) {
            return Errno{errno};
        }
        groups.resize(static_cast<std::size_t>(count));
        return std::vector<std::uint32_t>(groups.begin(), groups.end());
    }
};

}  // namespace ckptfs
