// What files that are read in order will be asked for next, read by other threads before anybody asks.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "ckptfs/extent.h"
#include "stream/access_pattern.h"
#include "stream/block.h"
#include "stream/block_memory.h"
#include "stream/waiting_clock.h"

namespace ckptfs {

struct ReadAheadOptions {
    /// For this machine: 512 MiB, where that is at most a sixteenth of what the process may have.
    [[nodiscard]] static ReadAheadOptions usual();

    /// Of all blocks together, bytes. Below one block nothing is read ahead.
    std::uint64_t memory_nbytes = 0;
    /// That read, at most; each is started when it is first of use.
    std::size_t threads = 64;
    /// While no more streams than these are in use, files whose bytes come at once are read ahead too: one processor
    /// copies what another one hands out, which takes processors that have nothing else to do. Files that are waited
    /// for always are.
    std::size_t most_fast_streams = std::numeric_limits<std::size_t>::max();
    /// What reads are timed with; tests have another.
    Block::Clock now = waiting_clock;
};

/// Less is copied as fast as it is handed over.
inline constexpr std::size_t least_handed_over = std::size_t{128} << 10;

class Stream;

/// Bytes that a target was given and still has: to be destroyed when they have gone on. Their files were checked
/// before; they are checked again then, and where one may have become another generation meanwhile the stream is torn.
class HandedOver {
 public:
    /// The stream outlives it.
    HandedOver(Stream& stream, FilesRead files);
    HandedOver(const HandedOver&) = delete;
    HandedOver& operator=(const HandedOver&) = delete;
    ~HandedOver() { gone_on(); }

    /// They have gone on. False where the stream is torn; so is every other stream of the file, as what this one's
    /// reader was given may be in the page cache of the mount, which the caller has to empty.
    bool gone_on() noexcept;

 private:
    Stream& stream_;
    FilesRead files_;
    std::uint64_t number_ = 0;  // of all of the stream; 0 once they have gone on
};

/// Where the bytes of a read lie, in order, without having been copied together.
struct ReadBytes {
    static constexpr std::size_t most_parts = 3;

    std::array<std::span<const std::byte>, most_parts> parts;
    std::array<std::shared_ptr<const void>, most_parts> holders;  ///< keep the parts, where they are not the caller's
    std::size_t count = 0;
    /// A target has them instead, all of them. Behind the holders, so that it is destroyed before them.
    std::unique_ptr<HandedOver> handed_over;

    void add(std::span<const std::byte> part, std::shared_ptr<const void> holder) {
        parts.at(count) = part;
        holders.at(count) = std::move(holder);
        ++count;
    }
};

class ReadAhead;

/// One open file. Safe for concurrent use.
class Stream {
 public:
    enum class Ahead : std::uint8_t {
        if_slow,  ///< only what has to be waited for
        always,   ///< also what comes at once, where options say that this pays
    };

    Stream(ReadAhead& read_ahead, std::shared_ptr<const File> file, Ahead ahead);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream();

    /// The bytes from `offset` on, as many as fit into `out` (all of them in the file), of which `out` or blocks have
    /// them. What no block has, and is not being read ahead, is handed over to `target`, if there is one and that can
    /// be, or else read as File::read() does. The error of settle() where the stream is torn.
    Result<ReadBytes> read(std::uint64_t offset, std::span<std::byte> out, PageTarget* target = nullptr);
    /// Waits until what was handed over until now has gone on. An error where the stream is torn: that of the check
    /// that failed, since what was handed over may have been another generation's.
    Result<void> settle();

 private:
    friend class ReadAhead;
    friend class HandedOver;

    struct Needed {
        std::array<std::shared_ptr<Block>, ReadBytes::most_parts> blocks;
        std::size_t count = 0;
        std::size_t read_ahead = 0;  ///< how many of them somebody was asked to read before
        bool can_be_handed_over = false;
        bool is_of_run = false;  ///< of what is being read in order
    };

