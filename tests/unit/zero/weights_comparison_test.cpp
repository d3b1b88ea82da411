// What is read to compare weights with masters, and what is found.
#include "zero/weights_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "zero/passing_weights.h"
#include "zero/reader.h"
#include "zero/weights_finding.h"

namespace ckptfs::zero {
namespace weights_comparison {
namespace {

constexpr std::uint64_t largest_run_nbytes = sampled_run_numel * (4 + 2);

/// Zeros, but for single bytes; counts what is asked of it.
class SparseFile final : public File {
 public:
    explicit SparseFile(std::uint64_t size) : size_(size) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return size_; }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset > size_ || out.size() > size_ - offset) {
            return Error(ErrorCode::invalid_argument, "past the end");
        }
        ++reads;
        nbytes += out.size();
        std::memset(out.data(), 0, out.size());
        for (auto mark = marks.lower_bound(offset); mark != marks.end() && mark->first < offset + out.size(); ++mark) {
            out[mark->first - offset] = mark->second;
        }
        return {};
    }

    std::map<std::uint64_t, std::byte> marks;
    mutable std::uint64_t reads = 0;
    mutable std::uint64_t nbytes = 0;

 private:
    std::uint64_t size_;
    std::string name_ = "sparse";
};

std::shared_ptr<const pt::Archive> any_model_states() {
    const auto source =
        io::DirectorySource::open_directory((test_data() / "zero" / "stage1_bf16_ws3" / "global_step2").string());
    return *pt::Archive::open(*(*source)->open("mp_rank_00_model_states.pt"));
}

/// `groups` groups of one bf16 parameter each, cut over `ranks` ranks, all zero.
class Synthetic {
 public:
    Synthetic(std::uint64_t ranks, std::uint64_t groups, std::uint64_t partition_numel)
        : partition_numel_(partition_numel),
          masters_(ranks * groups * partition_numel * 4),
          weights_(ranks * groups * partition_numel * 2) {
        checkpoint_.format = Format::zero12;
        checkpoint_.stage = 2;
        checkpoint_.dp_world_size = ranks;
        Family& family = checkpoint_.families.emplace_back();
        family.rank = "00";
        model::Rank& content = checkpoint_.content.ranks.emplace_back();
        family.model_states = any_model_states();
        family.optimizer.resize(ranks);
        const std::uint64_t numel = ranks * partition_numel;
        for (std::uint64_t g = 0; g < groups; ++g) {
            GroupForm& form = family.groups.emplace_back();
            for (std::uint64_t rank = 0; rank < ranks; ++rank) {
                form.master.shards.push_back({&masters_, (g * numel + rank * partition_numel) * 4, partition_numel});
            }
            model::Parameter& parameter = content.groups.emplace_back().parameters.emplace_back();
            parameter.name = "weight" + std::to_string(g);
            parameter.shape = {numel};
            parameter.numel = numel;
            parameter.master = model::Elements(model::DType::float32, numel,
                                               model::ElementMap{form.master.shards, partition_numel, 0, 0});
            parameter.weight =
                model::Elements(model::DType::bfloat16, numel, model::Contiguous{&weights_, g * numel * 2});
        }
    }

    /// Of group 0.
    void spoil_weight(std::uint64_t element) { weights_.marks[element * 2 + 1] = std::byte{0x3f}; }
    void spoil_masters(std::uint64_t rank, std::uint64_t every = 1) {
        for (std::uint64_t element = 0; element < partition_numel_; element += every) {
            masters_.marks[(rank * partition_numel_ + element) * 4 + 3] = std::byte{0x3f};
        }
    }

    [[nodiscard]] const Written& checkpoint() const { return checkpoint_; }
    [[nodiscard]] const File* masters() const { return &masters_; }
    [[nodiscard]] const File* weights() const { return &weights_; }
    [[nodiscard]] std::uint64_t reads() const { return masters_.reads + weights_.reads; }
    [[nodiscard]] std::uint64_t nbytes() const { return masters_.nbytes + weights_.nbytes; }

 private:
    std::uint64_t partition_numel_;
    SparseFile masters_;
    SparseFile weights_;
    Written checkpoint_;
};

