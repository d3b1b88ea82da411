// Equal tables become one.
#include "pt/record_places.h"

#include <utility>

namespace ckptfs::pt {
namespace {

/// The directory in a file's records has the file's name, whose digits move what follows: as many as ranks have digits.
constexpr std::size_t most_tables = 8;

}  // namespace

RecordPlaces::RecordPlaces(std::span<const RecordPlace> places)
    : file_(places.empty() ? nullptr : places.front().file) {
    std::vector<Extent> extents;
    std::vector<std::uint32_t> checksums;
    extents.reserve(places.size());
    checksums.reserve(places.size());
    for (const RecordPlace& place : places) {
        extents.push_back({place.offset, place.nbytes});
        checksums.push_back(place.crc32);
    }
    extents_ = std::make_shared<const std::vector<Extent>>(std::move(extents));
    checksums_ = std::make_shared<const std::vector<std::uint32_t>>(std::move(checksums));
}

bool RecordPlaces::share(const RecordPlaces& other) {
    if (!extents_ || !other.extents_) {
        return false;
    }
    if (*checksums_ == *other.checksums_) {
        checksums_ = other.checksums_;
    }
    if (*extents_ != *other.extents_) {
        return false;
    }
    extents_ = other.extents_;
    return true;
}

void PlaceTables::share(RecordPlaces& places) {
    bool is_known = false;
    for (const RecordPlaces& known : known_) {  // all: the checksums may be those of a file that is laid out otherwise
        is_known = places.share(known) || is_known;
    }
    if (!is_known && known_.size() < most_tables) {
        known_.push_back(places);
    }
}

}  // namespace ckptfs::pt
