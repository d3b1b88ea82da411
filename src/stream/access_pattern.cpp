// Two runs: the one that is followed, and the one that may take its place.
#include "stream/access_pattern.h"

#include <algorithm>

namespace ckptfs {
namespace {

/// How far from the end of a run its next read may begin: what the kernel asks for at the same time.
constexpr std::uint64_t largest_step = std::uint64_t{2} << 20U;
/// What makes a run: a header and a directory are less.
constexpr std::uint64_t shortest_run_nbytes = std::uint64_t{512} << 10U;
constexpr std::uint64_t shortest_run_reads = 2;
/// Reads of a mebibyte at random places of a small file often lie near each other; side by side, or three of them,
/// hardly ever.
constexpr std::uint64_t largest_gap = std::uint64_t{256} << 10U;
constexpr std::uint64_t shortest_run_reads_with_gaps = 3;

}  // namespace

std::uint64_t AccessPattern::Run::distance_of(std::uint64_t offset) const {
    return offset > end ? offset - end : end - offset;
}

bool AccessPattern::Run::goes_on_at(std::uint64_t offset) const {
    return nbytes > 0 && distance_of(offset) <= largest_step;
}

void AccessPattern::Run::take(std::uint64_t offset, std::uint64_t nbytes_read) {
    end = std::max(end, offset + nbytes_read);
    nbytes += nbytes_read;
    ++reads;
}

AccessPattern::Read AccessPattern::note(std::uint64_t offset, std::uint64_t nbytes) {
    if (run_.goes_on_at(offset)) {
        run_.take(offset, nbytes);
        return Read::continues;
    }
    if (!candidate_.goes_on_at(offset)) {
        candidate_ = {};
    }
    const bool is_near = candidate_.distance_of(offset) <= largest_gap;
    candidate_.take(offset, nbytes);
    if (candidate_.nbytes < shortest_run_nbytes ||
        candidate_.reads < (is_near ? shortest_run_reads : shortest_run_reads_with_gaps)) {
        return Read::elsewhere;
    }
    run_ = candidate_;
    candidate_ = {};
    return Read::begins;
}

}  // namespace ckptfs
