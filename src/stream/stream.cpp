// What is kept of one open file, and how far ahead of its reader that goes.
#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "stream/read_ahead.h"

namespace ckptfs {
namespace {

using namespace std::chrono_literals;

/// Memory and page cache answer faster, also on a busy machine; disks that have to look, and networks, do not.
constexpr auto slow_read = 2ms;
/// After how many reads of memory's speed a file is one of those again.
constexpr unsigned forgotten_after = 64;

constexpr std::uint64_t shallow = 3;
/// Of what was read in order at the speed of memory, this part is read ahead at most.
constexpr std::uint64_t part_of_fast_run = 8;
/// With 20 ms to each read this is 3 GB/s.
constexpr std::uint64_t deepest = 64;
constexpr std::uint64_t first_slow_depth = 16;

/// How many of the blocks behind a reader are kept for what the kernel has asked for at the same time.
constexpr std::uint64_t kept_behind = 4;
/// Of one block, whose parts come from many files.
constexpr std::size_t most_helpers = 32;

}  // namespace

Stream::Stream(ReadAhead& read_ahead, std::shared_ptr<const File> file, Ahead ahead)
    : read_ahead_(read_ahead),
      file_(std::move(file)),
      pieces_(dynamic_cast<const VirtualFile*>(file_.get())),
      even_if_fast_(ahead == Ahead::always),
      depth_(shallow),
      fast_reads_(forgotten_after) {
    const std::lock_guard lock(read_ahead_.streams_mutex_);
    read_ahead_.streams_.insert(this);
}

Stream::~Stream() {
    {
        const std::lock_guard lock(read_ahead_.streams_mutex_);
        read_ahead_.streams_.erase(this);
    }
    drop_all();
    stop_counting();
}

Result<ReadBytes> Stream::read(std::uint64_t offset, std::span<std::byte> out, PageTarget* target) {
    ReadBytes bytes;
    if (out.empty()) {
        return bytes;
    }
    const std::uint64_t end = offset + out.size();
    CKPTFS_ASSIGN(const Needed needed, needed_for(offset, out.size()));
    const auto& now = read_ahead_.options_.now;
    const auto start = now();
    if (needed.count == 0) {
        CKPTFS_ASSIGN(bytes, read_now(offset, out, needed.can_be_handed_over ? target : nullptr));
        learn_read(now() - start);
        if (needed.is_of_run) {
            const std::lock_guard lock(mutex_);
            drop_served(offset, end);
        }
        return bytes;
    }
    for (const auto& block : std::span(needed.blocks).first(needed.count)) {
        if (!block->wait()) {
            // What could not be read may be other bytes of the block than those that are asked for.
            drop(*block);
            CKPTFS_TRY(file_->read(offset, out));
            bytes = {};
            bytes.add(out, nullptr);
            return bytes;
        }
        bytes.add(block->bytes(std::max(offset, block->offset()), std::min(end, block->end())), block->holder());
    }
    learn(needed, now() - start);
    const std::lock_guard lock(mutex_);
    drop_served(offset, end);
    return bytes;
}

Result<ReadBytes> Stream::read_now(std::uint64_t offset, std::span<std::byte> out, PageTarget* target) {
    ReadBytes bytes;
    if (target != nullptr && out.size() >= least_handed_over) {
        CKPTFS_ASSIGN(bytes.handed_over, hand_over(offset, out.size(), *target));
    }
    if (!bytes.handed_over) {
        CKPTFS_TRY(file_->read(offset, out));
        bytes.add(out, nullptr);
    }
    return bytes;
}

Result<std::unique_ptr<HandedOver>> Stream::hand_over(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target) {
    if (!target.begin(nbytes)) {
        return std::unique_ptr<HandedOver>();
    }
    FilesRead read;
    CKPTFS_ASSIGN(const bool is_handed_over, file_->hand_over_unchecked(offset, nbytes, target, read));
    if (!is_handed_over) {
        const std::lock_guard lock(mutex_);
        cannot_hand_over_ = cannot_hand_over_ || !target.is_empty();  // else the pieces there are small
        return std::unique_ptr<HandedOver>();
    }
    CKPTFS_TRY(read.check());
    return std::make_unique<HandedOver>(*this, std::move(read));
}

HandedOver::HandedOver(Stream& stream, FilesRead files) : stream_(stream), files_(std::move(files)) {
    const std::lock_guard lock(stream_.mutex_);
    number_ = ++stream_.handed_over_;
    stream_.on_their_way_.insert(number_);
}

bool HandedOver::gone_on() noexcept {
    if (number_ == 0) {
        return true;
    }
    bool is_torn = true;
    std::optional<Error> torn_by;
    try {
        if (auto checked = files_.check(); checked.ok()) {
            is_torn = false;
        } else {
            torn_by = checked.error();
        }
    } catch (const std::exception&) {
        // Without memory to find out, nobody can say that they were right.
    }
    if (is_torn) {
        stream_.read_ahead_.tear(stream_.file_->name(), torn_by);
    }
    const std::lock_guard lock(stream_.mutex_);
    stream_.on_their_way_.erase(std::exchange(number_, 0));
    stream_.gone_on_.notify_all();
    return !is_torn;
}

void Stream::tear(const std::optional<Error>& by) {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_torn_, true)) {
        return;
    }
    try {
        torn_by_ = by;
    } catch (const std::exception&) {
        torn_by_.reset();
    }
}

