// Where the storages of a tree lie in a file: kept for every rank's file, so that what ranks have alike is kept once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ckptfs/extent.h"

namespace ckptfs::pt {

/// Where the bytes of a storage lie. `crc32` 0: unknown.
struct RecordPlace {
    const File* file = nullptr;
    std::uint64_t offset = 0;
    std::uint64_t nbytes = 0;
    std::uint32_t crc32 = 0;
};

/// Places in one file, in the order of the storages. Copies share their tables. Immutable but for share().
class RecordPlaces {
 public:
    RecordPlaces() = default;
    /// All of `places` are in one file.
    explicit RecordPlaces(std::span<const RecordPlace> places);

    [[nodiscard]] std::size_t size() const { return extents_ ? extents_->size() : 0; }
    [[nodiscard]] bool empty() const { return size() == 0; }
    /// nullptr where there is none.
    [[nodiscard]] const File* file() const { return file_; }
    [[nodiscard]] RecordPlace operator[](std::size_t index) const {
        const Extent& extent = (*extents_)[index];
        return {file_, extent.offset, extent.nbytes, (*checksums_)[index]};
    }

    /// Takes the tables of `other`, a file of the same tree, as far as they say the same: the extents of most ranks do,
    /// and often the checksums too. Returns whether the extents did.
    bool share(const RecordPlaces& other);

 private:
    struct Extent {
        std::uint64_t offset = 0;
        std::uint64_t nbytes = 0;

        bool operator==(const Extent&) const = default;
    };

    const File* file_ = nullptr;
    std::shared_ptr<const std::vector<Extent>> extents_;
    std::shared_ptr<const std::vector<std::uint32_t>> checksums_;
};

/// The places of many files of a tree, with as few tables as they need.
class PlaceTables {
 public:
    /// `places` shares what an earlier file has alike.
    void share(RecordPlaces& places);

 private:
    std::vector<RecordPlaces> known_;
};

}  // namespace ckptfs::pt
