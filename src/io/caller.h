// On whose behalf something is done to SOURCE.
#pragma once

#include <cstdint>
#include <vector>

#include "util/outcome.h"

namespace ckptfs {

/// A process that asks for an operation, as the kernel knows it.
class Caller {
 public:
    Caller() = default;
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    virtual ~Caller() = default;

    /// Not where the kernel writes back the pages of a mapping: it does so for nobody, and its request names no
    /// process.
    [[nodiscard]] virtual bool is_known() const { return true; }
    [[nodiscard]] virtual std::uint32_t uid() const = 0;  ///< the one that files are asked for with
    [[nodiscard]] virtual std::uint32_t gid() const = 0;
    [[nodiscard]] virtual std::uint32_t umask() const = 0;
    /// Supplementary ones. Costs a look at /proc.
    [[nodiscard]] virtual Outcome<std::vector<std::uint32_t>> groups() const = 0;
};

}  // namespace ckptfs
