// How often verify reads each byte of a source and of a view: counted, byte by byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/open.h"
#include "pt/zip.h"
#include "support/records.h"
#include "support/tally_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "verify/source_pass.h"
#include "verify/verify_view.h"
#include "view/world_size_kind.h"
#include "zero/passing_weights.h"
#include "zero/reader.h"

namespace ckptfs::verify {
namespace read_once {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> checkpoints() {
    std::vector<fs::path> result;
    for (const auto& entry : fs::recursive_directory_iterator(test_data() / "zero")) {
        const fs::path directory = entry.path().parent_path();
        const std::string name = directory.filename().string();
        if (entry.path().filename() == "latest" && name != "universal" && name.find("_at_ws") == std::string::npos) {
            result.push_back(directory);
        }
    }
    EXPECT_GE(result.size(), 20U);
    return result;
}

/// A checkpoint whose bytes are counted from now on.
class Counted {
 public:
    explicit Counted(const fs::path& directory)
        : source_(std::make_shared<test::TallySource>(*open_directory(directory.string()))),
          tag_(test::file_bytes((directory / "latest").string())) {
        const auto checkpoint = zero::read_checkpoint(*source_, tag_);
        EXPECT_TRUE(checkpoint.ok()) << directory;
        checkpoint_ = *checkpoint;
        for (const zero::Family& family : checkpoint_->families) {
            if (family.model_states_of_ranks().empty()) {
                add(family.model_states_name, family.model_states->file());
            }
            for (const zero::RankFile* file : family.rank_files()) {
                add(file->name, file->file);
            }
        }
        pass_ = SourcePass::over(*checkpoint_).value();
        source_->forget();
    }

    [[nodiscard]] const zero::Written& checkpoint() const { return *checkpoint_; }
    [[nodiscard]] const std::shared_ptr<const zero::Written>& shared() const { return checkpoint_; }
    [[nodiscard]] SourcePass& pass() const { return *pass_; }
    [[nodiscard]] PassedBytes passed() const {
        return [this](const File& file, std::uint64_t offset, std::span<const std::byte> bytes) {
            pass_->passed(file, offset, bytes);
        };
    }
    void forget() const { source_->forget(); }

    struct Place {
        const File* file = nullptr;
        std::uint64_t offset = 0;
        std::uint32_t direct = 0;     ///< how often it was read by itself
        std::uint32_t unchecked = 0;  ///< through virtual files
    };
    /// Every byte of the storages; not numbers, which reading a checkpoint looks at.
    template <class Visit>
    void for_each_byte(Visit visit) const {
        constexpr std::uint64_t least_nbytes = 65;
        for (const auto& [name, file] : files_) {
            const auto tallies = source_->tallies(tag_ + "/" + name);
            for (const pt::Record& record : records_.at(name)) {
                if (record.name.find("/data/") == std::string::npos || record.nbytes < least_nbytes) {
                    continue;
                }
                for (std::uint64_t at = record.data_offset; at < record.data_offset + record.nbytes; ++at) {
                    visit(Place{file.get(), at, tallies->direct.at(at), tallies->unchecked.at(at)});
                }
            }
        }
    }
    [[nodiscard]] const std::map<std::string, std::shared_ptr<const File>>& files() const { return files_; }

 private:
    void add(const std::string& name, const std::shared_ptr<const File>& file) {
        files_.emplace(name, file);
        records_.emplace(name, pt::read_directory(*file).value());
    }

