// As files are written: by segments, several files abreast.
#include "export/read_files_back.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "export/file_in_work.h"
#include "export/page_buffer.h"
#include "export/read_back.h"
#include "export/tree_writer.h"
#include "export/work_items.h"

namespace ckptfs::exporting {
namespace {

class Comparisons {
 public:
    Comparisons(const Source& tree, const Plan& plan, const Partial& partial, const WriteCalls& calls,
                Counters& counters, const std::function<bool()>& stops, const std::vector<WorkItem>& items)
        : tree_(tree), plan_(plan), partial_(partial), calls_(calls), counters_(counters), stops_(stops) {
        for (const auto& [file, count] : count_by_file(items)) {
            slots_[file].left = count;
        }
    }

    Result<void> run(const WorkItem& item, const PageBuffer& buffer) {
        auto same = compare(item, buffer);
        if (!same && same.error().code() == ErrorCode::verification) {
            const std::lock_guard lock(journal_mutex_);
            CKPTFS_TRY(partial_.forget(item.file));
        }
        return same;
    }

 private:
    struct Slot {
        std::mutex mutex;
        std::shared_ptr<ReadBack> file;  // from the first item to the last
        std::size_t left = 0;
        std::map<std::uint64_t, std::vector<ChecksumPart>> parts;
    };

    Result<void> compare(const WorkItem& item, const PageBuffer& buffer) {
        Slot& slot = slots_.at(item.file);
        CKPTFS_ASSIGN(const auto file, opened(slot, item.file));
        std::vector<ChecksumPart> parts;
        if (item.segment) {
            const ByteRange range = plan_.segments(item.file).range(*item.segment);
            CKPTFS_ASSIGN(parts, file->compare(range, buffer.bytes(), stops_, counters_));
        }
        const std::lock_guard lock(slot.mutex);
        if (item.segment) {
            slot.parts[*item.segment] = std::move(parts);
        }
        if (--slot.left > 0) {
            return {};
        }
        slot.file.reset();
        return file->check_sums(slot.parts, plan_.segments(item.file));
    }

    Result<std::shared_ptr<ReadBack>> opened(Slot& slot, std::size_t number) {
        const std::lock_guard lock(slot.mutex);
        if (!slot.file) {
            const PlannedEntry& entry = plan_.file(number);
            CKPTFS_ASSIGN(auto shown, open_planned(tree_, entry));
            CKPTFS_ASSIGN(slot.file, ReadBack::open(std::move(shown), place_of(partial_.content(), entry), calls_));
        }
        return slot.file;
    }

    const Source& tree_;
    const Plan& plan_;
    const Partial& partial_;
    const WriteCalls& calls_;
    Counters& counters_;
    const std::function<bool()>& stops_;
    std::map<std::size_t, Slot> slots_;
    std::mutex journal_mutex_;
};

}  // namespace

Result<void> read_files_back(const Source& tree, const Plan& plan, const Partial& partial, const WorkSettings& settings,
                             const WriteCalls& calls, Counters& counters, const std::function<bool()>& stops) {
    counters.phase = Phase::verifying;
    const auto items = work_order(plan, {}, settings.jobs);
    Comparisons comparisons(tree, plan, partial, calls, counters, stops, items);
    return for_each_item<PageBuffer>(
        items, settings.jobs, [&] { return std::make_unique<PageBuffer>(settings.buffer_nbytes); },
        [&](const WorkItem& item, const PageBuffer& buffer) { return comparisons.run(item, buffer); });
}

}  // namespace ckptfs::exporting
