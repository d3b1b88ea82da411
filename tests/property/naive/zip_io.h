// A .pt file's container as torch.save lays it out, written and read over whole files in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "naive/value.h"

namespace naive {

struct Record {
    std::string name;
    std::string bytes;
    std::uint32_t crc32 = 0;
};

[[nodiscard]] std::uint32_t crc32_of(std::string_view bytes);

/// The archive of these records, in this order, with the CRCs as given.
[[nodiscard]] std::string write_zip(const std::vector<Record>& records);
/// By the central directory. Throws std::runtime_error where the file is not what write_zip makes of its records.
[[nodiscard]] std::vector<Record> read_zip(std::string_view file);

/// What torch.save(root, file_name) writes; `serialization_id` is 40 digits in torch's own files.
[[nodiscard]] std::string write_pt(const Value& root, const std::string& file_name,
                                   const std::string& serialization_id);
/// The object in a .pt. Throws std::runtime_error unless it has exactly the records that torch.save(…, file_name)
/// writes, in its order and layout, each with CRC 0 or its true one (always the true one for what is no storage).
[[nodiscard]] Value read_pt(std::string_view file, const std::string& file_name);

}  // namespace naive