    std::shared_ptr<test::TallySource> source_;
    std::string tag_;
    std::shared_ptr<const zero::Written> checkpoint_;
    std::unique_ptr<SourcePass> pass_;
    std::map<std::string, std::shared_ptr<const File>> files_;
    std::map<std::string, std::vector<pt::Record>> records_;
};

/// Finishes what is verified, without a problem.
void finish(const Counted& counted) {
    Problems problems;
    const auto totals = counted.pass().finish(problems);
    ASSERT_TRUE(totals.ok()) << totals.error().message();
    EXPECT_THAT(problems.kept(), testing::IsEmpty());
    const auto weights = counted.pass().compare_weights();
    ASSERT_TRUE(weights.ok()) << weights.error().message();
    EXPECT_EQ(weights->different_numel(), 0U);
}

TEST(ReadOnce, OfASourceEveryByteIsReadOnce) {
    std::uint64_t compared = 0;
    for (const fs::path& directory : checkpoints()) {
        const Counted counted(directory);
        finish(counted);
        std::uint64_t bytes = 0;
        std::uint64_t not_once = 0;
        counted.for_each_byte([&](const Counted::Place& place) {
            ++bytes;
            not_once += place.direct == 1 && place.unchecked == 0 ? 0U : 1U;
        });
        EXPECT_EQ(not_once, 0U) << directory << " of " << bytes;
        compared += counted.pass().compare_weights()->compared_numel();
    }
    EXPECT_GT(compared, 5'000U);
}

/// How often the files of a view show each byte of a file.
using Shown = std::map<const File*, std::vector<std::uint32_t>>;

/// But for files that it shows as they are, which go to `as_they_are`.
Shown shown_by(const View& view, std::set<const File*>& as_they_are) {
    Shown shown;
    for (std::size_t index = 0; index < view.file_count(); ++index) {
        const auto file = view.open(index).value();
        const auto* of_pieces = dynamic_cast<const VirtualFile*>(file.get());
        if (of_pieces == nullptr) {
            as_they_are.insert(file.get());
            continue;
        }
        for (const Piece piece : of_pieces->pieces()) {
            if (piece.kind == Piece::Kind::source) {
                std::vector<std::uint32_t>& times = shown[piece.file];
                times.resize(piece.file->size());
                for (std::uint64_t at = piece.offset; at < piece.offset + piece.length; ++at) {
                    ++times[at];
                }
            }
        }
    }
    return shown;
}

TEST(ReadOnce, OfASourceThatIsComparedWithAViewToo) {
    std::uint64_t single = 0;
    std::uint64_t repeated = 0;
    bool fewer = false;
    for (const fs::path& directory : checkpoints()) {
        const std::uint64_t world_size = fewer ? 1 : 5;
        fewer = !fewer;
        const Counted counted(directory);
        const auto made = view::world_size_view(counted.shared(), world_size * counted.checkpoint().degree(), {});
        ASSERT_TRUE(made.ok()) << directory << ": " << made.error().message();
        std::set<const File*> as_they_are;
        auto shown = shown_by(**made, as_they_are);
        counted.forget();
        Problems problems;
        const auto totals =
            verify_view(counted.checkpoint(), *made, world_size, test::read_records, problems, counted.passed());
        ASSERT_TRUE(totals.ok()) << totals.error().message();
        EXPECT_THAT(problems.kept(), testing::IsEmpty()) << directory << " at " << world_size;
        finish(counted);
        std::uint64_t not_once = 0;
        counted.for_each_byte([&](const Counted::Place& place) {
            if (as_they_are.contains(place.file)) {
                return;  // reads of the view are of the same file
            }
            const std::vector<std::uint32_t>& times = shown[place.file];
            // What a view shows more than once, buffers of stage 3 at more ranks, is compared as often.
            const std::uint32_t most = times.empty() ? 1U : std::max(1U, times[place.offset]);
            not_once += place.direct >= 1 && place.direct <= most ? 0U : 1U;
            repeated += most > 1 ? 1U : 0U;
            single += most == 1 ? 1U : 0U;
        });
        EXPECT_EQ(not_once, 0U) << directory << " at " << world_size;
    }
    EXPECT_GT(single, 20 * repeated);
}

/// Whatever passes, in whatever pieces and by whichever thread, the sums are those of the records.
TEST(ReadOnce, WhatHasPassedIsNotReadAgain) {
    for (const char* name : {"stage1_bf16_ws3", "stage2_fp32_ws2", "stage3_groups_ws3"}) {
        const Counted counted(test_data() / "zero" / name);
        std::vector<std::jthread> threads;
        for (unsigned thread = 0; thread < 4; ++thread) {
            threads.emplace_back([&counted, thread] {
                std::mt19937 random(thread);
                for (const auto& [file_name, file] : counted.files()) {
                    std::vector<std::byte> bytes(file->size());
                    FilesRead read;
                    ASSERT_TRUE(file->read_unchecked(0, bytes, read).ok());
                    for (int piece = 0; piece < 200; ++piece) {
                        const std::uint64_t from = random() % bytes.size();
                        const std::uint64_t to = std::min<std::uint64_t>(bytes.size(), from + 1 + random() % 3000);
                        counted.pass().passed(*file, from, std::span(bytes).subspan(from, to - from));
                    }
                    for (std::uint64_t from = 0; from < bytes.size(); from += 1000) {
                        const std::uint64_t to = std::min<std::uint64_t>(bytes.size(), from + 1000);
                        counted.pass().passed(*file, from, std::span(bytes).subspan(from, to - from));
                    }
                }
            });
        }
        threads.clear();
        counted.forget();
        Problems problems;
        ASSERT_TRUE(counted.pass().finish(problems).ok());
        EXPECT_THAT(problems.kept(), testing::IsEmpty());
        counted.for_each_byte([](const Counted::Place& place) { ASSERT_EQ(place.direct, 0U); });
        const auto weights = counted.pass().compare_weights();
        ASSERT_TRUE(weights.ok());
        EXPECT_EQ(weights->different_numel(), 0U);
        EXPECT_EQ(weights->compared_numel(), zero::PassingWeights(counted.checkpoint()).compare()->compared_numel());
    }
}

}  // namespace
}  // namespace read_once
}  // namespace ckptfs::verify
