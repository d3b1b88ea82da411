// Views of real checkpoints against what DeepSpeed itself saved at the other world size (tests/data/zero/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/graph_compare.h"
#include "support/memory_source.h"
#include "support/stage3_padding.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "view/world_size_kind.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace {

namespace fs = std::filesystem;
using test::graph_differences;
using test::with_blank_padding;
using testing::HasSubstr;

const fs::path data = test_data() / "zero";

std::string latest(const fs::path& root) {
    std::ifstream stream(root / "latest");
    std::string tag;
    stream >> tag;
    return tag;
}

std::vector<std::byte> whole(const File& file) {
    std::vector<std::byte> bytes(file.size());
    EXPECT_TRUE(file.read(0, bytes).ok());
    return bytes;
}

struct Loaded {
    std::shared_ptr<const io::DirectorySource> source;
    std::shared_ptr<const zero::Written> checkpoint;
    std::string tag;
};

Loaded load(const fs::path& root) {
    Loaded loaded;
    auto source = io::DirectorySource::open_directory(root.string());
    EXPECT_TRUE(source.ok());
    loaded.source = *source;
    loaded.tag = latest(root);
    auto checkpoint = zero::read_checkpoint(*loaded.source, loaded.tag);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    loaded.checkpoint = *checkpoint;
    return loaded;
}

std::shared_ptr<const View> view_at(const Loaded& loaded, std::uint64_t world_size, ViewOptions options = {}) {
    auto view = world_size_view(loaded.checkpoint, world_size, options);
    EXPECT_TRUE(view.ok());
    return *view;
}

std::set<std::string> names(const View& view) {
    std::set<std::string> set;
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        set.insert(view.file_name(i));
    }
    return set;
}

std::set<std::string> shards(const Loaded& loaded) {
    const auto listing = loaded.source->list(loaded.tag);
    const auto files = zero::shard_files(*listing);
    return {files.begin(), files.end()};
}

// "stage1_bf16_ws3_at_ws2": what DeepSpeed saved at 2 after loading stage1_bf16_ws3 re-cut for 2.
class NativeSave : public testing::TestWithParam<std::string> {};

std::vector<std::string> native_saves() {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(data)) {
        const std::string name = entry.path().filename();
        if (entry.is_directory() && name.find("_at_ws") != std::string::npos) {
            found.push_back(name);
        }
    }
    return found;
}

TEST_P(NativeSave, IsWhatTheViewShows) {
    const std::string& name = GetParam();
    const std::size_t split = name.find("_at_ws");
    const Loaded source = load(data / name.substr(0, split));
    const Loaded native = load(data / name);
    const auto view = view_at(source, std::stoull(name.substr(split + 6)));

    EXPECT_EQ(names(*view), shards(native));
    // The config is the one that the resuming job was given; Muon's momentum changes its dtype when DeepSpeed loads it.
    std::set<std::string> ignored{"ds_config"};
    if (name.starts_with("muon")) {
        ignored.insert("momentum_buffer");
    }
    // Under zero.Init an engine numbers parameters as they were made, which no file tells.
    if (name.starts_with("stage3_zero_init")) {
        ignored.insert("ds_id");
    }
    for (std::size_t i = 0; i < view->file_count(); ++i) {
        const std::string file = view->file_name(i);
        const auto virtual_file = view->open(i);
        ASSERT_TRUE(virtual_file.ok()) << virtual_file.error().message();
        const auto native_file = native.source->open(native.tag + "/" + file);
        ASSERT_TRUE(native_file.ok()) << file;
        const auto expected = with_blank_padding(*native_file, *native.checkpoint);
        EXPECT_THAT(graph_differences(*virtual_file, expected, ignored), testing::IsEmpty()) << file;
        EXPECT_EQ(*view->file_size(i), (*virtual_file)->size());
    }
}

INSTANTIATE_TEST_SUITE_P(Real, NativeSave, testing::ValuesIn(native_saves()),
                         [](const auto& param_info) { return param_info.param; });

TEST(WorldSizeView, ComparisonFindsAnotherCheckpoint) {
    const Loaded one = load(data / "stage2_fp16_ws3");
    const Loaded other = load(data / "stage1_fp16_ws2_at_ws3");
    const auto view = view_at(one, 3);
    const auto file = view->open(1);
    const auto foreign = other.source->open(other.tag + "/" + view->file_name(1));
    ASSERT_TRUE(file.ok() && foreign.ok());
    EXPECT_THAT(graph_differences(*file, *foreign, {"ds_config"}), testing::Not(testing::IsEmpty()));
}

