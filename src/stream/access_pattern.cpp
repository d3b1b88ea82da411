// Two runs: the one that is followed, and the one that may take its place.
#include "stream/access_pattern.h"

#include <algorithm>

namespace ckptfs {
namespace {

/// How far from the end of a run its next read may begin: what the kernel asks for at the same time.
constexpr std::uint64_t largest_step = std::uint64_t{2} << 20U;
/// The same before there is a run: reads of a mebibyte at random places of a small file often lie near each other.
constexpr std::uint64_t largest_first_step = std::uint64_t{256} << 10U;
/// What makes a run: a header and a directory are less.
constexpr std::uint64_t shortest_run_nbytes = std::uint64_t{512} << 10U;
constexpr std::uint64_t shortest_run_reads = 2;

}  // namespace

bool AccessPattern::Run::goes_on_at(std::uint64_t offset, std::uint64_t within) const {
    const std::uint64_t distance = offset > end ? offset - end : end - offset;
    return nbytes > 0 && distance <= within;
}

void AccessPattern::Run::take(std::uint64_t offset, std::uint64_t nbytes_read) {
    end = std::max(end, offset + nbytes_read);
    nbytes += nbytes_read;
    ++reads;
}

AccessPattern::Read AccessPattern::note(std::uint64_t offset, std::uint64_t nbytes) {
    if (run_.goes_on_at(offset, largest_step)) {
        run_.take(offset, nbytes);
        return Read::continues;
    }
    if (!candidate_.goes_on_at(offset, largest_first_step)) {
        candidate_ = {};
    }
    candidate_.take(offset, nbytes);
    if (candidate_.nbytes < shortest_run_nbytes || candidate_.reads < shortest_run_reads) {
        return Read::elsewhere;
    }
    run_ = candidate_;
    candidate_ = {};
    return Read::begins;
}

}  // namespace ckptfs
