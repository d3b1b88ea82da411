// ReadAhead: every byte is the file's, what is asked for next has been read, and errors are those of the file.
#include "stream/read_ahead.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <random>
#include <set>
#include <thread>

#include "streams.h"

namespace ckptfs::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t block = stream_block_nbytes;

/// A file that counts who waits in it, and lets nobody through until told.
class Gate : public File {
 public:
    explicit Gate(std::shared_ptr<const File> inner) : inner_(std::move(inner)) {}

    [[nodiscard]] const std::string& name() const override { return inner_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return inner_->size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        {
            std::unique_lock lock(mutex_);
            waiting_.insert(offset);
            changed_.notify_all();
            changed_.wait(lock, [this] { return open_; });
        }
        return inner_->read(offset, out);
    }
    /// Until somebody reads from there.
    void wait_for(std::uint64_t offset) const {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return waiting_.contains(offset); });
    }
    void set_open(bool open) const {
        const std::lock_guard lock(mutex_);
        open_ = open;
        changed_.notify_all();
    }

 private:
    std::shared_ptr<const File> inner_;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    mutable bool open_ = true;
    mutable std::set<std::uint64_t> waiting_;
};

TEST(ReadAhead, EveryByteIsTheFilesInWhateverOrderItIsRead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(20 * mib + 12345));
    ReadAhead ahead(options());
    Stream stream(ahead, file, Stream::Ahead::always);
    std::mt19937_64 random(3);
    std::uint64_t at = 0;
    for (int i = 0; i < 300; ++i) {
        if (random() % 8 == 0) {
            at = random() % file->size();
        }
        const std::uint64_t nbytes = std::min(random() % (2 * mib) + 1, file->size() - at);
        const auto bytes = read(stream, at, nbytes);
        ASSERT_TRUE(bytes.ok()) << bytes.error().message();
        ASSERT_EQ(*bytes, file->bytes().substr(at, nbytes)) << at << " " << nbytes;
        at = at + nbytes == file->size() ? 0 : at + nbytes;
    }
}

TEST(ReadAhead, WhatComesNextIsReadBeforeItIsAskedFor) {
    const auto file = std::make_shared<const Gate>(std::make_shared<MemoryFile>(random_bytes(32 * mib)));
    ReadAhead ahead(options());
    Stream stream(ahead, file, Stream::Ahead::always);
    read_in_order(stream, long_run);
    for (std::uint64_t ahead_of_it = 0; ahead_of_it < 3; ++ahead_of_it) {
        file->wait_for(long_run + ahead_of_it * mib);
    }
}

TEST(ReadAhead, OfAWholeFileEveryByteIsReadOnce) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(16 * mib));
    ReadAhead ahead(options());
    {
        Stream stream(ahead, file, Stream::Ahead::always);
        for (std::uint64_t at = 0; at < file->size(); at += 256 * kib) {
            ASSERT_TRUE(read(stream, at, 256 * kib).ok());
        }
    }
    EXPECT_LE(nbytes_of(file->calls()),
              file->size() + block);  // what was read before it was known to be in order may be read again
}

TEST(ReadAhead, RandomReadsAreTheFilesOwn) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(64 * mib));
    ReadAhead ahead(options());
    Stream stream(ahead, file, Stream::Ahead::always);
    std::vector<ReadCall> asked;
    for (std::uint64_t i = 0; i < 16; ++i) {
        const std::uint64_t at = (i * 7 % 16) * 4 * mib;
        ASSERT_TRUE(read(stream, at, 4 * kib).ok());
        asked.push_back({at, 4 * kib});
    }
    EXPECT_EQ(file->calls(), asked);
    EXPECT_EQ(ahead.held_nbytes(), 0U);
}

/// In a small file some follow each other by chance, and whoever reads a few mebibytes asks in order for as long.
class RandomReads : public testing::TestWithParam<std::uint64_t> {
 protected:
    /// Bytes that are read of a file for each that is asked for, in reads of this size.
    static double effort(const ReadAheadOptions& chosen) {
        const std::uint64_t nbytes = GetParam();
        const auto file = std::make_shared<MemoryFile>(std::string(60 * nbytes, 'a'));
        constexpr std::uint64_t count = 200;
        {
            ReadAhead ahead(chosen);
            Stream stream(ahead, file, Stream::Ahead::always);
            std::mt19937_64 random(3);
            for (std::uint64_t i = 0; i < count; ++i) {
                read_as_the_kernel(stream, random() % 60 * nbytes, nbytes);
            }
        }
        return static_cast<double>(nbytes_of(file->calls())) / static_cast<double>(count * nbytes);
    }
};

TEST_P(RandomReads, OfAFastFileReadLittleInVain) {
    auto chosen = options();
    chosen.now = standing_still;
    EXPECT_LE(effort(chosen), 1.25);
}