TEST(WorldSizeView, OwnWorldSizePassesTheBytesThrough) {
    const Loaded source = load(data / "stage2_fp16_ws3");
    const auto view = view_at(source, 3);
    EXPECT_EQ(names(*view), shards(source));
    for (std::size_t i = 0; i < view->file_count(); ++i) {
        const auto original = source.source->open(source.tag + "/" + view->file_name(i));
        EXPECT_EQ(whole(**view->open(i)), whole(**original));
    }
}

// As when ranks' trees differ so much that not all of them are kept.
TEST(WorldSizeView, WithoutKeptTreesTheFilesAreTheSame) {
    for (const char* fixture : {"stage1_bf16_ws3", "muon_ws3", "stage3_bf16_ws3"}) {
        const Loaded kept = load(data / fixture);
        const Loaded dropped = load(data / fixture);
        for (zero::Family& family : std::const_pointer_cast<zero::Written>(dropped.checkpoint)->families) {
            for (std::size_t rank = 1; rank < family.optimizer.size(); ++rank) {
                family.optimizer[rank].structure = nullptr;
            }
        }
        const auto expected = view_at(kept, 4);
        const auto view = view_at(dropped, 4);
        ASSERT_EQ(view->file_count(), expected->file_count());
        for (std::size_t i = 0; i < view->file_count(); ++i) {
            const auto file = view->open(i);
            ASSERT_TRUE(file.ok()) << file.error().message();
            const auto differences = graph_differences(*expected->open(i), *file, {});
            EXPECT_THAT(differences, testing::IsEmpty()) << fixture << ": " << view->file_name(i);
            EXPECT_EQ(*view->file_size(i), (*file)->size()) << fixture << ": " << view->file_name(i);
        }
    }
}

TEST(WorldSizeView, AlignmentOfTheResumingConfig) {
    const Loaded plain = load(data / "stage1_bf16_ws3");
    ViewOptions options;
    options.target = zero::LayoutConfig{.parameter_alignment = true, .bf16 = true};
    const auto view = view_at(plain, 3, options);
    const auto file = view->open(1);
    ASSERT_TRUE(file.ok());
    const auto archive = pt::Archive::open(*file);
    ASSERT_TRUE(archive.ok());
    const pickle::Node* paddings =
        pickle::find(pickle::find((*archive)->root(), "optimizer_state_dict"), "param_alignment_paddings");
    ASSERT_NE(paddings, nullptr);
    bool any = false;
    for (const pickle::Node* group : paddings->items) {
        for (const pickle::Node* numel : group->items) {
            any |= numel->integer != 0;
        }
    }
    EXPECT_TRUE(any);
}

FileInfo info_of(const View& view, const std::string& name) {
    return view.file_info(view.find(name).value());
}

// The bytes of a file come from files of its own kind, so that these decide who may read it.
TEST(WorldSizeView, FilesGrantWhatAllFilesOfTheirKindGrant) {
    const fs::path from = data / "stage1_bf16_ws3";
    const test::TemporaryDirectory copy;
    fs::copy(from / latest(from), copy.path(), fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(copy.path())) {
        ASSERT_EQ(::chmod(entry.path().c_str(), 0644), 0);
    }
    const std::string model_states = "mp_rank_00_model_states.pt";
    const std::string optimizer = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt";
    ASSERT_EQ(::chmod((copy / "bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt").c_str(), 0604), 0);
    const io::CountingSource source(*io::DirectorySource::open_directory(copy.path()));
    const auto checkpoint = zero::read_checkpoint(source, "");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ(source.counters().access_lists, 4U) << "one look for each file";
    const auto recut = *world_size_view(*checkpoint, 2, {});
    EXPECT_EQ(info_of(*recut, optimizer).mode, 0604U);
    EXPECT_EQ(info_of(*recut, model_states).mode, 0644U);
    const auto as_it_is = *world_size_view(*checkpoint, 3, {});
    EXPECT_EQ(info_of(*as_it_is, optimizer).mode, 0644U);
    for (std::size_t index = 0; index < recut->file_count(); ++index) {
        const auto file = std::dynamic_pointer_cast<const VirtualFile>(*recut->open(index));
        ASSERT_TRUE(file);
        for (const Piece piece : file->pieces()) {
            if (piece.kind == Piece::Kind::source) {
                EXPECT_EQ(piece.file->name().ends_with("model_states.pt"), recut->file_name(index) == model_states)
                    << piece.file->name();
            }
        }
    }
    EXPECT_EQ(source.counters().access_lists, 4U);
}

