// Section 8 of the format description, for files below 4 GiB.
#include "naive/zip_io.h"

#include <array>
#include <map>
#include <stdexcept>

#include "naive/pickle_io.h"

namespace naive {
namespace {

constexpr std::size_t local_header_size = 30;
constexpr std::size_t entry_size = 46;
constexpr std::size_t end_size = 22;

void little(std::string& out, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        out += static_cast<char>(value >> (8 * i) & 0xFF);
    }
}

std::uint64_t number(std::string_view file, std::size_t at, std::size_t count) {
    if (at > file.size() || count > file.size() - at) {
        throw std::runtime_error("zip: a number beyond the end of the file");
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
        value |= std::uint64_t{static_cast<unsigned char>(file[at + i])} << (8 * i);
    }
    return value;
}

std::string_view cut(std::string_view file, std::size_t at, std::size_t count) {
    if (at > file.size() || count > file.size() - at) {
        throw std::runtime_error("zip: bytes beyond the end of the file");
    }
    return file.substr(at, count);
}

std::string stem(const std::string& file_name) {
    return file_name.substr(0, file_name.rfind('.'));
}

bool is_serialization_id(std::string_view bytes) {
    return bytes.size() == 40 && bytes.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::uint32_t crc32_of(std::string_view bytes) {
    static const std::array<std::uint32_t, 256> table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t i = 0; i < made.size(); ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) {
                value = (value & 1) != 0 ? value >> 1 ^ 0xEDB88320U : value >> 1;
            }
            made[i] = value;
        }
        return made;
    }();
    std::uint32_t crc = 0xFFFFFFFFU;
    for (const char byte : bytes) {
        crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
    }
    return ~crc;
}

std::string write_zip(const std::vector<Record>& records) {
    std::string out;
    std::string directory;
    for (const Record& record : records) {
        const std::uint64_t header = out.size();
        const std::uint64_t flags = record.bytes.empty() ? 0x0800 : 0x0808;
        const std::uint64_t padding = (64 - (header + local_header_size + record.name.size() + 4) % 64) % 64;
        out += "PK\3\4";
        little(out, 0, 2);
        little(out, flags, 2);
        out.append(2 + 4 + 12, '\0');
        little(out, record.name.size(), 2);
        little(out, padding + 4, 2);
        out += record.name + "FB";
        little(out, padding, 2);
        out += std::string(padding, 'Z') + record.bytes;
        if (!record.bytes.empty()) {
            out += "PK\7\10";
            little(out, record.crc32, 4);
            little(out, record.bytes.size(), 4);
            little(out, record.bytes.size(), 4);
        }
        directory += "PK\1\2";
        little(directory, 0, 4);
        little(directory, flags, 2);
        little(directory, 0, 2 + 4);
        little(directory, record.crc32, 4);
        little(directory, record.bytes.size(), 4);
        little(directory, record.bytes.size(), 4);
        little(directory, record.name.size(), 2);
        directory.append(2 + 2 + 2 + 2 + 4, '\0');
        little(directory, header, 4);
        directory += record.name;
    }
    const std::uint64_t directory_at = out.size();
    out += directory;
    const std::uint64_t end64_at = out.size();
    out += "PK\6\6";
    little(out, 44, 8);
    little(out, 0x031e, 2);
    little(out, 0x2d, 2);
    little(out, 0, 8);
    little(out, records.size(), 8);
    little(out, records.size(), 8);
    little(out, directory.size(), 8);
    little(out, directory_at, 8);
    out += "PK\6\7";
    little(out, 0, 4);
    little(out, end64_at, 8);
    little(out, 1, 4);
    out += "PK\5\6";
    little(out, 0, 4);
    little(out, records.size(), 2);
    little(out, records.size(), 2);
    little(out, directory.size(), 4);
    little(out, directory_at, 4);
    little(out, 0, 2);
    return out;
}

