// The end of a zip file: where its central directory lies and how many entries it has.
#pragma once

#include <cstdint>
#include <string>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

namespace ckptfs::pt::zip {

struct DirectoryPlace {
    std::uint64_t offset = 0;
    std::uint64_t nbytes = 0;
    std::uint64_t count = 0;
};

/// The last bytes of a file, read once and used for whatever lies in them.
class Tail {
 public:
    static Result<Tail> read(const File& file, std::uint64_t nbytes);

    [[nodiscard]] std::uint64_t offset() const { return offset_; }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }
    /// `nbytes` bytes of the file from `offset` on: from here if they are here, else read. The caller has checked the
    /// bounds.
    [[nodiscard]] Result<std::string> get(const File& file, std::uint64_t offset, std::uint64_t nbytes) const;

 private:
    std::uint64_t offset_ = 0;
    std::string bytes_;
};

struct End {
    DirectoryPlace directory;
    Tail tail;
};

/// Checked: the directory lies inside the file, before the end records, and is large enough for its entries.
/// `incomplete` without an end record, `unsupported` for a legacy file, `damaged` for one that contradicts itself.
Result<End> find_end(const File& file);

}  // namespace ckptfs::pt::zip
