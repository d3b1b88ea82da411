// Whether a file is being read from front to back.
#pragma once

#include <cstdint>

namespace ckptfs {

/// Follows the reads of one open file. What the kernel asks for comes in pieces of 4 KiB to 1 MiB, several at a time
/// and then not quite in order, and a read(2) of a mebibyte as two or three of them, side by side; between the tensors
/// of a `.pt` lie small gaps. A read elsewhere now and then, as of a directory at the end, does not end a run; a second
/// run does. Not thread-safe.
class AccessPattern {
 public:
    enum class Read : std::uint8_t {
        elsewhere,  ///< nothing follows from it
        begins,     ///< the file is read in order from here on, and no longer where it was before
        continues,  ///< what is being read in order
    };

    /// A read of `nbytes` (at least 1) from `offset` on.
    Read note(std::uint64_t offset, std::uint64_t nbytes);
    /// How much of what is being read in order has been read, in bytes; 0: nothing is.
    [[nodiscard]] std::uint64_t run_nbytes() const { return run_.nbytes; }

 private:
    struct Run {
        std::uint64_t end = 0;
        std::uint64_t nbytes = 0;               ///< read so far; 0: there is no such run
        std::uint64_t side_by_side_nbytes = 0;  ///< the last of them, without a gap worth speaking of
        std::uint64_t parts = 0;                ///< that are side by side

        /// How far from its end a read there is.
        [[nodiscard]] std::uint64_t distance_of(std::uint64_t offset) const;
        [[nodiscard]] bool goes_on_at(std::uint64_t offset) const;
        void take(std::uint64_t offset, std::uint64_t nbytes_read);
    };

    Run run_;        // known to be in order
    Run candidate_;  // too short to tell
};

}  // namespace ckptfs
