// The phases of an export in words.
#include "export/progress.h"

#include <chrono>

#include "util/progress.h"
#include "util/text.h"

namespace ckptfs::exporting {

std::string progress_text(const Counters& counters, double rate) {
    switch (counters.phase) {
        case Phase::looking:
            return "looking at what there is to write";
        case Phase::writing:
            return amount_text(counters.earlier + counters.written(), counters.total, rate);
        case Phase::syncing:
            return human_nbytes(counters.total) + " written, waiting for the disk";
        case Phase::verifying:
            return "read back and compared: " + amount_text(counters.verified, counters.total, rate);
    }
    return {};
}

std::function<std::string()> progress_of(const Counters& counters) {
    return [&counters, meter = RateMeter()]() mutable {
        const bool verifies = counters.phase == Phase::verifying;
        meter.add(std::chrono::steady_clock::now(), verifies ? counters.verified.load() : counters.written());
        return progress_text(counters, meter.rate());
    };
}

}  // namespace ckptfs::exporting
