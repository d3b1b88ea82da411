// One thread, which takes all that has been added since the last time.
#include "export/recorder.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

namespace ckptfs::exporting {

Recorder::Recorder(const WriteCalls& calls, const WrittenFile& journal, std::uint64_t journal_nbytes,
                   RecorderLimits limits)
    : calls_(calls), journal_(journal), journal_nbytes_(journal_nbytes), limits_(limits), thread_([this] { work(); }) {}

Recorder::~Recorder() {
    join();
}

void Recorder::add(std::vector<JournalEntry> entries, std::shared_ptr<const WrittenFile> file, std::uint64_t nbytes) {
    std::unique_lock lock(mutex_);
    recorded_.wait(lock, [&] {
        return failure_ || thrown_ || unrecorded_entries_ == 0 ||
               (unrecorded_nbytes_ + nbytes <= limits_.most_nbytes &&
                unrecorded_entries_ + entries.size() <= limits_.most_entries);
    });
    if (failure_ || thrown_) {
        return;
    }
    unrecorded_nbytes_ += nbytes;
    unrecorded_entries_ += entries.size();
    waiting_.push_back({std::move(entries), std::move(file), nbytes});
    added_.notify_one();
}

bool Recorder::has_failed() const {
    const std::lock_guard lock(mutex_);
    return failure_ || thrown_;
}

Result<void> Recorder::finish() {
    join();
    if (thrown_) {
        std::rethrow_exception(thrown_);
    }
    return failure_ ? Result<void>(*failure_) : Result<void>();
}

void Recorder::join() {
    {
        const std::lock_guard lock(mutex_);
        is_over_ = true;
        added_.notify_one();
    }
    if (thread_.joinable()) {
        thread_.join();
    }
}

bool Recorder::is_enough() const {
    std::uint64_t nbytes = 0;
    for (const Addition& addition : waiting_) {
        nbytes += addition.nbytes;
    }
    return is_over_ || nbytes >= limits_.enough_nbytes || waiting_.size() >= limits_.enough_files;
}

void Recorder::work() noexcept {
    try {
        record_all();
    } catch (const std::exception&) {  // no memory, as a rule: whoever calls finish() hears of it
        const std::lock_guard lock(mutex_);
        thrown_ = std::current_exception();
        recorded_.notify_all();
    }
}

void Recorder::record_all() {
    std::unique_lock lock(mutex_);
    while (true) {
        added_.wait(lock, [&] { return is_over_ || !waiting_.empty(); });
        added_.wait_for(lock, limits_.most_waited, [&] { return is_enough(); });
        if (waiting_.empty()) {
            return;
        }
        std::vector<Addition> additions = std::exchange(waiting_, {});
        lock.unlock();
        const auto result = record(additions);
        std::uint64_t nbytes = 0;
        std::size_t entries = 0;
        for (const Addition& addition : additions) {
            nbytes += addition.nbytes;
            entries += addition.entries.size();
        }
        additions.clear();
        lock.lock();
        unrecorded_nbytes_ -= nbytes;
        unrecorded_entries_ -= entries;
        if (!result) {
            failure_ = result.error();
            waiting_.clear();
        }
        recorded_.notify_all();
        if (failure_) {
            return;
        }
    }
}

Result<void> Recorder::record(const std::vector<Addition>& additions) {
    std::set<const WrittenFile*> files;
    std::string lines;
    for (const Addition& addition : additions) {
        files.insert(addition.file.get());
        for (const JournalEntry& entry : addition.entries) {
            lines += journal_line(entry);
        }
    }
    if (files.size() > 1) {
        for (const WrittenFile* file : files) {       // else each would wait for its own, one after another
            (void)calls_.start_sync(file->fd.get());  // a failure is one of sync(), too
        }
    }
    for (const WrittenFile* file : files) {
        const int answer = calls_.sync(file->fd.get());
        if (answer < 0) {
            return writing_failed("brought to disk", file->name, -answer);
        }
    }
    const auto bytes = std::as_bytes(std::span(lines));
    CKPTFS_TRY(write_all(calls_, journal_.fd.get(), journal_.name, bytes, journal_nbytes_));
    const int answer = calls_.sync(journal_.fd.get());
    if (answer < 0) {
        return writing_failed("brought to disk", journal_.name, -answer);
    }
    journal_nbytes_ += bytes.size();
    return {};
}

}  // namespace ckptfs::exporting
