// ReadAhead: every byte is the file's, what is asked for next has been read, and errors are those of the file.
#include "stream/read_ahead.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <random>
#include <set>
#include <thread>

#include "support/fake_files.h"

namespace ckptfs {
namespace {

using test::FaultyFile;
using test::MemoryFile;
using test::SlowFile;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t block = stream_block_nbytes;

std::string random_bytes(std::uint64_t nbytes) {
    std::mt19937_64 random(7);
    std::string bytes(nbytes, '\0');
    for (std::uint64_t at = 0; at < nbytes; at += 64) {
        bytes[at] = static_cast<char>(random());
    }
    return bytes;
}

ReadAheadOptions options(std::uint64_t memory_nbytes = 64 * mib) {
    return {.memory_nbytes = memory_nbytes, .threads = 4};
}

/// For whom every read takes no time, however busy the machine is.
std::chrono::steady_clock::time_point standing_still() {
    return {};
}

Result<std::string> read(Stream& stream, std::uint64_t offset, std::uint64_t nbytes) {
    std::vector<std::byte> out(nbytes);
    const auto read = stream.read(offset, out);
    if (!read) {
        return read.error();
    }
    std::string bytes;
    for (std::size_t i = 0; i < read->count; ++i) {
        const auto part = read->parts.at(i);
        bytes.append(static_cast<const char*>(static_cast<const void*>(part.data())), part.size());
    }
    return bytes;
}

/// So much that what comes next is read ahead as far as it is of a fast file.
constexpr std::uint64_t long_run = 25 * mib;
/// What the kernel asks for at a time.
constexpr std::uint64_t request = 992 * kib;

void read_in_order(Stream& stream, std::uint64_t until) {
    for (std::uint64_t at = 0; at < until; at += mib) {
        ASSERT_TRUE(read(stream, at, mib).ok());
    }
}

/// In as many requests as that takes.
void read_as_the_kernel(Stream& stream, std::uint64_t offset, std::uint64_t nbytes) {
    for (std::uint64_t at = 0; at < nbytes; at += request) {
        ASSERT_TRUE(read(stream, offset + at, std::min(request, nbytes - at)).ok());
    }
}

std::uint64_t nbytes_of(const std::vector<test::ReadCall>& calls) {
    std::uint64_t nbytes = 0;
    for (const auto& call : calls) {
        nbytes += call.nbytes;
    }
    return nbytes;
}

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
    std::vector<test::ReadCall> asked;
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
    ReadAhead ahead(options());
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

/// Whose bytes may turn out to be another generation's.
class ChangingFile final : public MemoryFile {
 public:
    using MemoryFile::MemoryFile;
    Result<void> check() const override {
        ++checks;
        return has_changed ? Error(ErrorCode::stale, "changed") : Result<void>();
    }

    std::atomic<bool> has_changed = false;
    mutable std::atomic<int> checks = 0;
};

/// Where nothing is read ahead that comes at once.
ReadAheadOptions few_processors() {
    auto few = options();
    few.most_fast_streams = 0;
    few.now = standing_still;
    return few;
}

/// One stream of a file of two blocks, with nothing read ahead.
class HandingOver : public testing::Test {
 protected:
    std::shared_ptr<ChangingFile> file_ = std::make_shared<ChangingFile>(random_bytes(2 * mib), "shard");
    ReadAhead ahead_{few_processors()};
    Stream stream_{ahead_, file_, Stream::Ahead::always};
    test::CollectingTarget target_;
    std::vector<std::byte> out_ = std::vector<std::byte>(mib);
};

TEST_F(HandingOver, IsDoneInThePlaceOfReadingWhatIsThereAtOnce) {
    const auto file = std::make_shared<ChangingFile>(random_bytes(8 * mib));
    ReadAhead ahead(few_processors());
    Stream stream(ahead, file, Stream::Ahead::always);
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        const auto read = stream.read(at, out_, &target_);
        ASSERT_TRUE(read.ok());
        EXPECT_EQ(read->count, 0U);
        ASSERT_TRUE(read->handed_over);
        ASSERT_EQ(target_.bytes, file->bytes().substr(at, mib));
    }
    EXPECT_TRUE(file->calls().empty());
    EXPECT_EQ(file->checks, 16) << "before and after";
    EXPECT_TRUE(stream.settle().ok());
    EXPECT_EQ(stream.read(0, std::span(out_).first(4096), &target_)->count, 1U) << "small ones are copied";
    target_.most_nbytes = mib - 1;
    const auto read = stream.read(0, out_, &target_);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read->count, 1U) << "the target has no room";
    EXPECT_EQ(read->parts.front().data(), out_.data());
    EXPECT_EQ(ahead.held_nbytes(), 0U);
}

