// Many files at a time, with results as if they had been read one after the other.
#include "zero/rank_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

#include "support/memory_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"

namespace ckptfs::zero {
namespace rank_files {
namespace {

using testing::HasSubstr;

/// Lets a file be opened once others have been asked for; counts how many are asked for at a time.
class GatedSource final : public Source {
 public:
    explicit GatedSource(const Source& source) : source_(source) {}

    /// `path` is opened once `count` files have been asked for.
    void open_after(const std::string& path, std::size_t count) { gates_[path] = count; }
    [[nodiscard]] bool timed_out() const { return timed_out_; }
    [[nodiscard]] std::size_t most_at_a_time() const { return most_; }
    [[nodiscard]] std::size_t asked_for() const { return asked_for_; }

    [[nodiscard]] std::string display(std::string_view path) const override { return source_.display(path); }
    Result<FileInfo> stat(const std::string& path) const override { return source_.stat(path); }
    Result<FileInfo> stat_target(const std::string& path) const override { return source_.stat_target(path); }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override { return source_.list(path); }
    Result<std::string> read_link(const std::string& path) const override { return source_.read_link(path); }
    Result<std::string> resolve(const std::string& path) const override { return source_.resolve(path); }

    Result<std::shared_ptr<const File>> open(const std::string& path) const override {
        {
            std::unique_lock lock(mutex_);
            ++asked_for_;
            most_ = std::max(most_, ++inside_);
            changed_.notify_all();
            const auto gate = gates_.find(path);
            const std::size_t needed = gate == gates_.end() ? 0 : gate->second;
            // The limit ends a test that would hang; nothing depends on how long anything takes.
            timed_out_ |= !changed_.wait_for(lock, std::chrono::seconds(60), [&] { return asked_for_ >= needed; });
            --inside_;
        }
        return source_.open(path);
    }

 private:
    const Source& source_;
    std::map<std::string, std::size_t> gates_;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    mutable std::size_t asked_for_ = 0;
    mutable std::size_t inside_ = 0;
    mutable std::size_t most_ = 0;
    mutable bool timed_out_ = false;
};

struct Tree {
    std::string file;
    bool forgotten = false;
};

RankFileKind<Tree> by_pickle() {
    RankFileKind<Tree> kind;
    kind.parse = [](const std::shared_ptr<const pt::Archive>& archive) {
        return Result<Tree>(Tree{archive->file()->name()});
    };
    kind.forget_tree = [](Tree& tree) { tree.forgotten = true; };
    return kind;
}

class RankFilesTest : public testing::Test {
 protected:
    static std::string fixture(const std::string& name) {
        return test::file_bytes((test_data() / "zero" / name).string());
    }

    /// `count` copies of `bytes`, "0", "1", …
    void add(std::size_t count, const std::string& bytes) {
        for (std::size_t i = 0; i < count; ++i) {
            names_.push_back(std::to_string(names_.size()));
            memory_.add("tag/" + names_.back(), bytes);
        }
    }

    Result<std::vector<ParsedRankFile<Tree>>> read(RankFileKind<Tree> kind) {
        const std::string directory = "tag";
        return RankFiles<Tree>(source_, directory, std::move(kind)).read(names_);
    }