    Result<Needed> needed_for(std::uint64_t offset, std::uint64_t nbytes);
    /// Of bytes that no block has. `target`: nullptr where they cannot be handed over.
    Result<ReadBytes> read_now(std::uint64_t offset, std::span<std::byte> out, PageTarget* target);
    /// nullptr: read them instead.
    Result<std::unique_ptr<HandedOver>> hand_over(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target);
    [[nodiscard]] Result<void> intact() const;  // under mutex_
    [[nodiscard]] bool is_slow() const;         // so too: somebody had to wait for its bytes lately
    void tear(const std::optional<Error>& by);
    /// The block of that number, made if it must be; nullptr where there is no memory for it.
    std::shared_ptr<Block> block(std::uint64_t number, bool& is_new);
    /// How many blocks are read before they are asked for, in a run of which `run_nbytes` have been read.
    std::uint64_t blocks_ahead(std::uint64_t run_nbytes);
    void plan(std::uint64_t number, std::uint64_t count);
    void learn(const Needed& needed, std::chrono::nanoseconds waited);
    void learn_read(std::chrono::nanoseconds taken);
    void drop(const Block& block);
    void drop_served(std::uint64_t offset, std::uint64_t end);
    void drop_all();
    void release_if_idle();
    void stop_counting();

    ReadAhead& read_ahead_;
    const std::shared_ptr<const File> file_;
    const VirtualFile* const pieces_;  // of file_, where it is one
    const bool even_if_fast_;

    std::mutex mutex_;
    struct Held {
        std::shared_ptr<Block> block;
        std::uint64_t served_nbytes = 0;
    };
    AccessPattern pattern_;
    std::map<std::uint64_t, Held> blocks_;  // by number: offset / stream_block_nbytes
    std::uint64_t depth_;                   // blocks that are read before they are asked for
    std::uint64_t planned_until_ = 0;       // of this run: no block below is planned again
    unsigned fast_reads_ = 0;               // in a row; where none was slow lately, the largest number
    bool was_used_ = false;                 // since release_if_idle() asked
    bool is_counted_ = false;               // among those that are in use
    bool cannot_hand_over_ = false;         // a target could not take pages of this file
    std::uint64_t handed_over_ = 0;         // how often
    std::set<std::uint64_t> on_their_way_;  // of those, what has not gone on
    std::condition_variable gone_on_;
    bool is_torn_ = false;
    std::optional<Error> torn_by_;  // nullopt where there was no memory to say it
};

/// The threads and the memory of all streams of a mount. Outlives its streams. Safe for concurrent use.
class ReadAhead {
 public:
    explicit ReadAhead(const ReadAheadOptions& options);
    ReadAhead(const ReadAhead&) = delete;
    ReadAhead& operator=(const ReadAhead&) = delete;
    ~ReadAhead();

    /// To be called every few seconds: gives back the memory of streams that nobody has read since the last call.
    void release_idle();

    [[nodiscard]] std::uint64_t held_nbytes() const { return memory_->held_nbytes(); }

 private:
    friend class Stream;
    friend class HandedOver;

    /// Whether files whose bytes come at once are read ahead, as of now.
    [[nodiscard]] bool reads_fast_files() const {
        return streams_in_use_ <= options_.most_fast_streams && options_.memory_nbytes >= stream_block_nbytes;
    }
    /// All streams of files of that name: each opening may have made one.
    void tear(const std::string& name, const std::optional<Error>& by);
    /// Whether somebody waits for a block already.
    enum class Need : std::uint8_t { now, later };

    /// `helpers` threads at most, which come when they have nothing else to do, to what is needed now first.
    void ask_for_help(const std::shared_ptr<Block>& block, std::size_t helpers, Need need);
    bool start_thread();
    void work() noexcept;

    const ReadAheadOptions options_;
    const std::shared_ptr<BlockMemory> memory_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool ends_ = false;
    std::size_t idle_ = 0;
    std::deque<std::shared_ptr<Block>> queue_;
    std::vector<std::thread> threads_;

    std::mutex streams_mutex_;
    std::unordered_set<Stream*> streams_;
    std::atomic<std::size_t> streams_in_use_ = 0;  // of Ahead::always, that are read in order
};

}  // namespace ckptfs
