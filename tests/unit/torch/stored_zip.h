// A minimal .pt of stored records in memory, for tests that must not depend on the writers they check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "ckptfs/source.h"

namespace ckptfs::test {

/// A .pt whose archive root is "a". CRCs are 0, as those of gathered records are.
class StoredZip {
 public:
    void add(const std::string& record, const std::string& data) {
        const std::string name = "a/" + record;
        const std::size_t header_offset = bytes_.size();
        bytes_ +=
            number(0x04034b50, 4) + number(20, 2) + number(0, 2) + fields(name, data) + number(0, 2) + name + data;
        directory_ += number(0x02014b50, 4) + number(20, 2) + number(20, 2) + number(0, 2) + fields(name, data) +
                      number(0, 2) + number(0, 2) + number(0, 2) + number(0, 2) + number(0, 4) +
                      number(header_offset, 4) + name;
        ++count_;
    }

    [[nodiscard]] std::string finish() const {
        return bytes_ + directory_ + number(0x06054b50, 4) + number(0, 4) + number(count_, 2) + number(count_, 2) +
               number(directory_.size(), 4) + number(bytes_.size(), 4) + number(0, 2);
    }

 private:
    static std::string number(std::uint64_t value, std::size_t width) {
        std::string out;
        for (std::size_t i = 0; i < width; ++i) {
            out += static_cast<char>((value >> (8 * i)) & 0xffU);
        }
        return out;
    }

    /// Method, time, date, CRC, both sizes, length of the name: common to both headers (APPNOTE 4.3.7, 4.3.12).
    static std::string fields(const std::string& name, const std::string& data) {
        return number(0, 2) + number(0, 2) + number(0, 2) + number(0, 4) + number(data.size(), 4) +
               number(data.size(), 4) + number(name.size(), 2);
    }

    std::string bytes_;
    std::string directory_;
    std::uint64_t count_ = 0;
};

/// Bytes in memory; reads that touch [fail_from, ∞) fail.
class MemoryFile final : public File {
 public:
    explicit MemoryFile(std::string bytes, std::uint64_t fail_from = UINT64_MAX)
        : bytes_(std::move(bytes)), fail_from_(fail_from) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset + out.size() > bytes_.size()) {
            return Error(ErrorCode::invalid_argument, "read past the end");
        }
        if (offset + out.size() > fail_from_) {
            return Error(ErrorCode::stale, "the source changed");
        }
        std::memcpy(out.data(), bytes_.data() + offset, out.size());
        return {};
    }

 private:
    std::string name_ = "memory.pt";
    std::string bytes_;
    std::uint64_t fail_from_;
};

}  // namespace ckptfs::test