TEST_F(HandingOver, IsNotDoneOfWhatIsReadAhead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(40 * mib));
    ReadAhead ahead(options());
    Stream stream(ahead, file, Stream::Ahead::always);
    read_in_order(stream, long_run);
    EXPECT_GT(stream.read(long_run, out_, &target_)->count, 0U);
    EXPECT_EQ(target_.begun, 0);
    EXPECT_TRUE(stream.read(8 * mib, out_, &target_)->handed_over) << "elsewhere";
    Stream kept_by_the_kernel(ahead, file, Stream::Ahead::if_slow);
    ReadAhead without_memory(options(0));
    Stream never_read_ahead(without_memory, file, Stream::Ahead::always);
    for (Stream* const other : {&kept_by_the_kernel, &never_read_ahead}) {
        for (std::uint64_t at = 0; at < file->size(); at += mib) {
            EXPECT_TRUE(other->read(at, out_, &target_)->handed_over) << at;
        }
    }
}

TEST_F(HandingOver, IsDoneWhileThereAreMoreStreamsThanProcessorsThatReadAhead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(128 * mib));
    auto two = options();
    two.most_fast_streams = 2;
    two.now = standing_still;
    ReadAhead ahead(two);
    std::map<const Stream*, std::uint64_t> read_until;
    std::vector<std::byte> out(request);
    const auto goes_on_by_handing_over = [&](Stream& stream) {
        const auto read = stream.read(read_until[&stream], out, &target_);
        EXPECT_TRUE(read.ok());
        read_until[&stream] += request;
        return read->handed_over != nullptr;
    };
    const auto go_on = [&](Stream& stream, std::uint64_t nbytes) {
        for (std::uint64_t done = 0; done < nbytes; done += request) {
            goes_on_by_handing_over(stream);
        }
    };
    Stream one(ahead, file, Stream::Ahead::always);
    Stream kept_by_the_kernel(ahead, file, Stream::Ahead::if_slow);
    Stream read_elsewhere(ahead, file, Stream::Ahead::always);
    go_on(kept_by_the_kernel, long_run);
    goes_on_by_handing_over(read_elsewhere);
    auto another = std::make_unique<Stream>(ahead, file, Stream::Ahead::always);
    go_on(one, long_run);
    go_on(*another, long_run);
    EXPECT_FALSE(goes_on_by_handing_over(one));
    EXPECT_FALSE(goes_on_by_handing_over(*another));
    auto third = std::make_unique<Stream>(ahead, file, Stream::Ahead::always);
    go_on(*third, long_run);
    EXPECT_TRUE(goes_on_by_handing_over(*third));
    go_on(one, 6 * mib);  // what was read ahead is used up
    EXPECT_TRUE(goes_on_by_handing_over(one));
    go_on(*another, 6 * mib);
    while (ahead.held_nbytes() > 0) {
        ahead.release_idle();  // a thread may still have read into a block
        go_on(one, request);
        go_on(*another, request);
        go_on(*third, request);
    }
    another.reset();
    EXPECT_FALSE(goes_on_by_handing_over(*third)) << "two are left";
    Stream fourth(ahead, file, Stream::Ahead::always);
    go_on(fourth, long_run);
    EXPECT_TRUE(goes_on_by_handing_over(fourth));
    for (int round = 0; round < 2; ++round) {
        ahead.release_idle();
        go_on(one, request);
        go_on(fourth, request);
    }
    EXPECT_FALSE(goes_on_by_handing_over(fourth)) << "nobody has used the third one";
}

TEST_F(HandingOver, WhatIsWaitedForIsReadAheadInstead) {
    const auto file = std::make_shared<MemoryFile>(random_bytes(32 * mib));
    auto slow = few_processors();
    std::atomic<int> looks = 0;
    slow.now = [&looks] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(5 * looks++)); };
    ReadAhead ahead(slow);
    Stream stream(ahead, file, Stream::Ahead::always);
    int handed_over = 0;
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        const auto read = stream.read(at, out_, &target_);
        ASSERT_TRUE(read.ok());
        handed_over += read->handed_over ? 1 : 0;
    }
    EXPECT_EQ(handed_over, 1) << "until it is known to be read in order";
}