TEST(WeightsSample, IsOfEveryRankHoweverManyThereAre) {
    for (const std::uint64_t ranks : {1U, 4U, 64U, 512U}) {
        constexpr std::uint64_t groups = 2;
        const Synthetic synthetic(ranks, groups, 100'000);
        const auto sample = sample_weights(synthetic.checkpoint());
        ASSERT_TRUE(sample.ok());
        ASSERT_EQ(sample->ranks.size(), ranks);
        const std::uint64_t runs = std::min(ranks * groups * sampled_runs, max_sampled_runs);
        EXPECT_EQ(synthetic.reads(), runs * 2) << ranks;
        EXPECT_LE(synthetic.nbytes(), runs * largest_run_nbytes) << ranks;
        for (const RankWeights& rank : sample->ranks) {
            EXPECT_EQ(rank.compared_numel, runs / ranks * sampled_run_numel);
            EXPECT_EQ(rank.different_numel, 0U);
        }
    }
}

TEST(WeightsSample, SeesTheRankWhoseMastersAreOthers) {
    for (const std::uint64_t rank : {0U, 200U, 511U}) {
        Synthetic synthetic(512, 2, 1'000);
        synthetic.spoil_masters(rank);
        const auto sample = sample_weights(synthetic.checkpoint());
        ASSERT_TRUE(sample.ok());
        for (const RankWeights& found : sample->ranks) {
            EXPECT_EQ(found.different_numel > 0, found.rank == rank) << found.rank;
        }
    }
}

/// 0.3 % of the elements of each of 4 ranks, as an average leaves them that is put in the place of the weights.
TEST(WeightsSample, LooksCloserBeforeItTellsRanksApart) {
    constexpr std::uint64_t ranks = 4;
    constexpr std::uint64_t groups = 3;
    Synthetic synthetic(ranks, groups, 100'000);
    for (std::uint64_t rank = 0; rank < ranks; ++rank) {
        synthetic.spoil_masters(rank, 333);
    }
    const auto sample = sample_weights(synthetic.checkpoint());
    ASSERT_TRUE(sample.ok());
    EXPECT_GT(synthetic.reads(), ranks * groups * sampled_runs * 2) << "the first look saw no rank without differences";
    EXPECT_LE(synthetic.reads(), ranks * groups * (sampled_runs + closer_runs) * 2);
    for (const RankWeights& rank : sample->ranks) {
        EXPECT_GT(rank.different_numel, 0U) << rank.rank;
    }
    const WeightsFinding finding = weights_finding(synthetic.checkpoint(), *sample);
    EXPECT_FALSE(finding.mixed);
    EXPECT_THAT(finding.text, testing::HasSubstr("on ranks 0-3 ("));
}

TEST(WeightsSample, TellsARankOfAnotherSaveHoweverLittleDiffers) {
    for (const std::uint64_t every : {1U, 10U, 50U}) {
        Synthetic synthetic(4, 3, 100'000);
        synthetic.spoil_masters(2, every);
        const auto sample = sample_weights(synthetic.checkpoint());
        ASSERT_TRUE(sample.ok());
        const WeightsFinding finding = weights_finding(synthetic.checkpoint(), *sample);
        EXPECT_TRUE(finding.mixed) << every;
        EXPECT_THAT(finding.text, testing::HasSubstr("on rank 2, while they are on ranks 0-1, 3 ("));
    }
}

TEST(WeightsSample, OfManyRanksThatAreUnlikeIsBounded) {
    constexpr std::uint64_t ranks = 512;
    Synthetic synthetic(ranks, 2, 10'000);
    synthetic.spoil_masters(200);
    const auto sample = sample_weights(synthetic.checkpoint());
    ASSERT_TRUE(sample.ok());
    EXPECT_LE(synthetic.reads(), (max_sampled_runs + max_closer_runs) * 2);
    EXPECT_TRUE(weights_finding(synthetic.checkpoint(), *sample).mixed);
}

TEST(WeightsSample, IsTheSameEveryTime) {
    Synthetic synthetic(4, 2, 1'000);
    for (std::uint64_t element = 0; element < 4'000; element += 3) {
        synthetic.spoil_weight(element);
    }
    const auto once = sample_weights(synthetic.checkpoint());
    const auto again = sample_weights(synthetic.checkpoint());
    ASSERT_TRUE(once.ok() && again.ok());
    EXPECT_GT(once->different_numel(), 0U);
    EXPECT_EQ(once->different_numel(), again->different_numel());
}

TEST(WeightsComparison, FindsTheOneElementThatASampleMisses) {
    constexpr std::uint64_t partition_numel = 600'000;  // several blocks
    Synthetic synthetic(3, 1, partition_numel);
    synthetic.spoil_weight(partition_numel + 555'555);
    const auto sample = sample_weights(synthetic.checkpoint());
    ASSERT_TRUE(sample.ok());
    EXPECT_EQ(sample->different_numel(), 0U);
    const auto all = PassingWeights(synthetic.checkpoint()).compare();
    ASSERT_TRUE(all.ok());
    EXPECT_EQ(all->compared_numel(), 3 * partition_numel);
    EXPECT_EQ(all->different_numel(), 1U);
    EXPECT_EQ(all->ranks[1].different_numel, 1U);
    ASSERT_EQ(all->ranks[1].parameters.size(), 1U);
    EXPECT_EQ(*all->ranks[1].parameters.front().name, "weight0");
    EXPECT_EQ(all->ranks[1].parameters.front().different_numel, 1U);
}

TEST(PassingWeights, OnlyBlocksThatDifferAreReadAgain) {
    constexpr std::uint64_t partition_numel = 600'000;  // several blocks
    Synthetic synthetic(3, 1, partition_numel);
    const auto pass = [&](PassingWeights& passing, std::uint64_t end = std::numeric_limits<std::uint64_t>::max()) {
        std::mt19937 random(1);
        for (const File* file : {synthetic.masters(), synthetic.weights()}) {
            std::vector<std::pair<std::uint64_t, std::uint64_t>> pieces;
            for (std::uint64_t from = 0; from < std::min(end, file->size());) {
                const std::uint64_t to = std::min(file->size(), from + 4 * (1 + random() % 50'000));
                pieces.emplace_back(from, to);
                from = to;
            }
            std::shuffle(pieces.begin(), pieces.end(), random);
            for (const auto& [from, to] : pieces) {
                std::vector<std::byte> bytes(to - from);
                ASSERT_TRUE(file->read(from, bytes).ok());
                passing.passed(*file, from, bytes);
            }
        }
    };
    PassingWeights equal(synthetic.checkpoint());
    pass(equal);
    const std::uint64_t reads = synthetic.reads();
    const auto all = equal.compare();
    ASSERT_TRUE(all.ok());
    EXPECT_EQ(all->compared_numel(), 3 * partition_numel);
    EXPECT_EQ(all->different_numel(), 0U);
    EXPECT_EQ(synthetic.reads(), reads);

    synthetic.spoil_weight(partition_numel + 555'555);
    PassingWeights different(synthetic.checkpoint());
    pass(different);
    const std::uint64_t nbytes = synthetic.nbytes();
    const auto one = different.compare();
    ASSERT_TRUE(one.ok());
    EXPECT_EQ(one->different_numel(), 1U);
    EXPECT_EQ(one->ranks[1].different_numel, 1U);
    EXPECT_GT(synthetic.nbytes(), nbytes);
    EXPECT_LE(synthetic.nbytes(), nbytes + PassingWeights::block_numel * (4 + 2));

    PassingWeights partly(synthetic.checkpoint());
    pass(partly, partition_numel);
    const auto rest = partly.compare();
    ASSERT_TRUE(rest.ok());
    EXPECT_EQ(rest->compared_numel(), 3 * partition_numel);
    EXPECT_EQ(rest->different_numel(), 1U);
}

TEST(WeightsSample, OfARealCheckpointIsCountedApartFromItsMetadata) {
    const auto directory = io::DirectorySource::open_directory((test_data() / "zero" / "stage2_bf16_ws4").string());
    const io::CountingSource source(*directory);
    const auto checkpoint = read_checkpoint(
        source, "global_step2", {.accept_mixed = false, .rank_values_of = std::nullopt, .look_for_two_saves = false});
    ASSERT_TRUE(checkpoint.ok());
    const std::uint64_t metadata_reads = source.counters().reads;
    const std::uint64_t metadata_nbytes = source.counters().nbytes;
    const auto sample = sample_weights(**checkpoint);
    ASSERT_TRUE(sample.ok());
    const std::uint64_t runs = 4 * (*checkpoint)->families.front().groups.size() * sampled_runs;
    EXPECT_GT(source.counters().reads, metadata_reads);
    EXPECT_LE(source.counters().reads - metadata_reads, runs * 2);
    EXPECT_LE(source.counters().nbytes - metadata_nbytes, runs * largest_run_nbytes);
}

}  // namespace
}  // namespace weights_comparison
}  // namespace ckptfs::zero
