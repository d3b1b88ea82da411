// Two runs: the one that is followed, and the one that may take its place.
#include "stream/access_pattern.h"

#include <algorithm>

namespace ckptfs {
namespace {

/// How far from the end of a run its next read may begin: what the kernel asks for at the same time.
constexpr std::uint64_t largest_step = std::uint64_t{2} << 20U;
/// What makes a run: a header and a directory are less.
constexpr std::uint64_t shortest_run_nbytes = std::uint64_t{512} << 10U;
/// A read(2) of two mebibytes at a random place comes as three, since its memory seldom begins with a page.
constexpr std::uint64_t shortest_run_reads = 4;

}  // namespace

bool AccessPattern::Run::goes_on_at(std::uint64_t offset) const {
    const std::uint64_t distance = offset > end ? offset - end : end - offset;
    return nbytes > 0 && distance <= largest_step;
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
    candidate_.take(offset, nbytes);
    if (candidate_.nbytes < shortest_run_nbytes || candidate_.reads < shortest_run_reads) {
        return Read::elsewhere;
    }
    run_ = candidate_;
    candidate_ = {};
    return Read::begins;
}

}  // namespace ckptfs