TEST_F(HandingOver, WhatIsTornIsTornForAllWhoHaveTheFileOpen) {
    const auto file = std::make_shared<ChangingFile>(random_bytes(2 * mib));
    ReadAhead ahead(few_processors());
    Stream one(ahead, file, Stream::Ahead::always);
    Stream another(ahead, std::make_shared<MemoryFile>(random_bytes(2 * mib)), Stream::Ahead::always);
    const auto other_file = std::make_shared<ChangingFile>(random_bytes(2 * mib), "other");
    Stream of_other_file(ahead, other_file, Stream::Ahead::always);
    const auto read = one.read(0, out_, &target_);
    ASSERT_TRUE(read->handed_over);
    file->has_changed = true;
    EXPECT_FALSE(read->handed_over->gone_on());
    file->has_changed = false;
    EXPECT_TRUE(read->handed_over->gone_on()) << "it is told once";
    EXPECT_FALSE(one.settle().ok());
    EXPECT_FALSE(another.settle().ok()) << "the page cache may have given them to its reader";
    EXPECT_TRUE(of_other_file.settle().ok());
}

TEST_F(HandingOver, ClosingWaitsForNothingThatBeginsLater) {
    auto early = stream_.read(0, out_, &target_);
    auto closing = std::async(std::launch::async, [&] { return stream_.settle(); });
    EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    const auto late = stream_.read(mib, out_, &target_);
    ASSERT_TRUE(late->handed_over);
    early->handed_over.reset();
    EXPECT_TRUE(closing.get().ok());
}

TEST_F(HandingOver, IsNotTriedAgainWhereAFileCannot) {
    const auto file = std::make_shared<ChangingFile>(random_bytes(4 * mib));
    ReadAhead ahead(few_processors());
    Stream stream(ahead, file, Stream::Ahead::always);
    target_.takes_memory = false;
    for (std::uint64_t at = 0; at < file->size(); at += mib) {
        EXPECT_EQ(stream.read(at, out_, &target_)->count, 1U);
    }
    EXPECT_EQ(target_.begun, 1);
}

TEST_F(HandingOver, SmallPiecesInOnePlaceSayNothingOfOthers) {
    const auto source = std::make_shared<MemoryFile>(random_bytes(4 * mib));
    PieceList list;
    for (std::uint64_t at = 0; at < mib; at += 2 * kib) {
        list.add_source(source.get(), 2 * mib - at - kib, 2 * kib);
    }
    list.add_source(source.get(), mib, 2 * mib);
    const auto file = *VirtualFile::create("mixed", std::move(list), source);
    ReadAhead ahead(few_processors());
    Stream stream(ahead, file, Stream::Ahead::always);
    EXPECT_EQ(stream.read(0, out_, &target_)->count, 1U);
    EXPECT_TRUE(stream.read(mib, out_, &target_)->handed_over);
    EXPECT_EQ(target_.bytes, source->bytes().substr(mib, mib));
}

TEST_F(HandingOver, WhatHasChangedBeforeIsAnError) {
    file_->has_changed = true;
    const auto read = stream_.read(0, out_, &target_);
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code(), ErrorCode::stale);
    EXPECT_TRUE(stream_.settle().ok()) << "nothing wrong has gone out";
}

TEST_F(HandingOver, WhatChangesOnTheWayIsToldByTheNextReadAndAtTheEnd) {
    auto read = stream_.read(0, out_, &target_);
    ASSERT_TRUE(read.ok());
    ASSERT_TRUE(read->handed_over);
    file_->has_changed = true;
    auto closing = std::async(std::launch::async, [&] { return stream_.settle(); });
    EXPECT_EQ(closing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout) << "it waits";
    read->handed_over.reset();
    const auto settled = closing.get();
    ASSERT_FALSE(settled.ok());
    EXPECT_EQ(settled.error().code(), ErrorCode::stale);
    EXPECT_THAT(settled.error().message(), AllOf(HasSubstr("'shard'"), HasSubstr("changed")));
    file_->has_changed = false;
    EXPECT_EQ(stream_.read(mib, out_, &target_).error().code(), ErrorCode::stale) << "once is for ever";
    EXPECT_EQ(stream_.read(mib, out_).error().code(), ErrorCode::stale);
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
}  // namespace ckptfs