Result<void> Stream::settle() {
    std::unique_lock lock(mutex_);
    const std::uint64_t until = handed_over_;
    gone_on_.wait(lock, [&] { return on_their_way_.empty() || *on_their_way_.begin() > until; });
    return intact();
}

bool Stream::is_slow() const {
    return fast_reads_ < forgotten_after;
}

Result<void> Stream::intact() const {
    if (!is_torn_) {
        return {};
    }
    return torn_by_.value_or(Error(ErrorCode::stale, "there was no memory to find that out"))
        .within("'" + file_->name() + "' may have changed while it was being read");
}

Result<Stream::Needed> Stream::needed_for(std::uint64_t offset, std::uint64_t nbytes) {
    const std::lock_guard lock(mutex_);
    was_used_ = true;
    CKPTFS_TRY(intact());
    Needed none;
    none.can_be_handed_over = !cannot_hand_over_;
    const std::uint64_t run_nbytes = pattern_.run_nbytes();
    const AccessPattern::Read read = pattern_.note(offset, nbytes);
    none.is_of_run = read != AccessPattern::Read::elsewhere;
    const bool begins = read == AccessPattern::Read::begins;
    if (begins) {
        drop_all();
    }
    const std::uint64_t ahead = none.is_of_run ? blocks_ahead(begins ? 0 : run_nbytes) : 0;
    const bool is_in_order = ahead > 0;
    const std::uint64_t first = offset / stream_block_nbytes;
    const std::uint64_t last = (offset + nbytes - 1) / stream_block_nbytes;
    if (last - first >= ReadBytes::most_parts || (!is_in_order && blocks_.empty())) {
        return none;
    }
    Needed needed;
    for (std::uint64_t number = first; number <= last; ++number) {
        if (!is_in_order && !blocks_.contains(number)) {
            return none;
        }
        bool is_new = false;
        auto found = block(number, is_new);
        if (!found) {
            return none;
        }
        if (is_new && found->reads() > 1) {
            read_ahead_.ask_for_help(found, std::min(found->reads() - 1, most_helpers), ReadAhead::Need::now);
        }
        needed.read_ahead += is_new ? 0 : 1;
        needed.blocks.at(needed.count++) = std::move(found);
    }
    if (is_in_order) {
        plan(last + 1, ahead);
    }
    return needed;
}

std::uint64_t Stream::blocks_ahead(std::uint64_t run_nbytes) {
    // What is read for a run that ends here was read in vain: no more than a part of the run, as it was before this
    // read, so that reads of a few mebibytes at random places do not pay for it.
    const std::uint64_t run = run_nbytes / stream_block_nbytes;
    if (is_slow()) {
        return std::min(depth_, run + 1);
    }
    if (!even_if_fast_) {
        return 0;
    }
    if (!std::exchange(is_counted_, true)) {
        ++read_ahead_.streams_in_use_;
    }
    return read_ahead_.reads_fast_files() ? std::min(depth_, run / part_of_fast_run) : 0;
}

