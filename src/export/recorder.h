// Brings what was written to disk, and only then says so in the journal, while other threads go on writing.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ckptfs/result.h"
#include "export/journal.h"
#include "export/write_calls.h"
#include "io/unique_fd.h"

namespace ckptfs::exporting {

/// How much may be lost with the process: what is written and not yet recorded.
struct RecorderLimits {
    /// Recording begins at the first of these.
    std::chrono::milliseconds most_waited{1000};
    std::uint64_t enough_nbytes = std::uint64_t{256} << 20U;
    std::size_t enough_files = 64;
    /// From these on, add() waits.
    std::uint64_t most_nbytes = std::uint64_t{1} << 30U;
    std::size_t most_entries = 512;
};

/// Open for as long as something of it has to be synced.
struct WrittenFile {
    io::UniqueFd fd;
    std::string name;
};

/// Safe for concurrent use.
class Recorder {
 public:
    /// Appends to `journal` from `journal_nbytes` on.
    Recorder(const WriteCalls& calls, const WrittenFile& journal, std::uint64_t journal_nbytes, RecorderLimits limits);
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    ~Recorder();

    /// `nbytes`: what these entries are about. Dropped once has_failed().
    void add(std::vector<JournalEntry> entries, std::shared_ptr<const WrittenFile> file, std::uint64_t nbytes);
    [[nodiscard]] bool has_failed() const;
    /// Records all that was added, and says what has failed. Nothing is added afterwards. Throws what ended its thread.
    Result<void> finish();

 private:
    struct Addition {
        std::vector<JournalEntry> entries;
        std::shared_ptr<const WrittenFile> file;
        std::uint64_t nbytes;
    };

    void join();
    /// Ends the program with no exception of its own: it may be another's.
    void work() noexcept;
    void record_all();
    /// Called by the holder of mutex_.
    [[nodiscard]] bool is_enough() const;
    Result<void> record(const std::vector<Addition>& additions);

    const WriteCalls& calls_;
    const WrittenFile& journal_;
    std::uint64_t journal_nbytes_;  // of the thread alone
    const RecorderLimits limits_;

    mutable std::mutex mutex_;
    std::condition_variable added_;
    std::condition_variable recorded_;
    std::vector<Addition> waiting_;
    std::uint64_t unrecorded_nbytes_ = 0;
    std::size_t unrecorded_entries_ = 0;
    bool is_over_ = false;
    std::optional<Error> failure_;
    std::exception_ptr thrown_;

    std::thread thread_;
};

}  // namespace ckptfs::exporting
