// libtorch as a second reader of .pt files: it must find what ckptfs finds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "pt/zip.h"

namespace ckptfs::verify {

/// Of one record (its name without the archive's root directory): the bytes from `offset` on, in order.
using RecordVisitor = std::function<Result<void>(std::string_view name, std::uint64_t offset,
                                                 std::uint64_t record_nbytes, std::span<const std::byte> bytes)>;
/// Opens a file through libtorch and reads every record to its end, as TorchModule::read_all_records does.
using TorchReader = std::function<Result<void>(const File& file, const RecordVisitor& visit)>;

/// Whether an error says nothing of a view: the storage failed, the source changed, or libtorch is not there.
[[nodiscard]] bool is_of_the_world(const Error& error);

/// Reads virtual files whole through libtorch and beside it by ckptfs's own reading of the zip directory.
class SecondReader {
 public:
    /// `read_with_torch` is referred to.
    explicit SecondReader(const TorchReader& read_with_torch) : read_(read_with_torch) {}

    /// `damaged` where the two do not find the same records with the same bytes; else the number of records.
    Result<std::uint64_t> check(const File& file);

 private:
    Result<void> compare(const File& file, const pt::Record& record, std::uint64_t offset,
                         std::span<const std::byte> bytes);

    const TorchReader& read_;
    std::vector<std::byte> own_;
};

}  // namespace ckptfs::verify
