// Two runs: the one that is followed, and the one that may take its place.
#include "stream/access_pattern.h"

#include <algorithm>

namespace ckptfs {
namespace {

/// How far from the end of a run its next read may begin: what the kernel asks for at the same time.
constexpr std::uint64_t largest_step = std::uint64_t{2} << 20U;
/// What makes a run: a header and a directory are less.
constexpr std::uint64_t shortest_run_nbytes = std::uint64_t{512} << 10U;
/// Side by side they are a run if they are more than programs mostly ask for at a time.
constexpr std::uint64_t largest_gap = std::uint64_t{256} << 10U;
constexpr std::uint64_t largest_read = std::uint64_t{1} << 20U;
/// In a small file, reads at random places often lie near each other; three of them hardly ever.
constexpr std::uint64_t fewest_parts = 3;

}  // namespace

std::uint64_t AccessPattern::Run::distance_of(std::uint64_t offset) const {
    return offset > end ? offset - end : end - offset;
}

bool AccessPattern::Run::goes_on_at(std::uint64_t offset) const {
    return nbytes > 0 && distance_of(offset) <= largest_step;
}

void AccessPattern::Run::take(std::uint64_t offset, std::uint64_t nbytes_read) {
    if (nbytes > 0 && distance_of(offset) <= largest_gap) {
        side_by_side_nbytes += nbytes_read;
    } else {
        side_by_side_nbytes = nbytes_read;
        ++parts;
    }
    end = std::max(end, offset + nbytes_read);
    nbytes += nbytes_read;
}

AccessPattern::Read AccessPattern::note(std::uint64_t offset, std::uint64_t nbytes) {
    if (run_.goes_on_at(offset)) {
        run_.take(offset, nbytes);
        return Read::continues;
    }
    if (!candidate_.goes_on_at(offset)) {
        candidate_ = {};
    }
    candidate_.take(offset, nbytes);
    if (candidate_.nbytes < shortest_run_nbytes ||
        (candidate_.side_by_side_nbytes <= largest_read && candidate_.parts < fewest_parts)) {
        return Read::elsewhere;
    }
    run_ = candidate_;
    candidate_ = {};
    return Read::begins;
}

}  // namespace ckptfs
