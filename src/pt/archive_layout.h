// The records of a .pt put in order and laid out around its storages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/extent.h"
#include "pt/archive.h"

namespace ckptfs::pt {

/// The root directory of an archive that was written to a stream.
constexpr std::string_view stream_root_name = "archive";

/// The bytes of one storage. `crc32` 0: unknown.
struct StorageRecord {
    PieceList content;
    std::uint32_t crc32 = 0;
};

/// What stands around the storages of a .pt, in order: its pickle, its storages and its other records.
struct Frame {
    enum class Part : std::uint8_t { pickle, storages, extra };
    struct Slot {
        Part part = Part::extra;
        ExtraRecord extra;  ///< of Part::extra
    };
    std::vector<Slot> slots;

    /// As torch.save 2.13 writes it.
    [[nodiscard]] static const Frame& of_torch_save();
    /// As in `archive`, whoever wrote it.
    [[nodiscard]] static Frame of(const Archive& archive);
};

/// The root directory in the archive that torch.save makes of a file's name: its stem, or "archive" where it is handed
/// a stream.
[[nodiscard]] std::string root_name_of(std::string_view file_name);

/// `storages`: by key. The serialization id depends on the names, sizes and pickle alone.
[[nodiscard]] PieceList lay_out_records(const Frame& frame, const std::string& root, const std::string& pickle,
                                        const std::vector<StorageRecord>& storages);

}  // namespace ckptfs::pt
