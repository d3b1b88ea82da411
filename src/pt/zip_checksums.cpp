// A second walk over a directory that read_directory() has found right.
#include "pt/zip_checksums.h"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pt/damaged.h"
#include "pt/zip.h"
#include "pt/zip_end.h"
#include "pt/zip_format.h"

namespace ckptfs::pt {
namespace {

constexpr std::uint64_t crc_in_local_header = 14;
constexpr std::uint64_t crc_in_descriptor = 4;
constexpr std::uint64_t crc_in_directory = 16;

Result<std::uint64_t> local_offset(const File& file, const Record& record, std::uint16_t flags) {
    if ((flags & zip::data_descriptor_flag) == 0) {
        return record.header_offset + crc_in_local_header;
    }
    const std::uint64_t descriptor = record.data_offset + record.nbytes;
    std::string signature(sizeof(zip::data_descriptor_signature), '\0');
    CKPTFS_TRY(file.read(descriptor, std::as_writable_bytes(std::span(signature))));
    if (zip::load<std::uint32_t>(signature, 0) != zip::data_descriptor_signature) {
        return damaged(file, "there is no data descriptor behind '" + record.name + "'");
    }
    return descriptor + crc_in_descriptor;
}

}  // namespace

Result<bool> is_archive(const File& file) {
    std::string signature(sizeof(zip::local_header_signature), '\0');
    if (file.size() < signature.size()) {
        return false;
    }
    CKPTFS_TRY(file.read(0, std::as_writable_bytes(std::span(signature))));
    return zip::load<std::uint32_t>(signature, 0) == zip::local_header_signature;
}

Result<std::vector<UnknownChecksum>> unknown_checksums(const File& file) {
    CKPTFS_ASSIGN(const auto records, read_directory(file));
    std::unordered_map<std::string_view, const Record*> unknown;
    for (const Record& record : records) {
        if (record.crc32 == 0 && record.nbytes > 0) {
            unknown.emplace(record.name, &record);
        }
    }
    std::vector<UnknownChecksum> found;
    if (unknown.empty()) {
        return found;
    }
    CKPTFS_ASSIGN(const zip::End end, zip::find_end(file));
    CKPTFS_ASSIGN(const std::string bytes, end.tail.get(file, end.directory.offset, end.directory.nbytes));
    const std::string_view directory(bytes);
    for (std::uint64_t at = 0, i = 0; i < records.size(); ++i) {
        const std::string_view entry = directory.substr(at);
        const auto name_nbytes = zip::load<std::uint16_t>(entry, 28);
        const auto known = unknown.find(entry.substr(zip::central_header_nbytes, name_nbytes));
        if (known != unknown.end()) {
            const Record& record = *known->second;
            CKPTFS_ASSIGN(const std::uint64_t local, local_offset(file, record, zip::load<std::uint16_t>(entry, 8)));
            found.push_back({record.data_offset, record.nbytes, local, end.directory.offset + at + crc_in_directory});
        }
        at += zip::central_header_nbytes + name_nbytes + zip::load<std::uint16_t>(entry, 30) +
              zip::load<std::uint16_t>(entry, 32);
    }
    std::sort(found.begin(), found.end(),
              [](const UnknownChecksum& a, const UnknownChecksum& b) { return a.data_offset < b.data_offset; });
    return found;
}

}  // namespace ckptfs::pt
