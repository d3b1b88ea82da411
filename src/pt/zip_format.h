// The zip structures that .pt files use, by their sections in PKWARE's APPNOTE 6.3.10.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace ckptfs::pt::zip {

constexpr std::uint32_t local_header_signature = 0x04034b50;     // 4.3.7
constexpr std::uint32_t data_descriptor_signature = 0x08074b50;  // 4.3.9
constexpr std::uint32_t central_header_signature = 0x02014b50;   // 4.3.12
constexpr std::uint32_t zip64_end_signature = 0x06064b50;        // 4.3.14
constexpr std::uint32_t zip64_locator_signature = 0x07064b50;    // 4.3.15
constexpr std::uint32_t end_signature = 0x06054b50;              // 4.3.16

constexpr std::uint64_t local_header_nbytes = 30;
constexpr std::uint64_t descriptor_nbytes = 16;  // with its signature
constexpr std::uint64_t zip64_descriptor_nbytes = 24;
constexpr std::uint64_t central_header_nbytes = 46;
constexpr std::uint64_t zip64_end_nbytes = 56;
constexpr std::uint64_t zip64_locator_nbytes = 20;
constexpr std::uint64_t end_nbytes = 22;
constexpr std::uint64_t largest_comment = 0xFFFF;

constexpr std::uint16_t encrypted_flag = 0x0001;        // 4.4.4, bit 0
constexpr std::uint16_t data_descriptor_flag = 0x0008;  // bit 3: sizes and CRC follow the data
constexpr std::uint16_t strong_encryption_flag = 0x0040;
constexpr std::uint16_t utf8_flag = 0x0800;  // bit 11
constexpr std::uint16_t masked_header_flag = 0x2000;

constexpr std::uint16_t stored_method = 0;  // 4.4.5
constexpr std::uint16_t deflated_method = 8;

constexpr std::uint16_t zip64_extra_id = 0x0001;  // 4.5.3
constexpr std::uint64_t zip64_extra_nbytes_most = 28;
/// Stands in a 32-bit field whose value is in the ZIP64 extra field.
constexpr std::uint32_t in_zip64 = 0xFFFFFFFF;
constexpr std::uint16_t in_zip64_count = 0xFFFF;

/// The little-endian number at `offset`. The caller has checked that it is there.
template <class T>
[[nodiscard]] T load(std::string_view bytes, std::size_t offset) {
    T value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;) {
        value =
            static_cast<T>((static_cast<std::uint64_t>(value) << 8U) | static_cast<unsigned char>(bytes[offset + i]));
    }
    return value;
}

/// Appends the little-endian bytes of numbers to a string.
class Writer {
 public:
    Writer& u16(std::uint64_t value) { return put(value, 2); }
    Writer& u32(std::uint64_t value) { return put(value, 4); }
    Writer& u64(std::uint64_t value) { return put(value, 8); }
    Writer& text(std::string_view value) {
        bytes_ += value;
        return *this;
    }
    Writer& fill(std::uint64_t count, char value) {
        bytes_.append(count, value);
        return *this;
    }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
    Writer& put(std::uint64_t value, int nbytes) {
        for (int i = 0; i < nbytes; ++i) {
            bytes_ += static_cast<char>(value & 0xFFU);
            value >>= 8U;
        }
        return *this;
    }

    std::string bytes_;
};

}  // namespace ckptfs::pt::zip