TEST_P(RandomReads, OfASlowFileReadSomeInVainThatIsWaitedForAnyway) {
    auto chosen = options();
    std::atomic<int> now_ms = 0;
    chosen.now = [&] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(now_ms += 3)); };
    EXPECT_LE(effort(chosen), GetParam() <= mib ? 1.35 : 2.5);
}

INSTANTIATE_TEST_SUITE_P(Sizes, RandomReads, testing::Values(256 * kib, mib, 2 * mib, 3 * mib, 4 * mib, 9 * mib));

TEST(ReadAhead, FastFilesAreLeftAloneWhereNoProcessorIsToSpare) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(8 * mib));
    auto chosen = options();
    chosen.most_fast_streams = 0;
    chosen.now = standing_still;
    ReadAhead ahead(chosen);
    Stream stream(ahead, file, Stream::Ahead::always);
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        ASSERT_TRUE(read(stream, at, mib).ok());
    }
    EXPECT_EQ(file->calls().size(), 8U);
    EXPECT_EQ(ahead.held_nbytes(), 0U);
}

TEST(ReadAhead, FastFilesAreLeftAloneWhereTheKernelReadsAhead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(8 * mib));
    auto chosen = options();
    chosen.now = standing_still;
    ReadAhead ahead(chosen);
    Stream stream(ahead, file, Stream::Ahead::if_slow);
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        ASSERT_TRUE(read(stream, at, mib).ok());
    }
    EXPECT_EQ(file->calls().size(), 8U);
    EXPECT_EQ(ahead.held_nbytes(), 0U);
}

TEST(ReadAhead, FilesThatAreWaitedForAreReadAheadFar) {
    const auto file =
        std::make_shared<SlowFile>(std::make_shared<MemoryFile>(random_bytes(40 * mib)), std::chrono::milliseconds(3));
    auto chosen = options();
    chosen.most_fast_streams = 0;
    ReadAhead ahead(chosen);
    Stream stream(ahead, file, Stream::Ahead::always);
    read_in_order(stream, 20 * mib);
    EXPECT_GE(ahead.held_nbytes(), 16 * mib);
}

TEST(ReadAhead, OfASlowFileThePiecesOfABlockAreReadAtTheSameTime) {
    const auto bytes = random_bytes(8 * mib);
    std::vector<std::shared_ptr<const Gate>> sources;
    PieceList list;
    for (int i = 0; i < 4; ++i) {
        sources.push_back(std::make_shared<Gate>(
            std::make_shared<SlowFile>(std::make_shared<MemoryFile>(bytes), std::chrono::milliseconds(3))));
    }
    const SlowFile before(std::make_shared<MemoryFile>(bytes), std::chrono::milliseconds(3));
    list.add_source(&before, 0, 2 * mib);
    for (const auto& source : sources) {
        list.add_source(source.get(), 3 * mib, 256 * kib);
    }
    list.add_zeros(mib);
    const auto file = *VirtualFile::create("virtual", std::move(list), nullptr);
    ReadAhead ahead(options());
    Stream stream(ahead, file, Stream::Ahead::always);
    for (const auto& source : sources) {
        source->set_open(false);
    }
    for (std::uint64_t at = 0; at < 2 * mib; at += 256 * kib) {
        ASSERT_TRUE(read(stream, at, 256 * kib).ok());
    }
    for (const auto& source : sources) {
        source->wait_for(3 * mib);  // all of them, while none has been let through
    }
    for (const auto& source : sources) {
        source->set_open(true);
    }
    EXPECT_EQ(*read(stream, 2 * mib, mib), bytes.substr(3 * mib, 256 * kib) + bytes.substr(3 * mib, 256 * kib) +
                                               bytes.substr(3 * mib, 256 * kib) + bytes.substr(3 * mib, 256 * kib));
}

TEST(ReadAhead, AnErrorIsOfWhoeverAsksForThoseBytes) {
    const auto faulty = std::make_shared<FaultyFile>(std::make_shared<MemoryFile>(random_bytes(8 * mib)), 3 * mib, 1,
                                                     Error(ErrorCode::stale, "it has changed"));
    ReadAhead ahead(options());
    Stream stream(ahead, faulty, Stream::Ahead::always);
    for (std::uint64_t at = 0; at < 3 * mib; at += mib) {
        EXPECT_TRUE(read(stream, at, mib).ok());
    }
    const auto failed = read(stream, 3 * mib, mib);
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code(), ErrorCode::stale);
    EXPECT_THAT(failed.error().message(), HasSubstr("it has changed"));
    EXPECT_TRUE(read(stream, 3 * mib + 1, mib / 2).ok()) << "the bad byte is not among these";
    EXPECT_TRUE(read(stream, 2 * mib + 1, mib - 1).ok());
    EXPECT_TRUE(read(stream, 4 * mib, mib).ok());
    faulty->repair();
    EXPECT_TRUE(read(stream, 3 * mib, mib).ok());
}

