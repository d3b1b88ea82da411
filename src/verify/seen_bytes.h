// Which bytes of a file have been read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace ckptfs::verify {

/// Bytes of a file, as runs that do not touch.
class SeenBytes {
 public:
    void add(std::uint64_t begin, std::uint64_t end) {
        auto next = runs_.upper_bound(begin);
        if (next != runs_.begin() && std::prev(next)->second >= begin) {
            --next;
            begin = next->first;
        }
        while (next != runs_.end() && next->first <= end) {
            end = std::max(end, next->second);
            next = runs_.erase(next);
        }
        runs_.emplace(begin, end);
    }

    /// Calls `visit` with the bytes within [begin, end) that are not among these.
    template <class Visit>
    void for_each_gap(std::uint64_t begin, std::uint64_t end, Visit visit) const {
        auto run = runs_.upper_bound(begin);
        if (run != runs_.begin()) {
            begin = std::max(begin, std::prev(run)->second);
        }
        for (; begin < end; ++run) {
            const std::uint64_t until = run == runs_.end() ? end : std::min(end, run->first);
            if (begin < until) {
                visit(begin, until);
            }
            if (run == runs_.end()) {
                return;
            }
            begin = std::max(begin, run->second);
        }
    }

 private:
    std::map<std::uint64_t, std::uint64_t> runs_;  // ends by begins
};

}  // namespace ckptfs::verify
