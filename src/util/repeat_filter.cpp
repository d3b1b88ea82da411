// Two limits: on one line that is repeated, and on all of them together.
#include "util/repeat_filter.h"

#include <utility>

namespace ckptfs::log {

bool RepeatFilter::admits(std::string_view text, TimePoint now) {
    if (const auto known = lines_.find(text); known != lines_.end()) {
        ++known->second.held_back;  // one that is due has been taken by due()
        ++held_back_;
        return false;
    }
    if (in_burst_ == 0 || now - burst_began_ >= burst) {
        burst_began_ = now;
        in_burst_ = 0;
    }
    if (in_burst_ >= lines_in_burst) {
        ++over_burst_;
        ++held_back_;
        return false;
    }
    ++in_burst_;
    lines_.emplace(text, Line{now});
    return true;
}

std::vector<HeldBack> RepeatFilter::due(TimePoint now) {
    std::vector<HeldBack> found;
    for (auto at = lines_.begin(); at != lines_.end();) {
        if (now - at->second.written < same_line) {
            ++at;
            continue;
        }
        if (at->second.held_back > 0) {
            found.push_back({at->first, at->second.held_back});
        }
        at = lines_.erase(at);
    }
    if (over_burst_ > 0 && now - burst_began_ >= burst) {
        found.push_back({"", std::exchange(over_burst_, 0)});
    }
    return found;
}

std::vector<HeldBack> RepeatFilter::all() {
    std::vector<HeldBack> found;
    for (const auto& [text, line] : lines_) {
        if (line.held_back > 0) {
            found.push_back({text, line.held_back});
        }
    }
    lines_.clear();
    if (over_burst_ > 0) {
        found.push_back({"", std::exchange(over_burst_, 0)});
    }
    return found;
}

}  // namespace ckptfs::log
