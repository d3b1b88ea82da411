// A new .pt made from nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pt/archive_writer.h"

namespace ckptfs::pt {

/// A new .pt as torch.save 2.13 writes the same object: pickle protocol 2. The values are made by pickle(). Not
/// thread-safe; make one per file.
class ArchiveBuilder final : public ArchiveWriter {
 public:
    ArchiveBuilder();

    /// torch.Size
    const pickle::Node* size(const std::vector<std::uint64_t>& sizes);

    /// `root`: the object that is saved. `file_name`: its stem becomes the archive's root directory. `owner` keeps the
    /// files behind all pieces alive; those of archives that were taken from are kept in any case. Call it once.
    Result<std::shared_ptr<const VirtualFile>> lay_out(const pickle::Node* root, const std::string& file_name,
                                                       std::shared_ptr<const void> owner);
};

}  // namespace ckptfs::pt
