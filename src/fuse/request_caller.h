// Who asks for an operation, as a request of the kernel's tells it.
#pragma once

#include <sys/types.h>

#include "fuse/libfuse.h"
#include "io/caller.h"

namespace ckptfs {

/// Valid as long as its request is unanswered.
class RequestCaller final : public Caller {
 public:
    explicit RequestCaller(fuse_req_t request, bool is_known = true)
        : request_(request), context_(*fuse_req_ctx(request)), is_known_(is_known) {}

    [[nodiscard]] bool is_known() const override { return is_known_; }
    [[nodiscard]] std::uint32_t uid() const override { return context_.uid; }
    [[nodiscard]] std::uint32_t gid() const override { return context_.gid; }
    [[nodiscard]] std::uint32_t umask() const override { return context_.umask; }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override;

 private:
    fuse_req_t request_;
    const fuse_ctx& context_;
    bool is_known_;
};

}  // namespace ckptfs
