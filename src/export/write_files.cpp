// Whoever comes to a file first opens it, whoever has its last segment completes it.
#include "export/write_files.h"

#include <memory>
#include <mutex>
#include <utility>

#include "export/file_in_work.h"
#include "export/tree_writer.h"
#include "export/work_items.h"

namespace ckptfs::exporting {
namespace {

class FileWork {
 public:
    FileWork(const Source& tree, const Plan& plan, const Partial& partial, const WriteCalls& calls, Recorder& recorder,
             const std::vector<WorkItem>& items)
        : tree_(tree), plan_(plan), partial_(partial), calls_(calls), recorder_(recorder) {
        for (const auto& [file, count] : count_by_file(items)) {
            slots_[file].left = count;
        }
    }

    Result<void> run(const WorkItem& item, SegmentCopier& copier) {
        Slot& slot = slots_.at(item.file);
        CKPTFS_ASSIGN(const auto work, opened(slot, item.file));
        std::vector<JournalEntry> entries;
        std::uint64_t nbytes = 0;
        if (item.segment) {
            nbytes = plan_.segments(item.file).range(*item.segment).nbytes();
            CKPTFS_ASSIGN(auto parts, work->copy(*item.segment, copier));
            entries.push_back({JournalEntry::Kind::segment, item.file, *item.segment, std::move(parts)});
        }
        if (is_last_of(slot)) {
            CKPTFS_TRY(work->complete());
            entries.push_back({JournalEntry::Kind::complete, item.file});
        }
        recorder_.add(std::move(entries), work->written(), nbytes);
        return {};
    }

 private:
    struct Slot {
        std::mutex mutex;
        std::shared_ptr<FileInWork> work;  // from the first item to the last
        std::size_t left = 0;
    };

    Result<std::shared_ptr<FileInWork>> opened(Slot& slot, std::size_t file) {
        const std::lock_guard lock(slot.mutex);
        if (!slot.work) {
            const auto known = partial_.finished().find(file);
            const FinishedFile finished = known == partial_.finished().end() ? FinishedFile() : known->second;
            CKPTFS_ASSIGN(
                slot.work,
                FileInWork::open(tree_, plan_, file, place_of(partial_.content(), plan_.file(file)), finished, calls_));
        }
        return slot.work;
    }

    static bool is_last_of(Slot& slot) {
        const std::lock_guard lock(slot.mutex);
        if (--slot.left > 0) {
            return false;
        }
        slot.work.reset();
        return true;
    }

    const Source& tree_;
    const Plan& plan_;
    const Partial& partial_;
    const WriteCalls& calls_;
    Recorder& recorder_;
    std::map<std::size_t, Slot> slots_;
};

}  // namespace

Result<void> write_files(const Source& tree, const Plan& plan, const Partial& partial, const WorkSettings& settings,
                         const WriteCalls& calls, Counters& counters, const std::function<bool()>& stops) {
    const auto items = work_order(plan, partial.finished(), settings.jobs);
    Recorder recorder(calls, partial.journal(), partial.journal_nbytes(), settings.limits);
    FileWork work(tree, plan, partial, calls, recorder, items);
    const std::function<bool()> must_stop = [&] { return stops() || recorder.has_failed(); };
    const auto copied = for_each_item<SegmentCopier>(
        items, settings.jobs,
        [&] { return std::make_unique<SegmentCopier>(calls, counters, must_stop, settings.buffer_nbytes); },
        [&](const WorkItem& item, SegmentCopier& copier) { return work.run(item, copier); });
    counters.phase = Phase::syncing;
    const auto recorded = recorder.finish();
    return !recorded && (copied || is_interruption(copied.error())) ? recorded : copied;
}

}  // namespace ckptfs::exporting
