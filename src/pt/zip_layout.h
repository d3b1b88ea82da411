// A new .pt container laid out around pieces, exactly as PyTorch's own writer does it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ckptfs/extent.h"

namespace ckptfs::pt {

/// Where PyTorch starts every record.
constexpr std::uint64_t default_alignment = 64;
constexpr std::uint64_t largest_alignment = 32768;

/// What a .storage_alignment record says, if a ZipLayout can keep to it: from 1 to largest_alignment.
[[nodiscard]] std::optional<std::uint64_t> parse_alignment(std::string_view digits);

/// The place of a record whose header begins at `header_offset`: PyTorch's rule. All numbers are bytes.
struct RecordLayout {
    std::uint64_t padding = 0;  ///< in the local header's extra field, so that the data starts aligned
    std::uint64_t data_offset = 0;
    std::uint64_t end = 0;  ///< of the data and of the descriptor behind it, where the next header begins
};

/// The caller has checked that header and data lie inside one file.
[[nodiscard]] RecordLayout record_layout(std::uint64_t header_offset, std::uint64_t name_nbytes, std::uint64_t nbytes,
                                         std::uint64_t alignment);

/// Offsets depend on names and sizes alone; no record is read. After add() and add_literal(), finish() once.
/// Follows caffe2/serialize/inline_container.cc (PyTorchStreamWriter) and PyTorch's patched miniz.
class ZipLayout {
 public:
    /// `alignment`: in bytes, from 1 to largest_alignment.
    explicit ZipLayout(std::uint64_t alignment = default_alignment) : alignment_(alignment) {}

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
