// Files that exist only in a test: whole ones, failing ones, slow ones.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ckptfs/source.h"
#include "util/checked.h"

namespace ckptfs::test {

/// What was asked of a file.
struct ReadCall {
    std::uint64_t offset = 0;
    std::uint64_t nbytes = 0;

    bool operator==(const ReadCall&) const = default;
};

/// Bytes in memory; remembers every read.
class MemoryFile : public File {
 public:
    explicit MemoryFile(std::string bytes, std::string name = "memory")
        : name_(std::move(name)), bytes_(std::move(bytes)) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        {
            const std::lock_guard lock(mutex_);
            calls_.push_back({offset, out.size()});
        }
        if (!fits(offset, out.size(), bytes_.size())) {
            return Error(ErrorCode::invalid_argument, "past the end of '" + name_ + "'");
        }
        if (!out.empty()) {
            std::memcpy(out.data(), bytes_.data() + offset, out.size());
        }
        return {};
    }

    Result<bool> hand_over_unchecked(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target,
                                     FilesRead& read) const override {
        read.add(this);
        return target.take(std::as_bytes(std::span(bytes_)).subspan(offset, nbytes));
    }

    [[nodiscard]] const std::string& bytes() const { return bytes_; }
    [[nodiscard]] std::vector<ReadCall> calls() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    void forget_calls() const {
        const std::lock_guard lock(mutex_);
        calls_.clear();
    }

 private:
    std::string name_;
    std::string bytes_;
    mutable std::mutex mutex_;
    mutable std::vector<ReadCall> calls_;
};

/// Collects what it is given; refuses what does not fit, or all of what comes as memory or as pages.
class CollectingTarget final : public PageTarget {
 public:
    bool begin(std::uint64_t nbytes) override {
        bytes.clear();
        is_empty_ = true;
        ++begun;
        return nbytes <= most_nbytes;
    }
    [[nodiscard]] bool is_empty() const override { return is_empty_; }
    bool take(int descriptor, std::uint64_t offset, std::uint64_t nbytes) override {
        is_empty_ = false;
        std::string taken(nbytes, '\0');
        const ssize_t got = ::pread(descriptor, taken.data(), nbytes, static_cast<off_t>(offset));
        bytes.append(taken, 0, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        return got == static_cast<ssize_t>(nbytes);
    }
    bool take(std::span<const std::byte> part) override {
        is_empty_ = false;
        if (!takes_memory) {
            return false;
        }
        bytes.append(static_cast<const char*>(static_cast<const void*>(part.data())), part.size());
        return true;
    }

    std::string bytes;
    std::uint64_t most_nbytes = UINT64_MAX;
    bool takes_memory = true;
    int begun = 0;

 private:
    bool is_empty_ = true;
};

/// Another file, except that reads which touch [offset, offset + nbytes) fail while it is broken.
class FaultyFile : public File {
 public:
    FaultyFile(std::shared_ptr<const File> inner, std::uint64_t offset, std::uint64_t nbytes, Error error)
        : inner_(std::move(inner)), offset_(offset), nbytes_(nbytes), error_(std::move(error)) {}

    [[nodiscard]] const std::string& name() const override { return inner_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return inner_->size(); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (broken_ && offset < offset_ + nbytes_ && offset_ < offset + out.size()) {
            return error_;
        }
        return inner_->read(offset, out);
    }

    void repair() { broken_ = false; }

 private:
    std::shared_ptr<const File> inner_;
    std::uint64_t offset_;
    std::uint64_t nbytes_;
    Error error_;
    std::atomic<bool> broken_ = true;
};

/// Another file whose every read takes a while.
class SlowFile : public File {
 public:
    SlowFile(std::shared_ptr<const File> inner, std::chrono::microseconds delay)
        : inner_(std::move(inner)), delay_(delay) {}

    [[nodiscard]] const std::string& name() const override { return inner_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return inner_->size(); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        std::this_thread::sleep_for(delay_);
        return inner_->read(offset, out);
    }

 private:
    std::shared_ptr<const File> inner_;
    std::chrono::microseconds delay_;
};

/// A huge file of zeros, except for a few bytes: holes that cost nothing.
class SparseFile : public File {
 public:
    explicit SparseFile(std::uint64_t size, std::string name = "sparse") : name_(std::move(name)), size_(size) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return size_; }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (!fits(offset, out.size(), size_)) {
            return Error(ErrorCode::invalid_argument, "past the end of '" + name_ + "'");
        }
        for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] = byte_at(offset + i);
        }
        return {};
    }

    /// Zero but at multiples of 2^30, which carry their number.
    [[nodiscard]] static std::byte byte_at(std::uint64_t offset) {
        constexpr std::uint64_t marker = std::uint64_t{1} << 30;
        return offset % marker == 0 ? std::byte(static_cast<unsigned char>(offset / marker)) : std::byte{0};
    }

 private:
    std::string name_;
    std::uint64_t size_;
};

inline std::string random_bytes(std::size_t count, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::string bytes(count, '\0');
    for (char& byte : bytes) {
        byte = static_cast<char>(random() & 0xFFU);
    }
    return bytes;
}

inline Result<std::string> read_range(const File& file, std::uint64_t offset, std::uint64_t nbytes) {
    std::string bytes(nbytes, '\xAA');
    CKPTFS_TRY(file.read(offset, std::as_writable_bytes(std::span(bytes))));
    return bytes;
}

inline Result<std::string> read_all(const File& file) {
    return read_range(file, 0, file.size());
}

}  // namespace ckptfs::test
