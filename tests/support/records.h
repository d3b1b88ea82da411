// Every record of a .pt in one chunk, as libtorch would hand them out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "pt/zip.h"

namespace ckptfs::test {

using RecordVisitor = std::function<Result<void>(std::string_view name, std::uint64_t offset,
                                                 std::uint64_t record_nbytes, std::span<const std::byte> bytes)>;

inline Result<void> read_records(const File& file, const RecordVisitor& visit) {
    CKPTFS_ASSIGN(const auto records, pt::read_directory(file));
    for (const pt::Record& record : records) {
        CKPTFS_ASSIGN(const std::string bytes, pt::read_record(file, record));
        const std::string name = record.name.substr(record.name.find('/') + 1);
        CKPTFS_TRY(visit(name, 0, bytes.size(), std::as_bytes(std::span(bytes))));
    }
    return {};
}

}  // namespace ckptfs::test