std::shared_ptr<Block> Stream::block(std::uint64_t number, bool& is_new) {
    const auto at = blocks_.find(number);
    if (at != blocks_.end()) {
        return at->second.block;
    }
    auto memory = read_ahead_.memory_->take();
    if (!memory) {
        return nullptr;
    }
    is_new = true;
    const std::uint64_t offset = number * stream_block_nbytes;
    const std::uint64_t nbytes = std::min(stream_block_nbytes, file_->size() - offset);
    auto cuts =
        is_slow() && pieces_ != nullptr ? pieces_->separate_reads(offset, nbytes) : std::vector<std::uint64_t>();
    auto made =
        std::make_shared<Block>(file_, offset, nbytes, std::move(memory), std::move(cuts), read_ahead_.options_.now);
    blocks_.emplace(number, Held{made});
    return made;
}

/// The `count` blocks from `number` on, each once: of requests that overtake each other the later one is answered from
/// blocks that are gone again.
void Stream::plan(std::uint64_t number, std::uint64_t count) {
    const std::uint64_t end = number + count;
    for (std::uint64_t ahead = std::max(number, planned_until_); ahead < end; ++ahead) {
        if (ahead * stream_block_nbytes >= file_->size()) {
            return;
        }
        bool is_new = false;
        const auto planned = block(ahead, is_new);
        if (!planned) {
            return;  // the other streams have the memory
        }
        planned_until_ = ahead + 1;
        if (is_new) {
            read_ahead_.ask_for_help(planned, std::min(planned->reads(), most_helpers), ReadAhead::Need::later);
        }
    }
}

void Stream::learn(const Needed& needed, std::chrono::nanoseconds waited) {
    std::chrono::nanoseconds slowest = 0ns;
    for (const auto& block : std::span(needed.blocks).first(needed.count)) {
        slowest = std::max(slowest, block->slowest_read());
    }
    learn_read(slowest);
    if (needed.read_ahead > 0 && slowest >= slow_read && waited >= slow_read) {
        const std::lock_guard lock(mutex_);
        depth_ = std::min(depth_ * 2, deepest);
    }
}

void Stream::learn_read(std::chrono::nanoseconds taken) {
    const std::lock_guard lock(mutex_);
    if (taken >= slow_read) {
        fast_reads_ = 0;
        depth_ = std::max(depth_, first_slow_depth);
    } else if (is_slow() && ++fast_reads_ == forgotten_after) {
        depth_ = shallow;
    }
}

void Stream::drop(const Block& block) {
    const std::lock_guard lock(mutex_);
    const auto at = blocks_.find(block.offset() / stream_block_nbytes);
    if (at != blocks_.end() && at->second.block.get() == &block) {
        blocks_.erase(at);
    }
}

void Stream::drop_served(std::uint64_t offset, std::uint64_t end) {
    const std::uint64_t first = offset / stream_block_nbytes;
    for (std::uint64_t number = first; number * stream_block_nbytes < end; ++number) {
        const auto at = blocks_.find(number);
        if (at == blocks_.end()) {
            continue;
        }
        const Block& block = *at->second.block;
        at->second.served_nbytes += std::min(end, block.end()) - std::max(offset, block.offset());
        if (at->second.served_nbytes >= block.end() - block.offset()) {
            blocks_.erase(at);
        }
    }
    while (!blocks_.empty() && blocks_.begin()->first + kept_behind < first) {
        blocks_.begin()->second.block->abandon();
        blocks_.erase(blocks_.begin());
    }
}

void Stream::drop_all() {
    for (const auto& [number, held] : blocks_) {
        held.block->abandon();
    }
    blocks_.clear();
    planned_until_ = 0;
}

void Stream::release_if_idle() {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(was_used_, false)) {
        drop_all();
        stop_counting();
    }
}

void Stream::stop_counting() {
    if (std::exchange(is_counted_, false)) {
        --read_ahead_.streams_in_use_;
    }
}

}  // namespace ckptfs