std::vector<Record> read_zip(std::string_view file) {
    if (file.size() < end_size || cut(file, file.size() - end_size, 4) != "PK\5\6") {
        throw std::runtime_error("zip: no end record");
    }
    const std::size_t end = file.size() - end_size;
    std::size_t at = number(file, end + 16, 4);
    std::vector<Record> records(number(file, end + 10, 2));
    for (Record& record : records) {
        if (cut(file, at, 4) != "PK\1\2") {
            throw std::runtime_error("zip: no directory entry at byte " + std::to_string(at));
        }
        const std::size_t nbytes = number(file, at + 24, 4);
        const std::size_t name_nbytes = number(file, at + 28, 2);
        const std::size_t header = number(file, at + 42, 4);
        record.crc32 = static_cast<std::uint32_t>(number(file, at + 16, 4));
        record.name = cut(file, at + entry_size, name_nbytes);
        const std::size_t data =
            header + local_header_size + number(file, header + 26, 2) + number(file, header + 28, 2);
        record.bytes = cut(file, data, nbytes);
        at += entry_size + name_nbytes + number(file, at + 30, 2) + number(file, at + 32, 2);
    }
    const std::string again = write_zip(records);
    for (std::size_t i = 0; i < file.size() && i < again.size(); ++i) {
        if (file[i] != again[i]) {
            throw std::runtime_error("zip: byte " + std::to_string(i) + " is not as torch lays it out");
        }
    }
    if (file.size() != again.size()) {
        throw std::runtime_error("zip: " + std::to_string(file.size()) + " bytes, torch would write " +
                                 std::to_string(again.size()));
    }
    return records;
}

std::string write_pt(const Value& root, const std::string& file_name, const std::string& serialization_id) {
    const Pickled pickled = write_pickle(root);
    const std::string prefix = stem(file_name) + "/";
    std::vector<Record> records{{prefix + "data.pkl", pickled.bytes},
                                {prefix + ".format_version", "1"},
                                {prefix + ".storage_alignment", "64"},
                                {prefix + "byteorder", "little"}};
    for (std::size_t i = 0; i < pickled.storages.size(); ++i) {
        records.push_back({prefix + "data/" + std::to_string(i), pickled.storages[i]->bytes});
    }
    records.push_back({prefix + "version", "3\n"});
    records.push_back({prefix + ".data/serialization_id", serialization_id});
    for (Record& record : records) {
        record.crc32 = crc32_of(record.bytes);
    }
    return write_zip(records);
}

Value read_pt(std::string_view file, const std::string& file_name) {
    const std::vector<Record> records = read_zip(file);
    const std::string prefix = stem(file_name) + "/";
    std::map<std::string, std::size_t> by_name;
    for (std::size_t i = 0; i < records.size(); ++i) {
        const Record& record = records[i];
        if (record.crc32 != crc32_of(record.bytes) &&
            (record.crc32 != 0 || !record.name.starts_with(prefix + "data/"))) {
            throw std::runtime_error("zip: wrong CRC of " + record.name);
        }
        by_name[record.name] = i;
    }
    std::size_t storage_count = 0;
    const auto load = [&](const std::string& key) {
        ++storage_count;
        const auto found = by_name.find(prefix + "data/" + key);
        if (found == by_name.end()) {
            throw std::runtime_error("zip: no record for storage " + key);
        }
        return records[found->second].bytes;
    };
    if (records.empty() || records.front().name != prefix + "data.pkl") {
        throw std::runtime_error("zip: expected " + prefix + "data.pkl first");
    }
    Value root = read_pickle(records.front().bytes, load);
    std::vector<std::string> names{"data.pkl", ".format_version", ".storage_alignment", "byteorder"};
    for (std::size_t i = 0; i < storage_count; ++i) {
        names.push_back("data/" + std::to_string(i));
    }
    names.insert(names.end(), {"version", ".data/serialization_id"});
    const std::map<std::string, std::string> contents{
        {".format_version", "1"}, {".storage_alignment", "64"}, {"byteorder", "little"}, {"version", "3\n"}};
    if (records.size() != names.size()) {
        throw std::runtime_error("zip: " + std::to_string(records.size()) + " records for " +
                                 std::to_string(storage_count) + " storages");
    }
    for (std::size_t i = 0; i < records.size(); ++i) {
        const auto content = contents.find(names[i]);
        if (records[i].name != prefix + names[i] ||
            (content != contents.end() && records[i].bytes != content->second)) {
            throw std::runtime_error("zip: " + records[i].name + " stands where " + names[i] +
                                     " belongs, or is not its usual self");
        }
    }
    if (!is_serialization_id(records.back().bytes)) {
        throw std::runtime_error("zip: the last record is not a serialization id of 40 digits");
    }
    return root;
}

}  // namespace naive