TEST(ReadAhead, WhatReadingThrowsIsThrownToTheReader) {
    class Throwing final : public MemoryFile {
     public:
        using MemoryFile::MemoryFile;
        Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
            if (throws) {
                ++(std::this_thread::get_id() == reader ? thrown_to_reader : thrown_to_others);
                throw std::bad_alloc();
            }
            return MemoryFile::read(offset, out);
        }
        const std::thread::id reader = std::this_thread::get_id();
        std::atomic<bool> throws = false;
        mutable std::atomic<int> thrown_to_reader = 0;
        mutable std::atomic<int> thrown_to_others = 0;
    };
    const auto file = std::make_shared<Throwing>(std::string(64 * mib, 'a'));
    auto chosen = options();
    chosen.now = standing_still;  // of a slow file more has been read before
    ReadAhead ahead(chosen);
    Stream stream(ahead, file, Stream::Ahead::always);
    read_in_order(stream, long_run);
    file->throws = true;
    int failed = 0;
    std::uint64_t at = long_run;
    for (; at < 50 * mib; at += mib) {
        try {
            EXPECT_TRUE(read(stream, at, mib).ok()) << "what had been read before";
        } catch (const std::bad_alloc&) {
            ++failed;
        }
    }
    EXPECT_GT(failed, 20);
    EXPECT_GT(file->thrown_to_others, 0);
    file->throws = false;
    for (; at < file->size(); at += mib) {
        EXPECT_TRUE(read(stream, at, mib).ok());
    }
}

TEST(ReadAhead, RequestsThatOvertakeEachOtherReadNothingTwice) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(45 * mib));
    ReadAhead ahead(options());
    {
        Stream stream(ahead, file, Stream::Ahead::always);
        read_in_order(stream, long_run);
        for (std::uint64_t at = long_run; at < file->size(); at += 2 * mib) {
            ASSERT_TRUE(read(stream, at + mib, mib).ok());
            ASSERT_TRUE(read(stream, at, mib).ok());
        }
    }
    EXPECT_EQ(nbytes_of(file->calls()), file->size());
}

TEST(ReadAhead, MemoryIsShared) {
    const auto file =
        std::make_shared<SlowFile>(std::make_shared<MemoryFile>(random_bytes(40 * mib)), std::chrono::milliseconds(3));
    ReadAhead ahead(options(5 * mib));
    Stream one(ahead, file, Stream::Ahead::always);
    Stream other(ahead, file, Stream::Ahead::always);
    for (std::uint64_t at = 0; at < 20 * mib; at += mib) {
        ASSERT_TRUE(read(one, at, mib).ok());
        ASSERT_TRUE(read(other, at, mib).ok());
        EXPECT_LE(ahead.held_nbytes(), 5 * mib);
    }
}

TEST(ReadAhead, IdleStreamsGiveTheirMemoryBack) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(32 * mib));
    ReadAhead ahead(options());
    Stream stream(ahead, file, Stream::Ahead::always);
    read_in_order(stream, long_run);
    EXPECT_GT(ahead.held_nbytes(), 0U);
    // Used since, then unused; the memory itself is kept for a round more. A thread may still be reading into a block.
    while (ahead.held_nbytes() > 0) {
        ahead.release_idle();
    }
    EXPECT_EQ(*read(stream, long_run, mib), file->bytes().substr(long_run, mib));
}

TEST(ReadAhead, ManyReadersOfOneStreamGetTheirBytes) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(32 * mib));
    ReadAhead ahead(options(8 * mib));
    Stream stream(ahead, file, Stream::Ahead::always);
    std::vector<std::thread> readers;
    for (std::uint64_t number = 0; number < 6; ++number) {
        readers.emplace_back([&, number] {
            for (std::uint64_t at = number * 512 * kib; at < file->size(); at += 6 * 512 * kib) {
                const auto bytes = read(stream, at, std::min(512 * kib, file->size() - at));
                ASSERT_TRUE(bytes.ok());
                ASSERT_EQ(*bytes, file->bytes().substr(at, bytes->size()));
            }
        });
    }
    for (auto& reader : readers) {
        reader.join();
    }
}

TEST(ReadAhead, StreamsEndWhileTheirFilesAreRead) {
    const auto file =
        std::make_shared<SlowFile>(std::make_shared<MemoryFile>(random_bytes(16 * mib)), std::chrono::milliseconds(1));
    ReadAhead ahead(options());
    for (int i = 0; i < 20; ++i) {
        Stream stream(ahead, file, Stream::Ahead::always);
        read_in_order(stream, 5 * mib);
    }
}

}  // namespace
}  // namespace ckptfs::test
