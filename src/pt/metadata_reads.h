// The few small reads that take a .pt apart, as few reads of its file as they can be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs::pt {

/// A file while it is taken apart: what lies around a small read is read with it and kept, and whether the file is
/// still the generation that was opened is asked once, by check(). Not for concurrent use.
class MetadataReads final : public File {
 public:
    explicit MetadataReads(const File& file) : file_(file) {}

    [[nodiscard]] const std::string& name() const override { return file_.name(); }
    [[nodiscard]] std::uint64_t size() const override { return file_.size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override;
    Result<void> check() const override { return read_.check(); }

 private:
    struct Window {
        std::uint64_t offset = 0;
        std::vector<std::byte> bytes;
    };

    const File& file_;
    mutable FilesRead read_;
    mutable std::vector<Window> windows_;
};

}  // namespace ckptfs::pt