TEST(WorldSizeView, ReadsNoTensorToBuildItsFiles) {
    auto directory = io::DirectorySource::open_directory((data / "stage1_bf16_ws3").string());
    ASSERT_TRUE(directory.ok());
    const io::CountingSource source(*directory);
    const auto checkpoint = zero::read_checkpoint(source, latest(data / "stage1_bf16_ws3"));
    ASSERT_TRUE(checkpoint.ok());
    const std::uint64_t read_by_reader = source.counters().nbytes;
    const auto view = world_size_view(*checkpoint, 2, {});
    ASSERT_TRUE(view.ok());
    for (std::size_t i = 0; i < (*view)->file_count(); ++i) {
        ASSERT_TRUE((*view)->file_size(i).ok());
        ASSERT_TRUE((*view)->open(i).ok());
    }
    EXPECT_EQ(source.counters().nbytes, read_by_reader);
    std::vector<std::byte> byte(1);
    const auto file = (*view)->open(1);
    ASSERT_TRUE((*file)->read((*file)->size() / 2, byte).ok());
    EXPECT_GT(source.counters().nbytes, read_by_reader) << "the counter counts";
}

// A copy of a view is a checkpoint like any other, also where it was cut by another config than its source's.
TEST(WorldSizeView, ViewUnderAnotherConfigReadsAsWhatItIs) {
    const Loaded plain = load(data / "stage1_bf16_ws3");
    ViewOptions options;
    options.target = zero::LayoutConfig{.round_robin_gradients = true, .bf16 = true};
    const auto view = view_at(plain, 2, options);
    test::MemorySource copy;
    for (std::size_t i = 0; i < view->file_count(); ++i) {
        const std::vector<std::byte> bytes = whole(**view->open(i));
        copy.add("tag/" + view->file_name(i), std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
    const auto again = zero::read_checkpoint(copy, "tag");
    ASSERT_TRUE(again.ok()) << again.error().message();
    const auto& before = plain.checkpoint->content.ranks.front().groups;
    const auto& after = (*again)->content.ranks.front().groups;
    ASSERT_EQ(before.size(), after.size());
    for (std::size_t g = 0; g < before.size(); ++g) {
        EXPECT_TRUE((*again)->families.front().groups[g].flat->rules.round_robin);
        ASSERT_EQ(before[g].parameters.size(), after[g].parameters.size());
        for (std::size_t p = 0; p < before[g].parameters.size(); ++p) {
            EXPECT_EQ(before[g].parameters[p].name, after[g].parameters[p].name);
        }
    }
    // And back, under the first config, it is the source again.
    ViewOptions first;
    first.target = zero::LayoutConfig{.bf16 = true};
    const auto back = world_size_view(*again, 3, first);
    ASSERT_TRUE(back.ok());
    for (std::size_t i = 0; i < (*back)->file_count(); ++i) {
        const auto original = plain.source->open(plain.tag + "/" + (*back)->file_name(i));
        EXPECT_THAT(graph_differences(*(*back)->open(i), *original, {"ds_config"}), testing::IsEmpty());
    }
}

TEST(WorldSizeView, WorldSizesOutOfRange) {
    const Loaded source = load(data / "stage1_bf16_ws3");
    for (const std::uint64_t world_size : {std::uint64_t{0}, max_world_size + 1}) {
        const auto view = world_size_view(source.checkpoint, world_size, {});
        ASSERT_FALSE(view.ok());
        EXPECT_EQ(view.error().code(), ErrorCode::invalid_argument);
    }
}

TEST(WorldSizeView, WorldSizeCountsAllRanksOrTheDataParallelOnes) {
    const Loaded source = load(data / "tensor_parallel_stage2_ws4");
    const auto odd = world_size_view(source.checkpoint, 5, {});
    ASSERT_FALSE(odd.ok());
    EXPECT_EQ(odd.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(odd.error().message(), testing::AllOf(HasSubstr("world size of 5"), HasSubstr("2 model-parallel")));
    const auto at_six = view_at(source, 6);
    EXPECT_EQ(at_six->file_count(), 2U + 6U);
    EXPECT_EQ(names(*view_at(source, 3, {.target = std::nullopt, .counts_data_parallel = true})), names(*at_six));
}

TEST(WorldSizeView, MoreRanksThanElements) {
    const Loaded source = load(data / "stage1_bf16_ws3");
    const auto view = view_at(source, max_world_size);
    EXPECT_EQ(view->file_count(), 1 + max_world_size);
    for (const std::size_t index : {std::size_t{1}, std::size_t{1} + max_world_size / 2, std::size_t{max_world_size}}) {
        const auto file = view->open(index);
        ASSERT_TRUE(file.ok()) << file.error().message();
        const auto archive = pt::Archive::open(*file);
        ASSERT_TRUE(archive.ok()) << archive.error().message();
    }
}

TEST(WorldSizeView, FindsItsFilesByExactName) {
    const Loaded source = load(data / "stage1_bf16_ws3");
    const auto view = view_at(source, 2);
    EXPECT_EQ(view->find("mp_rank_00_model_states.pt"), 0U);
    EXPECT_EQ(view->find("bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"), 2U);
    for (const char* name :
         {"bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt", "zero_pp_rank_1_mp_rank_00_optim_states.pt",
          "bf16_zero_pp_rank_01_mp_rank_00_optim_states.pt", "latest", ""}) {
        EXPECT_EQ(view->find(name), std::nullopt) << name;
    }
}

TEST(WorldSizeView, KnowsWhichFilesAreCutFromEachOther) {
    const Loaded source = load(data / "tensor_parallel_stage2_ws4");
    const auto view = view_at(source, 6);
    std::set<std::size_t> sets;
    for (const char* rank : {"00", "01"}) {
        const std::string mp_rank = std::string("_mp_rank_") + rank;
        const auto optimizer = view->file_set("bf16_zero_pp_rank_0" + mp_rank + "_optim_states.pt");
        const auto model = view->file_set("mp_rank_" + std::string(rank) + "_model_states.pt");
        ASSERT_TRUE(optimizer && model);
        sets.insert({*optimizer, *model});
        // Of the view, of the source, left over, and of another stage's save.
        for (const std::string name :
             {"bf16_zero_pp_rank_2", "bf16_zero_pp_rank_1", "bf16_zero_pp_rank_99", "zero_pp_rank_1"}) {
            EXPECT_EQ(view->file_set(name + mp_rank + "_optim_states.pt"), optimizer) << name;
        }
        EXPECT_EQ(view->file_set("zero_pp_rank_1" + mp_rank + "_model_states.pt"), model);
    }
    EXPECT_EQ(sets.size(), 4U);
    for (const char* name : {"bf16_zero_pp_rank_0_mp_rank_02_optim_states.pt", "layer_01-model_states.pt", "latest",
                             "layer_0_expert_0_mp_rank_00_model_states.pt", ""}) {
        EXPECT_EQ(view->file_set(name), std::nullopt) << name;
    }
}

TEST(WorldSizeView, KnowsWhetherItIsTheSourceItself) {
    for (const auto& [fixture, size] : {std::pair<const char*, std::uint64_t>{"stage1_bf16_ws3", 3},
                                        {"stage3_ws2", 2},
                                        {"tensor_parallel_stage2_ws4", 4}}) {
        const Loaded source = load(data / fixture);
        EXPECT_TRUE(view_at(source, size)->is_as_saved()) << fixture;
        EXPECT_FALSE(view_at(source, 2 * size)->is_as_saved()) << fixture;
    }
    EXPECT_TRUE(view_at(load(data / "stage0_ws2"), 7)->is_as_saved());
}

TEST(WorldSizeView, TimesAreTheNewestOfTheSources) {
    const Loaded source = load(data / "stage1_bf16_ws3");
    const auto view = view_at(source, 2);
    std::int64_t newest = 0;
    for (const zero::RankFile& rank : source.checkpoint->families.front().optimizer) {
        newest = std::max(newest, rank.info.stamp.mtime_ns);
    }
    EXPECT_EQ(view->file_info(1).stamp.mtime_ns, newest);
    EXPECT_EQ(view->file_info(0).stamp.mtime_ns, source.checkpoint->families.front().model_states_info.stamp.mtime_ns);
}

}  // namespace
}  // namespace ckptfs::view
