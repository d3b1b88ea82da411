// Reads a checkpoint's files whole, once: the CRC of every record and the weights against their masters come from the
// same reading, also where another check does it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "ckptfs/result.h"
#include "pt/zip.h"
#include "verify/passed_bytes.h"
#include "verify/problems.h"
#include "zero/passing_weights.h"
#include "zero/written.h"

namespace ckptfs::verify {

struct FileTotals {
    std::uint64_t files = 0;
    std::uint64_t records = 0;
    std::uint64_t records_without_crc = 0;
    std::uint64_t nbytes = 0;  ///< of records
};

class SourcePass {
 public:
    static constexpr std::uint64_t block_nbytes = std::uint64_t{2} << 20;

    /// Of all files of `checkpoint`, which is referred to. Reads their directories; errors as pt::read_directory().
    static Result<std::unique_ptr<SourcePass>> over(const zero::Written& checkpoint);

    /// Bytes that have been read of a file already, whatever for; those of other files, and those that have passed
    /// before, are left aside. Safe for concurrent use.
    void passed(const File& file, std::uint64_t offset, std::span<const std::byte> bytes);

    /// Reads what has not passed, by as many threads as there are processors, up to 16, with one block of memory each.
    /// Damage goes to `problems`, in the order of files and records; an error where the files cannot be read.
    Result<FileTotals> finish(Problems& problems);

    /// Once finish() has found no damage. As zero::PassingWeights::compare(): reads again only where weights differ.
    Result<zero::WeightsComparison> compare_weights() const { return weights_.compare(); }

 private:
    /// Bytes of a record up to `end`, from where it is kept.
    struct Part {
        std::uint64_t end = 0;
        std::uint32_t crc32 = 0;
        bool is_summed = false;  ///< else a thread is at it
    };
    struct RecordState {
        pt::Record record;
        std::map<std::uint64_t, Part> parts;  ///< by offset in the record; neighbours that are summed are one
    };
    struct FileState {
        const File* file = nullptr;
        std::vector<RecordState> records;  ///< in the order of their places
        std::mutex mutex;                  ///< of all parts
    };
    struct Gap {
        const File* file = nullptr;
        std::uint64_t offset = 0;
        std::uint64_t nbytes = 0;
    };

    explicit SourcePass(const zero::Written& checkpoint) : weights_(checkpoint) {}
    void pass(FileState& state, RecordState& record, std::uint64_t from, std::span<const std::byte> bytes);
    [[nodiscard]] std::vector<Gap> gaps() const;

    std::vector<std::unique_ptr<FileState>> files_;
    std::unordered_map<const File*, FileState*> by_file_;
    zero::PassingWeights weights_;
};

}  // namespace ckptfs::verify
