// Two readings of one file, record by record.
#include "verify/second_reader.h"

#include <cstring>
#include <string>
#include <unordered_map>

#include "util/text.h"

namespace ckptfs::verify {
namespace {

std::string without_root(const std::string& record) {
    return record.substr(record.find('/') + 1);
}

}  // namespace

bool is_of_the_world(const Error& error) {
    return error.code() == ErrorCode::io || error.code() == ErrorCode::stale;
}

Result<std::uint64_t> SecondReader::check(const File& file) {
    CKPTFS_ASSIGN(const auto records, pt::read_directory(file));
    std::unordered_map<std::string, const pt::Record*> by_name;
    for (const pt::Record& record : records) {
        by_name.emplace(without_root(record.name), &record);
    }
    std::size_t finished = 0;
    CKPTFS_TRY(read_(file,
                     [&](std::string_view name, std::uint64_t offset, std::uint64_t record_nbytes,
                         std::span<const std::byte> bytes) -> Result<void> {
                         const auto found = by_name.find(std::string(name));
                         if (found == by_name.end() || found->second->nbytes != record_nbytes) {
                             return Error(ErrorCode::damaged, in_quotes(file.name()) + ": libtorch finds a record " +
                                                                  in_quotes(name) + " of " +
                                                                  std::to_string(record_nbytes) +
                                                                  " bytes, which the directory does not have");
                         }
                         if (offset + bytes.size() == record_nbytes) {
                             ++finished;
                         }
                         return compare(file, *found->second, offset, bytes);
                     }));
    if (finished != records.size()) {
        return Error(ErrorCode::damaged, in_quotes(file.name()) + ": libtorch reads " + std::to_string(finished) +
                                             " of " + std::to_string(records.size()) + " records");
    }
    return records.size();
}

Result<void> SecondReader::compare(const File& file, const pt::Record& record, std::uint64_t offset,
                                   std::span<const std::byte> bytes) {
    own_.resize(bytes.size());
    CKPTFS_TRY(file.read(record.data_offset + offset, own_));
    if (!bytes.empty() && std::memcmp(own_.data(), bytes.data(), bytes.size()) != 0) {
        return Error(ErrorCode::damaged, in_quotes(file.name()) + ": libtorch reads other bytes of record " +
                                             in_quotes(record.name) + " than lie at its place");
    }
    return {};
}

}  // namespace ckptfs::verify
