// A new .pt container laid out around pieces, exactly as PyTorch's own writer does it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ckptfs/extent.h"

namespace ckptfs::pt {

/// Where PyTorch starts every record.
constexpr std::uint64_t default_alignment = 64;

/// Offsets depend on names and sizes alone; no record is read. After add() and add_literal(), finish() once.
/// Follows caffe2/serialize/inline_container.cc (PyTorchStreamWriter) and PyTorch's patched miniz.
class ZipLayout {
 public:
    /// `alignment`: in bytes, from 1 to largest_alignment.
    explicit ZipLayout(std::uint64_t alignment = default_alignment) : alignment_(alignment) {}

    static constexpr std::uint64_t largest_alignment = 32768;

    void add(std::string_view name, const PieceList& content, std::uint32_t crc32);
    /// With the true CRC.
    void add_literal(std::string_view name, std::string_view bytes);

    /// Directory and end records.
    [[nodiscard]] PieceList finish() &&;

 private:
    PieceList pieces_;
    std::string directory_;
    std::uint64_t count_ = 0;
    std::uint64_t alignment_;
};

}  // namespace ckptfs::pt
