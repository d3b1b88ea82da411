// VirtualFile: windows across every seam equal the whole; reads of the sources are few, and their errors come through.
#include <gmock/gmock.h>

#include <functional>
#include <random>
#include <thread>

#include "ckptfs/extent.h"
#include "support/fake_files.h"
#include "util/memory_budget.h"

namespace ckptfs {
namespace {

using test::FaultyFile;
using test::MemoryFile;
using test::read_all;
using test::read_range;
using test::ReadCall;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t kib = 1024;

std::shared_ptr<const VirtualFile> made(PieceList list) {
    auto file = VirtualFile::create("virtual", std::move(list), nullptr);
    EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message());
    return file.ok() ? *file : nullptr;
}

TEST(VirtualFile, AnEmptyListIsAnEmptyFile) {
    const auto file = made({});
    EXPECT_EQ(file->size(), 0U);
    EXPECT_EQ(*read_all(*file), "");
    EXPECT_FALSE(read_range(*file, 0, 1).ok());
}

TEST(VirtualFile, ReadsAllKindsInOrder) {
    const MemoryFile source("0123456789");
    PieceList list;
    list.add_literal("<");
    list.add_source(&source, 7, 3);
    list.add_zeros(2);
    list.add_source(&source, 0, 2);
    list.add_literal(">");
    const auto file = made(std::move(list));
    EXPECT_EQ(*read_all(*file), std::string("<789\0\0"
                                            "01>",
                                            9));
    EXPECT_EQ(*read_range(*file, 3, 4), std::string("9\0\0"
                                                    "0",
                                                    4));
}

TEST(VirtualFile, NamesTheFilesThatItShowsOnceEach) {
    const MemoryFile one("0123456789", "one");
    const MemoryFile other("0123456789", "other");
    PieceList inner;
    inner.add_source(&other, 0, 1);
    inner.add_source(&one, 0, 1);
    const auto virtual_one = made(std::move(inner));
    PieceList list;
    list.add_literal("<");
    list.add_source(&one, 7, 3);
    list.add_zeros(2);
    list.add_source(virtual_one.get(), 0, 2);
    list.add_source(&one, 0, 2);
    EXPECT_THAT(made(std::move(list))->source_names(), ElementsAre("one", "other"));
    EXPECT_THAT(made({})->source_names(), testing::IsEmpty());
}

TEST(VirtualFile, HandsOverWhatItReads) {
    const MemoryFile one(test::random_bytes(3000 * kib, 1));
    const MemoryFile other(test::random_bytes(3000 * kib, 2));
    std::mt19937 random(3);
    const auto below = [&](std::uint64_t end) { return random() % end; };
    int handed_over = 0;
    for (int round = 0; round < 200; ++round) {
        PieceList list;
        while (list.nbytes() < 2000 * kib) {
            const std::uint64_t length = 1 + below(round % 2 == 0 ? 50 * kib : 1000 * kib);
            switch (below(8)) {
                case 0:
                    list.add_zeros(1 + below(300 * kib));
                    break;
                case 1:
                    list.add_literal(test::random_bytes(1 + below(kib), random()));
                    break;
                default:
                    list.add_source(below(2) == 0 ? &one : &other, below(2000 * kib), length);
            }
        }
        const auto file = made(std::move(list));
        for (int i = 0; i < 10; ++i) {
            const std::uint64_t offset = below(file->size());
            const std::uint64_t nbytes = 1 + below(file->size() - offset);
            test::CollectingTarget target;
            FilesRead read;
            const auto done = file->hand_over_unchecked(offset, nbytes, target, read);
            ASSERT_TRUE(done.ok());
            if (*done) {
                ++handed_over;
                ASSERT_EQ(target.bytes, *read_range(*file, offset, nbytes)) << offset << ' ' << nbytes;
            } else {
                ASSERT_EQ(target.bytes, "") << "it is known before anything is taken";
            }
        }
    }
    EXPECT_GT(handed_over, 200);
    EXPECT_LT(handed_over, 1800) << "small pieces are gathered";
}

TEST(VirtualFile, WhatCannotBeHandedOverIsSaid) {
    const MemoryFile source(std::string(200 * kib, 'x'));
    PieceList list;
    list.add_source(&source, 0, 200 * kib);
    const auto file = made(std::move(list));
    test::CollectingTarget target;
    FilesRead read;
    EXPECT_EQ(file->hand_over_unchecked(1, 200 * kib, target, read).error().code(), ErrorCode::invalid_argument);
    target.takes_memory = false;
    EXPECT_FALSE(*file->hand_over_unchecked(0, 200 * kib, target, read));
    PieceList zeros;
    zeros.add_zeros(200 * kib);
    EXPECT_FALSE(*made(std::move(zeros))->hand_over_unchecked(0, 200 * kib, target, read));
    const FaultyFile other(std::make_shared<MemoryFile>("abc"), 0, 1, Error(ErrorCode::io, "broken"));
    EXPECT_FALSE(*other.hand_over_unchecked(0, 3, target, read)) << "a file of no system";
}

TEST(VirtualFile, ReadsPastTheEndAreTheCallersMistake) {
    PieceList list;
    list.add_literal("abc");
    const auto file = made(std::move(list));
    EXPECT_EQ(read_range(*file, 0, 4).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(read_range(*file, 4, 0).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(read_range(*file, UINT64_MAX, 2).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(*read_range(*file, 3, 0), "");
}

TEST(VirtualFile, PiecesOutsideTheirFileAreRefused) {
    const MemoryFile source("0123456789", "the source");
    for (const ReadCall bad : {ReadCall{8, 3}, ReadCall{11, 1}, ReadCall{UINT64_MAX, 2}}) {
        PieceList list;
        list.add_source(&source, bad.offset, bad.nbytes);
        const auto file = VirtualFile::create("virtual", std::move(list), nullptr);
        ASSERT_FALSE(file.ok());
        EXPECT_EQ(file.error().code(), ErrorCode::internal);
        EXPECT_THAT(file.error().message(), HasSubstr("the source"));
    }
    PieceList list;
    list.add_source(nullptr, 0, 1);
    EXPECT_EQ(VirtualFile::create("virtual", std::move(list), nullptr).error().code(), ErrorCode::internal);
}

TEST(VirtualFile, ABigPieceIsOneReadIntoTheCallersBuffer) {
    const MemoryFile source(test::random_bytes(300 * kib, 1));
    PieceList list;
    list.add_literal("head");
    list.add_source(&source, 10, 290 * kib);
    const auto file = made(std::move(list));
    ASSERT_TRUE(read_range(*file, 100, 200 * kib).ok());
    EXPECT_THAT(source.calls(), ElementsAre(ReadCall{106, 200 * kib}));
}

TEST(VirtualFile, TinyPiecesThatLieCloseShareReads) {
    // A re-cut of small parameters: 16 bytes of every 4096, with headers between them.
    constexpr std::uint64_t count = 512;
    const MemoryFile source(test::random_bytes(count * 4 * kib, 2));
    PieceList list;
    std::string whole;
    for (std::uint64_t i = 0; i < count; ++i) {
        list.add_source(&source, i * 4 * kib, 16);
        list.add_literal("header");
        whole += source.bytes().substr(i * 4 * kib, 16) + "header";
    }
    const auto file = made(std::move(list));
    EXPECT_EQ(*read_all(*file), whole);
    std::uint64_t nbytes = 0;
    for (const ReadCall& call : source.calls()) {
        EXPECT_LE(call.nbytes, 128 * kib);
        nbytes += call.nbytes;
    }
    EXPECT_EQ(source.calls().size(), count * 4 / 128);
    EXPECT_LE(nbytes, source.size());
}

TEST(VirtualFile, FarBackwardAndForeignPiecesAreReadAlone) {
    const MemoryFile one(test::random_bytes(100 * kib, 3));
    const MemoryFile other(test::random_bytes(100 * kib, 4));
    PieceList list;
    list.add_source(&one, 0, 8);
    list.add_source(&one, 8 + 16 * kib + 1, 8);  // one byte too far
    list.add_source(&one, 64, 8);                // backwards
    list.add_source(&other, 72, 8);              // another file
    const auto file = made(std::move(list));
    ASSERT_TRUE(read_all(*file).ok());
    EXPECT_THAT(one.calls(), ElementsAre(ReadCall{0, 8}, ReadCall{8 + 16 * kib + 1, 8}, ReadCall{64, 8}));
    EXPECT_THAT(other.calls(), ElementsAre(ReadCall{72, 8}));
}

TEST(VirtualFile, ASourcesErrorComesThroughAndReadingRecovers) {
    const auto inner = std::make_shared<MemoryFile>(test::random_bytes(64 * kib, 5));
    FaultyFile source(inner, 5000, 10, Error(ErrorCode::stale, "changed"));
    PieceList list;
    for (std::uint64_t offset = 0; offset < 64 * kib; offset += 2 * kib) {
        list.add_source(&source, offset, 1 * kib);
    }
    const auto file = made(std::move(list));
    const auto failed = read_all(*file);
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code(), ErrorCode::stale);
    EXPECT_EQ(failed.error().message(), "changed");
    EXPECT_TRUE(read_range(*file, 8 * kib, 8 * kib).ok()) << "a window that does not touch the fault";
    source.repair();
    EXPECT_TRUE(read_all(*file).ok());
}

/// Counts what it is asked whether it is still the same.
class CheckedFile final : public File {
 public:
    explicit CheckedFile(std::string bytes) : inner_(std::move(bytes)) {}

    [[nodiscard]] const std::string& name() const override { return inner_.name(); }
    [[nodiscard]] std::uint64_t size() const override { return inner_.size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        FilesRead read;
        CKPTFS_TRY(read_unchecked(offset, out, read));
        return read.check();
    }
    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const override {
        read.add(this);
        return inner_.read(offset, out);
    }
    Result<void> check() const override {
        ++checks;
        reads_when_checked = inner_.calls().size();
        return is_stale ? Result<void>(Error(ErrorCode::stale, "it has changed")) : Result<void>();
    }
    [[nodiscard]] std::size_t reads() const { return inner_.calls().size(); }

    mutable int checks = 0;
    mutable std::size_t reads_when_checked = 0;
    bool is_stale = false;

 private:
    MemoryFile inner_;
};

TEST(VirtualFile, EachSourceFileIsCheckedOnceAReadWhenAllIsRead) {
    constexpr std::uint64_t rounds = 200;
    std::vector<std::unique_ptr<CheckedFile>> sources;
    for (int i = 0; i < 3; ++i) {
        sources.push_back(std::make_unique<CheckedFile>(test::random_bytes(64 * kib * rounds, sources.size())));
    }
    PieceList list;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        for (const auto& source : sources) {
            list.add_source(source.get(), 64 * kib * round, 100);
        }
    }
    const auto file = made(std::move(list));
    ASSERT_TRUE(read_all(*file).ok());
    for (const auto& source : sources) {
        EXPECT_EQ(source->reads(), rounds);
        EXPECT_EQ(source->checks, 1);
        EXPECT_EQ(source->reads_when_checked, rounds);
    }
    ASSERT_TRUE(read_range(*file, 100, 50).ok());
    EXPECT_EQ(sources[1]->checks, 2);
    EXPECT_EQ(sources[0]->checks, 1) << "nothing was read of it";

    for (const auto& source : sources) {
        source->is_stale = true;
        EXPECT_EQ(read_all(*file).error().code(), ErrorCode::stale);
        EXPECT_EQ(file->check().error().code(), ErrorCode::stale);
        source->is_stale = false;
        EXPECT_TRUE(read_all(*file).ok());
        EXPECT_TRUE(file->check().ok());
    }
    std::vector<const File*> origins;
    file->add_origins(origins);
    EXPECT_THAT(origins, testing::UnorderedElementsAre(sources[0].get(), sources[1].get(), sources[2].get()));
}

TEST(VirtualFile, RandomWindowsEqualTheWhole) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    for (int round = 0; round < 60; ++round) {
        const MemoryFile one(test::random_bytes(1 + below(200 * kib), random()));
        const MemoryFile other(test::random_bytes(1 + below(5000), random()));
        PieceList list;
        std::string whole;
        const std::uint64_t count = below(200);
        std::uint64_t next = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            const MemoryFile& source = below(8) == 0 ? other : one;
            const std::uint64_t longest = below(4) == 0 ? 40 * kib : 100;
            switch (below(4)) {
                case 0:
                    list.add_zeros(next = below(longest));
                    whole.append(next, '\0');
                    break;
                case 1:
                    list.add_literal(test::random_bytes(below(50), i));
                    whole += test::random_bytes(list.nbytes() - whole.size(), i);
                    break;
                default: {
                    // Mostly ascending with small gaps, as re-cut shards are.
                    const std::uint64_t offset =
                        below(3) == 0 ? below(source.size()) : (next += below(300)) % source.size();
                    const std::uint64_t length = below(std::min(source.size() - offset, longest) + 1);
                    list.add_source(&source, offset, length);
                    whole += source.bytes().substr(offset, length);
                }
            }
        }
        const auto file = made(std::move(list));
        ASSERT_EQ(file->size(), whole.size());
        ASSERT_EQ(*read_all(*file), whole);
        std::uint64_t seam = 0;
        for (const Piece piece : file->pieces()) {
            seam += piece.length;
            const std::uint64_t start = seam - std::min<std::uint64_t>(seam, 1 + below(200));
            const std::uint64_t nbytes = std::min<std::uint64_t>(file->size() - start, below(500));
            ASSERT_EQ(*read_range(*file, start, nbytes), whole.substr(start, nbytes)) << start << " + " << nbytes;
        }
        for (int window = 0; window < 50 && !whole.empty(); ++window) {
            const std::uint64_t start = below(whole.size());
            const std::uint64_t nbytes = below(whole.size() - start + 1);
            ASSERT_EQ(*read_range(*file, start, nbytes), whole.substr(start, nbytes)) << start << " + " << nbytes;
        }
    }
}

