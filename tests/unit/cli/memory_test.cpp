// One limit for all that is held of checkpoints: tags beyond it are let go of, and nothing is held when nobody asks.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fs/file_system.h"
#include "io/posix_source.h"
#include "support/program.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "util/memory_budget.h"
#include "view/zero_tag.h"

namespace ckptfs {
namespace {

constexpr int tags = 12;
constexpr int idle_calls = 451;  // of tidy(): a quarter of an hour

/// The same save twelve times, shown at one world size after the other.
class Soak : public testing::Test {
 protected:
    void SetUp() override {
        const auto saved = test_data() / "zero" / "stage3_groups_ws3" / "global_step2";
        for (int i = 0; i < tags; ++i) {
            std::filesystem::copy(saved, directory_ / tag(i), std::filesystem::copy_options::recursive);
        }
        source_ = io::DirectorySource::open_directory(directory_.path()).value();
    }
    void TearDown() override { MemoryBudget::limit_process(0); }

    static std::string tag(int i) { return "step" + std::to_string(i); }
    [[nodiscard]] std::unique_ptr<FileSystem> mounted(std::uint64_t world_size) const {
        FileSystemOptions options;
        options.request = ViewRequest::at_world_size(world_size);
        return FileSystem::create(source_, view::zero_tag_reader({}), std::move(options)).value();
    }
    /// The bytes of every file of every tag; `most_held_`: what was held at most when one of them was open.
    std::vector<std::string> read_all(FileSystem& file_system) {
        std::vector<std::string> all;
        test::Program program(file_system);
        for (int i = 0; i < tags; ++i) {
            const auto names = program.list(tag(i));
            EXPECT_TRUE(names.ok()) << tag(i);
            for (const std::string& name : names.value) {
                all.push_back(read(program, tag(i) + "/" + name));
            }
        }
        return all;
    }
    std::string read(test::Program& program, const std::string& path) {
        const auto opened = program.open(path, O_RDONLY);
        EXPECT_EQ(opened.error, 0) << path;
        std::string bytes(program.stat(path).value.size, '\0');
        const auto got = program.file_system().read(opened.handle, 0, std::as_writable_bytes(std::span(bytes)));
        EXPECT_TRUE(got.ok() && got.value == bytes.size()) << path;
        most_held_ = std::max(most_held_, MemoryBudget::of_process().held());
        program.close(opened);
        return bytes;
    }

    test::TemporaryDirectory directory_;
    std::shared_ptr<const Source> source_;
    std::uint64_t most_held_ = 0;
};

TEST_F(Soak, WithoutALimitAllIsKeptUntilNobodyAsks) {
    MemoryBudget& budget = MemoryBudget::of_process();
    const std::uint64_t before = budget.held();
    const auto file_system = mounted(2);
    read_all(*file_system);
    const std::uint64_t held = budget.held() - before;
    EXPECT_GT(held, tags * std::uint64_t{10'000});
    read_all(*file_system);
    EXPECT_EQ(budget.held() - before, held);
    for (int i = 0; i < idle_calls; ++i) {
        file_system->tidy();
    }
    EXPECT_EQ(budget.held(), before);
}

TEST_F(Soak, WithALimitTagsTakeTurnsAndShowTheSame) {
    MemoryBudget& budget = MemoryBudget::of_process();
    const std::uint64_t before = budget.held();
    std::vector<std::string> expected;
    {
        const auto file_system = mounted(2);
        expected = read_all(*file_system);
    }
    ASSERT_EQ(budget.held(), before);
    const std::uint64_t of_all = most_held_ - before;
    most_held_ = 0;
    MemoryBudget::limit_process(before + of_all / 3);
    const auto file_system = mounted(2);
    for (int round = 0; round < 3; ++round) {
        EXPECT_EQ(read_all(*file_system), expected);
    }
    EXPECT_LE(most_held_, before + of_all / 3);
    EXPECT_GT(most_held_, before);
    for (int i = 0; i < idle_calls; ++i) {
        file_system->tidy();
    }
    EXPECT_EQ(budget.held(), before);
}

}  // namespace
}  // namespace ckptfs
