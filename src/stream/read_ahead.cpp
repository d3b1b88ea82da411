// The threads that help.
#include "stream/read_ahead.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <system_error>

#include "util/machine_limits.h"

namespace ckptfs {
namespace {

constexpr std::uint64_t most_memory_nbytes = std::uint64_t{512} << 20U;
constexpr std::uint64_t share_of_memory = 16;
/// One for who reads, one for who answers and some for who reads ahead; below that reading ahead takes from the others.
constexpr std::size_t processors_for_each_stream = 4;

/// Signals are for the thread that serves; one that is made meanwhile gets none.
class SignalsBlocked {
 public:
    SignalsBlocked() {
        sigset_t all{};
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
    sigset_t before_{};
};

}  // namespace

ReadAheadOptions ReadAheadOptions::usual() {
    return {.memory_nbytes = std::min(most_memory_nbytes, memory_limit() / share_of_memory),
            .most_fast_streams = processors() / processors_for_each_stream};
}

ReadAhead::ReadAhead(const ReadAheadOptions& options)
    : options_(options), memory_(std::make_shared<BlockMemory>(options.memory_nbytes)) {
    threads_.reserve(options.threads);
}

ReadAhead::~ReadAhead() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

void ReadAhead::release_idle() {
    {
        const std::lock_guard lock(streams_mutex_);
        for (Stream* stream : streams_) {
            stream->release_if_idle();
        }
    }
    memory_->release_unused();
}

void ReadAhead::tear(const std::string& name, const std::optional<Error>& by) {
    const std::lock_guard lock(streams_mutex_);
    for (Stream* stream : streams_) {
        if (stream->file_->name() == name) {
            stream->tear(by);
        }
    }
}

void ReadAhead::ask_for_help(const std::shared_ptr<Block>& block, std::size_t helpers, Need need) {
    {
        const std::lock_guard lock(mutex_);
        queue_.insert(need == Need::now ? queue_.begin() : queue_.end(), helpers, block);
        for (std::size_t free = idle_; free < queue_.size() && threads_.size() < options_.threads; ++free) {
            if (!start_thread()) {
                break;
            }
        }
    }
    helpers == 1 ? changed_.notify_one() : changed_.notify_all();
}

/// Without a thread, those who need a block read it themselves.
bool ReadAhead::start_thread() {
    const SignalsBlocked blocked;
    try {
        threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
        return false;  // the system has no further one for us: those that there are do all the work
    }
    return true;
}

void ReadAhead::work() noexcept {
    std::unique_lock lock(mutex_);
    while (true) {
        ++idle_;
        changed_.wait(lock, [this] { return ends_ || !queue_.empty(); });
        --idle_;
        if (ends_) {
            return;
        }
        const std::shared_ptr<Block> block = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        block->help();
        lock.lock();
    }
}

}  // namespace ckptfs
