// ViewReading: whichever thread finds it, the first difference is the answer; and nothing is read twice.
#include "verify/view_reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

#include "pt/archive_builder.h"
#include "pt/zip.h"
#include "support/fake_files.h"
#include "util/text.h"

namespace ckptfs::verify {
namespace view_reading {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t block = ViewReading::block_nbytes;
constexpr std::uint64_t nbytes = 12 * block + 40;

const TorchReader no_torch = [](const File&, const RecordVisitor&) -> Result<void> {
    return Error(ErrorCode::internal, "nothing is read by libtorch here");
};

std::string with(const std::vector<std::uint64_t>& changed) {
    std::string bytes(nbytes, 'a');
    for (const std::uint64_t at : changed) {
        bytes[at] = 'b';
    }
    return bytes;
}

ExpectedElements bytes_of(const File& file, std::uint64_t offset = 0, std::uint64_t count = nbytes,
                          const std::string& what = "it") {
    return {.what = what,
            .numel = count,
            .source_dtype = model::DType::uint8,
            .view_dtype = model::DType::uint8,
            .source = [&file, offset](std::uint64_t from, std::uint64_t numel, PieceList& out) {
                out.add_source(&file, offset + from, numel);
            }};
}

PieceList at(const File& file, std::uint64_t offset = 0, std::uint64_t count = nbytes) {
    PieceList pieces;
    pieces.add_source(&file, offset, count);
    return pieces;
}

/// What is said of `view`, all of which must be what `source` has.
Result<std::vector<std::string>> problems_of(const File& source, const File& view) {
    ViewReading reading(no_torch, {});
    CKPTFS_TRY(reading.expect(bytes_of(source), at(view)));
    std::vector<ViewReading::ViewFile> files;
    CKPTFS_TRY(reading.read(files));
    EXPECT_EQ(reading.compared_nbytes(), nbytes);
    Problems problems;
    CKPTFS_TRY(reading.report(problems));
    return problems.kept();
}

std::string differs_from(std::uint64_t element) {
    return "it: differs from the source from element " + grouped(element) + " of " + grouped(nbytes) + " on";
}

/// How often each byte of a file was read, as runs: the least and the most.
std::pair<int, int> times_read(const test::MemoryFile& file, std::uint64_t from = 0, std::uint64_t to = nbytes) {
    std::map<std::uint64_t, int> changes{{from, 0}};
    for (const test::ReadCall& call : file.calls()) {
        ++changes[std::clamp(call.offset, from, to)];
        --changes[std::clamp(call.offset + call.nbytes, from, to)];
    }
    changes.erase(to);
    int times = 0;
    std::pair<int, int> result{std::numeric_limits<int>::max(), 0};
    for (const auto& [offset, change] : changes) {
        times += change;
        result = {std::min(result.first, times), std::max(result.second, times)};
    }
    return result;
}

const std::pair<int, int> once{1, 1};

TEST(ViewReading, WhatIsTheSameHasNoDifferenceAndIsReadOnce) {
    const test::MemoryFile source(with({}));
    const test::MemoryFile view(with({}));
    EXPECT_THAT(problems_of(source, view).value(), IsEmpty());
    EXPECT_EQ(times_read(source), once);
    EXPECT_EQ(times_read(view), once);
}

TEST(ViewReading, TellsTheFirstOfSeveralDifferences) {
    const test::MemoryFile source(with({}));
    for (const std::uint64_t first : {std::uint64_t{0}, 2 * block + 7, 12 * block + 39}) {
        const test::MemoryFile view(with({first, 12 * block + 39}));
        for (int round = 0; round < 10; ++round) {
            EXPECT_THAT(problems_of(source, view).value(), ElementsAre(differs_from(first)));
        }
    }
}

TEST(ViewReading, WhatComesFirstIsTold) {
    const test::MemoryFile source(with({}));
    const auto view = [](std::uint64_t differs, std::uint64_t fails) {
        return test::FaultyFile(std::make_shared<test::MemoryFile>(with({differs})), fails, 1,
                                Error(ErrorCode::damaged, "broken"));
    };
    const auto said_of = [&](const File& of) {
        ViewReading reading(no_torch, {});
        EXPECT_TRUE(reading.expect(bytes_of(source), at(of)).ok());
        std::vector<ViewReading::ViewFile> files;
        EXPECT_TRUE(reading.read(files).ok());
        Problems problems;
        EXPECT_TRUE(reading.report(problems).ok());
        return problems.kept();
    };
    EXPECT_THAT(said_of(view(block, 5 * block)), ElementsAre(differs_from(block)));
    EXPECT_THAT(said_of(view(5 * block, block)), ElementsAre("it: the view cannot be read: broken"));
    const auto of_source = problems_of(view(5 * block, block), source);
    ASSERT_FALSE(of_source.ok());
    EXPECT_EQ(of_source.error().message(), "broken");
}

TEST(ViewReading, OnlyTheTensorThatCannotBeReadIsBlamed) {
    const test::MemoryFile source(with({}));
    const test::FaultyFile view(std::make_shared<test::MemoryFile>(with({})), 150, 1,
                                Error(ErrorCode::damaged, "broken"));
    ViewReading reading(no_torch, {});
    for (const std::uint64_t offset : {0U, 100U, 200U}) {
        ASSERT_TRUE(reading.expect(bytes_of(source, offset, 100, std::to_string(offset)), at(view, offset, 100)).ok());
    }
    std::vector<ViewReading::ViewFile> files;
    ASSERT_TRUE(reading.read(files).ok());
    Problems problems;
    ASSERT_TRUE(reading.report(problems).ok());
    EXPECT_THAT(problems.kept(), ElementsAre("100: the view cannot be read: broken"));
    EXPECT_EQ(reading.compared_nbytes(), 200U);
}

TEST(ViewReading, WhatTwoTensorsShareIsReadOnce) {
    const test::MemoryFile source(with({}));
    const test::MemoryFile view(with({3 * block}));
    std::map<std::uint64_t, std::uint64_t> passed;
    std::mutex mutex;
    ViewReading reading(no_torch, [&](const File& file, std::uint64_t offset, std::span<const std::byte> bytes) {
        EXPECT_EQ(&file, &source);
        const std::lock_guard lock(mutex);
        passed[offset] += bytes.size();
    });
    ASSERT_TRUE(reading.expect(bytes_of(source), at(view)).ok());
    ASSERT_TRUE(reading.expect(bytes_of(source, 2 * block, 2 * block, "tied"), at(view, 2 * block, 2 * block)).ok());
    std::vector<ViewReading::ViewFile> files;
    ASSERT_TRUE(reading.read(files).ok());
    EXPECT_EQ(times_read(source), once);
    EXPECT_EQ(times_read(view), once);
    std::uint64_t total = 0;
    for (const auto& [offset, count] : passed) {
        EXPECT_EQ(offset, total);
        total += count;
    }
    EXPECT_EQ(total, nbytes);
    Problems problems;
    ASSERT_TRUE(reading.report(problems).ok());
    EXPECT_THAT(problems.kept(), ElementsAre(differs_from(3 * block), HasSubstr("tied: differs from the source")));
}

TEST(ViewReading, ConvertedElementsMayLieAcrossTheEndsOfBlocks) {
    // From the third byte on, so that an element begins in one block and ends in the next.
    constexpr std::uint64_t numel = block / 2;
    const test::MemoryFile source(std::string(numel * 4, '\0'));
    std::string bytes(2 + numel * 2, '\0');
    const test::MemoryFile right(bytes);
    bytes[2 + (numel - 1) * 2 + 1] = '\x3f';
    const test::MemoryFile wrong(bytes);
    for (const auto* view : {&right, &wrong}) {
        ViewReading reading(no_torch, {});
        ExpectedElements expected = bytes_of(source, 0, numel);
        expected.source_dtype = model::DType::float32;
        expected.view_dtype = model::DType::bfloat16;
        expected.source = [&](std::uint64_t from, std::uint64_t count, PieceList& out) {
            out.add_source(&source, from * 4, count * 4);
        };
        ASSERT_TRUE(reading.expect(expected, at(*view, 2, numel * 2)).ok());
        std::vector<ViewReading::ViewFile> files;
        ASSERT_TRUE(reading.read(files).ok());
        EXPECT_EQ(times_read(*view, 2, 2 + numel * 2), once);
        Problems problems;
        ASSERT_TRUE(reading.report(problems).ok());
        EXPECT_EQ(problems.count(), view == &wrong ? 1U : 0U);
    }
}

/// An archive of one storage, and what libtorch reads of it: records in chunks of `chunk_nbytes`.
class OfAnArchive : public testing::Test {
 protected:
    static constexpr std::uint64_t numel = 5 * block + 1000;
    /// Directories are read besides: what lies near the ends is.
    static constexpr std::uint64_t margin = std::uint64_t{64} << 10;