TEST(VirtualFile, ManyThreadsReadAtOnce) {
    const MemoryFile source(test::random_bytes(256 * kib, 6));
    PieceList list;
    std::string whole;
    for (std::uint64_t offset = 0; offset < 256 * kib; offset += 2 * kib) {
        list.add_source(&source, offset, 1 * kib);
        list.add_zeros(3);
        whole += source.bytes().substr(offset, 1 * kib) + std::string(3, '\0');
    }
    const auto file = made(std::move(list));
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (std::uint64_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (std::uint64_t i = 0; i < 100; ++i) {
                const std::uint64_t start = (t * 7919 + i * 104729) % whole.size();
                const std::uint64_t nbytes = std::min<std::uint64_t>(20 * kib, whole.size() - start);
                const auto got = read_range(*file, start, nbytes);
                wrong += got.ok() && *got == whole.substr(start, nbytes) ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, 0);
}

TEST(VirtualFile, RunsAreThoseOfThePieces) {
    class WithHole final : public test::MemoryFile {
     public:
        using MemoryFile::MemoryFile;
        [[nodiscard]] Result<FileRun> run_at(std::uint64_t offset) const override {
            return offset < 20 ? FileRun{20 - offset, false} : FileRun{size() - offset, true};
        }
    };
    const WithHole source(std::string(100, 'x'));
    PieceList pieces;
    pieces.add_literal("abc");
    pieces.add_zeros(5);
    pieces.add_source(&source, 10, 30);
    const auto file = made(std::move(pieces));
    EXPECT_EQ(*file->run_at(1), (FileRun{2, false}));
    EXPECT_EQ(*file->run_at(3), (FileRun{5, true}));
    EXPECT_EQ(*file->run_at(7), (FileRun{1, true}));
    EXPECT_EQ(*file->run_at(9), (FileRun{9, false}));
    EXPECT_EQ(*file->run_at(18), (FileRun{20, true}));
    EXPECT_EQ(file->run_at(38).error().code(), ErrorCode::invalid_argument);
    EXPECT_TRUE(source.calls().empty());
}

TEST(VirtualFile, SeparateReadsAreWhereReadingBeginsAnew) {
    const MemoryFile one(std::string(600 * kib, 'a'), "one");
    const MemoryFile other(std::string(600 * kib, 'b'), "other");
    PieceList list;
    list.add_literal("header");
    list.add_source(&one, 0, 100);
    list.add_zeros(28);
    list.add_source(&one, 120, 100);          // near the one before
    list.add_source(&other, 0, 200 * kib);    // of another file
    list.add_source(&other, 400 * kib, 100);  // far away
    const auto file = made(std::move(list));
    EXPECT_THAT(file->separate_reads(0, file->size()), ElementsAre(234, 234 + 200 * kib));
    EXPECT_THAT(file->separate_reads(234, 200 * kib), ElementsAre());
    EXPECT_THAT(file->separate_reads(200, 300 * kib), ElementsAre(234, 234 + 200 * kib));
    EXPECT_THAT(file->separate_reads(0, 50), ElementsAre());
    EXPECT_THAT(file->separate_reads(file->size(), 50), ElementsAre());
    EXPECT_THAT(file->separate_reads(234 + 200 * kib - 1, 1000 * kib), ElementsAre(234 + 200 * kib));
}

TEST(VirtualFile, ReadingSeparatelyAsksForTheSame) {
    std::mt19937 random(11);
    const MemoryFile one(std::string(900 * kib, 'a'), "one");
    const MemoryFile other(std::string(900 * kib, 'b'), "other");
    for (int round = 0; round < 50; ++round) {
        PieceList list;
        for (int i = 0; i < 40; ++i) {
            const std::uint64_t nbytes = random() % (random() % 4 == 0 ? 200 * kib : 2 * kib) + 1;
            switch (random() % 4) {
                case 0:
                    list.add_zeros(nbytes);
                    break;
                case 1:
                    list.add_literal("literal");
                    break;
                default:
                    list.add_source(random() % 3 == 0 ? &other : &one, random() % (600 * kib), nbytes);
                    break;
            }
        }
        const auto file = made(std::move(list));
        const std::uint64_t begin = random() % file->size();
        const std::uint64_t nbytes = random() % (file->size() - begin) + 1;
        const auto asked = [&](const std::function<void()>& body) {
            one.forget_calls();
            other.forget_calls();
            body();
            return std::pair(one.calls(), other.calls());
        };
        const auto at_once = asked([&] { EXPECT_TRUE(read_range(*file, begin, nbytes).ok()); });
        const auto separately = asked([&] {
            auto cuts = file->separate_reads(begin, nbytes);
            cuts.push_back(begin + nbytes);
            for (std::uint64_t at = begin; const std::uint64_t cut : cuts) {
                EXPECT_TRUE(read_range(*file, at, cut - at).ok());
                at = cut;
            }
        });
        EXPECT_EQ(at_once, separately);
    }
}

TEST(VirtualFile, IsAWholeFileWhereItsOnlyPieceIs) {
    class OfTheSystem final : public MemoryFile {
     public:
        using MemoryFile::MemoryFile;
        [[nodiscard]] OpenDescriptor whole_file() const override { return {.number = 5}; }
    };
    const OfTheSystem source("0123456789");
    const auto descriptor = [&](std::uint64_t offset, std::uint64_t nbytes, std::uint64_t zeros) {
        PieceList list;
        list.add_source(&source, offset, nbytes);
        list.add_zeros(zeros);
        return made(std::move(list))->whole_file().number;
    };
    EXPECT_EQ(descriptor(0, 10, 0), 5);
    EXPECT_EQ(descriptor(0, 9, 0), -1);
    EXPECT_EQ(descriptor(1, 9, 0), -1);
    EXPECT_EQ(descriptor(0, 10, 1), -1);
    EXPECT_EQ(made({})->whole_file().number, -1);
}

TEST(VirtualFile, MemoryCountsPiecesAndLiterals) {
    PieceList small;
    small.add_literal("x");
    PieceList large;
    for (int i = 0; i < 1000; ++i) {
        large.add_literal("xyz");
        large.add_zeros(1);
    }
    const std::uint64_t difference = made(std::move(large))->memory_nbytes() - made(std::move(small))->memory_nbytes();
    constexpr std::uint64_t of_a_piece = 4 * sizeof(std::uint64_t);
    EXPECT_GE(difference, 3000 + 1999 * of_a_piece);
    EXPECT_LE(difference, 3 * (3000 + 2000 * of_a_piece));
}

TEST(VirtualFile, WhatItIsMadeOfIsCounted) {
    MemoryBudget& budget = MemoryBudget::of_process();
    const std::uint64_t before = budget.held();
    PieceList pieces;
    pieces.add_literal(std::string(100'000, 'x'));
    {
        const auto file = VirtualFile::create("some", pieces, nullptr);
        ASSERT_TRUE(file.ok());
        EXPECT_EQ(budget.held(), before + (*file)->memory_nbytes());
        EXPECT_GT((*file)->memory_nbytes(), 100'000U);
    }
    EXPECT_EQ(budget.held(), before);
    MemoryBudget::limit_process(before + 50'000);
    const auto refused = VirtualFile::create("some", pieces, nullptr);
    MemoryBudget::limit_process(0);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::io);
    EXPECT_EQ(refused.error().system_errno(), ENOMEM);
    EXPECT_NE(refused.error().message().find("--memory"), std::string::npos) << refused.error().message();
    EXPECT_EQ(budget.held(), before);
}

}  // namespace
}  // namespace ckptfs
