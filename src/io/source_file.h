// A file of SOURCE that is open as its user asked.
#pragma once

#include <memory>
#include <optional>
#include <shared_mutex>

#include "io/descriptor_pool.h"
#include "io/source_writer.h"
#include "io/system_calls.h"
#include "io/unique_fd.h"

namespace ckptfs::io {

/// Every operation is the system's own on one descriptor.
class SourceFile final : public SourceHandle {
 public:
    /// `opener`: who opened it, for whom what nobody asks for is done too. `appends`: whether with O_APPEND.
    SourceFile(UniqueFd fd, bool appends, std::shared_ptr<const SystemCalls> calls,
               std::shared_ptr<DescriptorPool> pool, std::shared_ptr<const Caller> opener);

    [[nodiscard]] Outcome<FileInfo> info() const override;
    Outcome<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) const override;
    Outcome<std::size_t> write(std::optional<std::uint64_t> offset, std::span<const std::byte> data,
                               const Caller& caller) const override;
    Outcome<Done> change(const AttributeChange& change, const Caller& caller) const override;
    Outcome<Done> flush() const override;
    Outcome<Done> sync(bool data_only) const override;
    Outcome<Done> allocate(int mode, std::uint64_t offset, std::uint64_t nbytes, const Caller& caller) const override;
    Outcome<std::uint64_t> seek(std::uint64_t offset, int whence) const override;
    Outcome<std::size_t> copy_to(std::uint64_t offset, const SourceHandle& target, std::uint64_t target_offset,
                                 std::size_t nbytes, const Caller& caller) const override;
    [[nodiscard]] int descriptor() const override { return fd_.get(); }

 private:
    [[nodiscard]] const Caller& acting(const Caller& caller) const;
    [[nodiscard]] Outcome<std::size_t> write_otherwise(std::optional<std::uint64_t> offset,
                                                       std::span<const std::byte> data) const;

    const UniqueFd fd_;
    const bool appends_;
    mutable std::shared_mutex appending_;  ///< held by whoever needs O_APPEND as it is now
    const std::shared_ptr<const SystemCalls> calls_;
    const std::shared_ptr<DescriptorPool> pool_;
    const std::shared_ptr<const Caller> opener_;
};

}  // namespace ckptfs::io