    void SetUp() override { shown_as(std::string(numel, 'a')); }

    void shown_as(std::string bytes) {
        shown_ = std::make_shared<test::MemoryFile>(std::move(bytes));
        pt::ArchiveBuilder builder;
        const std::size_t storage = builder.add_storage(model::DType::uint8, numel, "cpu", at(*shown_, 0, numel));
        file_ = builder.lay_out(builder.tensor(storage, 0, {numel}), "view.pt", shown_).value();
        for (const pt::Record& record : pt::read_directory(*file_).value()) {
            begin_ = record.name.ends_with("/data/0") ? record.data_offset : begin_;
        }
        shown_->forget_calls();
    }

    /// Until `end` of the storage, where libtorch refuses the file.
    static TorchReader in_chunks(std::uint64_t chunk_nbytes, std::uint64_t end = numel) {
        return [chunk_nbytes, end](const File& file, const RecordVisitor& visit) -> Result<void> {
            CKPTFS_ASSIGN(const auto records, pt::read_directory(file));
            for (const pt::Record& record : records) {
                std::uint64_t done = 0;
                do {
                    if (done >= end) {
                        return Error(ErrorCode::damaged, "refused");
                    }
                    std::vector<std::byte> bytes(std::min(chunk_nbytes, record.nbytes - done));
                    CKPTFS_TRY(file.read(record.data_offset + done, bytes));
                    CKPTFS_TRY(visit(record.name.substr(record.name.find('/') + 1), done, record.nbytes, bytes));
                    done += bytes.size();
                } while (done < record.nbytes);
            }
            return {};
        };
    }

