// Thousands of random ZeRO-1/2 checkpoints: the view at N is what the model writes at N.
//   CKPTFS_PROPERTY_SEED=<seed of a case> CKPTFS_PROPERTY_CASES=1 tests/property_views   runs one case again.
#include <gtest/gtest.h>

#include "cases.h"
#include "ckptfs/extent.h"
#include "harness.h"
#include "naive/zero12_random.h"
#include "naive/zip_io.h"

namespace ckptfs::test {
namespace {

constexpr std::uint64_t default_seed = 20'240'607;
constexpr std::uint64_t default_cases = 800;

TEST(PropertyZero12, views_are_what_the_model_writes) {
    run_known_cases(default_seed, default_cases, run_case);
}

TEST(PropertyZero12, views_are_what_the_model_writes_at_seeds_never_seen) {
    run_new_cases(default_cases, run_case);
}

TEST(PropertyZero12, the_largest_world_size) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        EXPECT_EQ(run_huge_case(default_seed + seed), "");
    }
}

TEST(PropertyZero12, the_model_reads_what_it_writes) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        naive::Random random(seed);
        const naive::Checkpoint checkpoint = naive::random_checkpoint(random);
        const naive::Save save(checkpoint, 3, checkpoint.settings, [](std::uint64_t rank) { return rank; }, {});
        std::map<std::string, naive::Value> expected{{naive::model_states_name, save.model_states()}};
        for (std::uint64_t rank = 0; rank < 3; ++rank) {
            expected[save.optimizer_name(rank)] = save.optimizer(rank);
        }
        for (const auto& [name, bytes] : write_files(save, 3, random)) {
            EXPECT_EQ(judge(bytes, name, expected.at(name)), "") << "seed " << seed << ", " << name;
        }
    }
}

/// A view 3 -> 2 of a random checkpoint with its model, for planting mistakes.
class Planted : public testing::TestWithParam<std::uint64_t> {
 protected:
    void SetUp() override {
        naive::Random random(GetParam());
        checkpoint_ = naive::random_checkpoint(random);
        const naive::Save source(checkpoint_, 3, checkpoint_.settings, [](std::uint64_t rank) { return rank; }, {});
        opened_ = open_view(write_files(source, 3, random), 2, checkpoint_, nullptr);
        ASSERT_NE(opened_.view, nullptr) << opened_.problem;
        expected_ = std::make_unique<naive::Save>(
            checkpoint_, 2, checkpoint_.settings, [](std::uint64_t rank) { return rank; }, naive::Freedom{});
        name_ = expected_->optimizer_name(1);
        index_ = *opened_.view->find(name_);
        bytes_ = read_whole(*opened_.view, index_);
        ASSERT_EQ(verdict(bytes_), "");
    }

    [[nodiscard]] std::string verdict(const std::string& bytes) const {
        try {
            return judge(bytes, name_, expected_->optimizer(1));
        } catch (const std::runtime_error& error) {
            return error.what();
        }
    }

    naive::Checkpoint checkpoint_;
    Opened opened_;
    std::unique_ptr<naive::Save> expected_;
    std::string name_;
    std::size_t index_ = 0;
    std::string bytes_;
};

TEST_P(Planted, a_flipped_byte_anywhere_is_found) {
    // The digits of the serialization id are the writer's own choice.
    const std::size_t id = bytes_.find(".data/serialization_id");
    ASSERT_NE(id, std::string::npos);
    const std::size_t step = bytes_.size() / 200 + 1;
    for (std::size_t i = 0; i < bytes_.size(); i += step) {
        std::string planted = bytes_;
        planted[i] = static_cast<char>(planted[i] ^ 0x10);
        if (i < id || i > id + 256) {
            EXPECT_NE(verdict(planted), "") << "byte " << i << " of " << bytes_.size();
        }
    }
}

TEST_P(Planted, a_shifted_piece_is_found) {
    const auto file = opened_.view->open(index_);
    ASSERT_TRUE(file.ok());
    const auto* original = dynamic_cast<const VirtualFile*>(file->get());
    ASSERT_NE(original, nullptr);
    std::size_t planted_count = 0;
    std::uint64_t at = 0;
    for (const Piece shifted : original->pieces()) {
        const std::uint64_t begin = at;
        at += shifted.length;
        if (shifted.kind != Piece::Kind::source || shifted.offset == 0) {
            continue;
        }
        std::string planted = bytes_;
        ASSERT_TRUE(
            shifted.file
                ->read(shifted.offset - 1, std::as_writable_bytes(std::span(planted).subspan(begin, shifted.length)))
                .ok());
        if (planted != bytes_) {
            ++planted_count;
            EXPECT_NE(verdict(planted), "") << "the piece at " << begin;
        }
    }
    EXPECT_GT(planted_count, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Planted, testing::Values(11, 12, 13, 14));

}  // namespace
}  // namespace ckptfs::test
