// libtorch as a second reader of .pt files: it must find what ckptfs finds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

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

/// Of a file: the bytes from `offset` on, which both readers agree on.
using AgreedBytes = std::function<Result<void>(std::uint64_t offset, std::span<const std::byte> bytes)>;

/// Reads virtual files whole through libtorch, and holds what it finds against ckptfs's own reading of the zip
/// directory. Not for concurrent use.
class SecondReader {
 public:
    /// `read_with_torch` is referred to.
    explicit SecondReader(const TorchReader& read_with_torch) : read_(read_with_torch) {}

    /// `damaged` where the two do not find the same records with the same bytes; else the number of records. Nothing is
    /// read for that beside what libtorch reads, unless it asks for a record in pieces other than those that it gives,
    /// or for more than `most_kept_nbytes` at once. `agreed` is told of every record's bytes; its errors are returned.
    Result<std::uint64_t> check(const File& file, const AgreedBytes& agreed = {});

    static constexpr std::uint64_t most_kept_nbytes = std::uint64_t{4} << 20;

 private:
    const TorchReader& read_;
};

}  // namespace ckptfs::verify