    /// Compares all of the storage with the source's; what is said.
    std::vector<std::string> read(const TorchReader& torch) {
        ViewReading reading(torch, {});
        EXPECT_TRUE(reading.expect(bytes_of(source_, 0, numel), at(*file_, begin_, numel)).ok());
        std::vector<ViewReading::ViewFile> files(1);
        files.front().file = file_;
        files.front().by_torch = true;
        EXPECT_TRUE(reading.read(files).ok());
        EXPECT_EQ(reading.compared_nbytes(), numel);
        Problems problems;
        if (!files.front().records) {
            problems.add(files.front().records.error().message());
        }
        EXPECT_TRUE(reading.report(problems).ok());
        EXPECT_EQ(times_read(source_, 0, numel), once);
        return problems.kept();
    }

    const test::MemoryFile source_{std::string(numel, 'a')};
    std::shared_ptr<test::MemoryFile> shown_;
    std::shared_ptr<const File> file_;
    std::uint64_t begin_ = 0;
};

TEST_F(OfAnArchive, WhatLibtorchReadsIsComparedAndNotReadAgain) {
    for (const std::uint64_t chunk : {block, std::uint64_t{300'001}, SecondReader::most_kept_nbytes}) {
        source_.forget_calls();
        shown_->forget_calls();
        EXPECT_THAT(read(in_chunks(chunk)), IsEmpty()) << chunk;
        EXPECT_EQ(times_read(*shown_, margin, numel - margin), once) << chunk;
    }
}

TEST_F(OfAnArchive, ARecordThatLibtorchTakesAtOnceIsReadBesideIt) {
    EXPECT_THAT(read(in_chunks(numel)), IsEmpty());
    EXPECT_EQ(times_read(*shown_, margin, numel - margin), (std::pair<int, int>{2, 2}));
}

TEST_F(OfAnArchive, WhatLibtorchDoesNotReadIsReadWithoutIt) {
    std::string bytes(numel, 'a');
    bytes[4 * block + 5] = 'b';
    shown_as(bytes);
    EXPECT_THAT(
        read(in_chunks(block, 2 * block)),
        ElementsAre("refused", HasSubstr("it: differs from the source from element " + grouped(4 * block + 5))));
    EXPECT_EQ(times_read(*shown_, margin, numel - margin), once);
}

}  // namespace
}  // namespace view_reading
}  // namespace ckptfs::verify