    const std::string bf16_ = fixture("stage1_bf16_ws3/global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt");
    const std::string other_ = fixture("stage1_bf16_ws3/global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt");
    test::MemorySource memory_;
    GatedSource source_{memory_};
    std::vector<std::string> names_;
};

TEST_F(RankFilesTest, AreOpenedAtATime) {
    add(3 * most_opened_at_a_time, bf16_);
    for (std::size_t i = 0; i < most_opened_at_a_time; ++i) {
        source_.open_after("tag/" + names_[i], most_opened_at_a_time);
    }
    const auto ranks = read(by_pickle());
    ASSERT_TRUE(ranks.ok()) << ranks.error().message();
    EXPECT_FALSE(source_.timed_out());
    EXPECT_EQ(source_.most_at_a_time(), most_opened_at_a_time);
    EXPECT_EQ(source_.asked_for(), names_.size());
    ASSERT_EQ(ranks->size(), names_.size());
    for (std::size_t i = 0; i < names_.size(); ++i) {
        EXPECT_EQ((*ranks)[i].file.name, names_[i]);
        EXPECT_EQ((*ranks)[i].file.file->name(), memory_.display("tag/" + names_[i]));
        EXPECT_EQ((*ranks)[i].places.file(), (*ranks)[i].file.file.get());
    }
}

TEST_F(RankFilesTest, EqualPicklesAreParsedOnceAndAreTheFirstRanks) {
    add(2 * most_opened_at_a_time, bf16_);
    source_.open_after("tag/0", 2);  // the first rank's comes last
    const auto ranks = read(by_pickle());
    ASSERT_TRUE(ranks.ok());
    for (const ParsedRankFile<Tree>& rank : *ranks) {
        EXPECT_EQ(rank.parsed, ranks->front().parsed);
        EXPECT_EQ(rank.file.structure, ranks->front().file.structure);
        EXPECT_EQ(rank.parsed->file, memory_.display("tag/0"));
    }
}

TEST_F(RankFilesTest, OfOneSkeletonOneTreeIsKept) {
    add(1, bf16_);
    add(1, other_);
    RankFileKind<Tree> kind = by_pickle();
    const auto apart = read(kind);
    ASSERT_TRUE(apart.ok());
    EXPECT_NE((*apart)[0].file.structure, (*apart)[1].file.structure);
    EXPECT_FALSE((*apart)[1].parsed->forgotten);
    kind.skeleton = [](const Tree& /*tree*/) { return Result<std::string>("the same"); };
    const auto shared = read(kind);
    ASSERT_TRUE(shared.ok());
    EXPECT_EQ((*shared)[0].file.structure, (*shared)[1].file.structure);
    EXPECT_NE((*shared)[0].parsed, (*shared)[1].parsed);
    EXPECT_FALSE((*shared)[0].parsed->forgotten);
    EXPECT_TRUE((*shared)[1].parsed->forgotten);
    EXPECT_EQ((*shared)[1].places.file(), (*shared)[1].file.file.get());
}

TEST_F(RankFilesTest, BeyondTheBudgetTreesAreNotKept) {
    add(1, bf16_);
    add(2, other_);
    RankFileKind<Tree> kind = by_pickle();
    kind.kept_nbytes = 1;
    for (const bool join_needs_trees : {false, true}) {
        kind.join_needs_trees = join_needs_trees;
        const auto ranks = read(kind);
        ASSERT_TRUE(ranks.ok());
        EXPECT_NE((*ranks)[0].file.structure, nullptr);
        EXPECT_FALSE((*ranks)[0].parsed->forgotten);
        for (const std::size_t beyond : {1U, 2U}) {
            EXPECT_EQ((*ranks)[beyond].file.structure, nullptr);
            EXPECT_EQ((*ranks)[beyond].parsed->forgotten, !join_needs_trees);
            EXPECT_EQ((*ranks)[beyond].parsed->file, (*ranks)[beyond].file.file->name());
            EXPECT_EQ((*ranks)[beyond].places.file(), (*ranks)[beyond].file.file.get());
        }
    }
}

TEST_F(RankFilesTest, TheErrorIsTheFirstRanks) {
    add(8, bf16_);
    names_[3] = "damaged";
    std::string damaged = bf16_;
    damaged[200] = static_cast<char>(~damaged[200]);
    memory_.add("tag/damaged", damaged);
    names_[6] = "truncated";
    memory_.add("tag/truncated", bf16_.substr(0, bf16_.size() / 2));
    source_.open_after("tag/damaged", 7);  // the truncated one has been asked for by then
    const auto ranks = read(by_pickle());
    ASSERT_FALSE(ranks.ok());
    EXPECT_FALSE(source_.timed_out());
    EXPECT_THAT(ranks.error().message(), HasSubstr("tag/damaged"));
    EXPECT_EQ(ranks.error().code(), ErrorCode::damaged);
}

TEST_F(RankFilesTest, AMissingRankIsTold) {
    add(4, bf16_);
    names_[2] = "missing";
    const auto ranks = read(by_pickle());
    ASSERT_FALSE(ranks.ok());
    EXPECT_EQ(ranks.error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace rank_files
}  // namespace ckptfs::zero
