// The universal view of real checkpoints: what ds_to_universal wrote of one, and of others the values of the source.
#include "view/universal_view.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/graph_compare.h"
#include "support/test_data.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace universal {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const fs::path data = test_data() / "zero";

std::shared_ptr<const Source> source_of(const fs::path& directory) {
    return io::DirectorySource::open_directory(directory.string()).value();
}

std::shared_ptr<const zero::Written> checkpoint_of(const std::string& name) {
    std::string tag;
    std::ifstream(data / name / "latest") >> tag;
    auto checkpoint = zero::read_checkpoint(*source_of(data / name), tag);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    return *checkpoint;
}

Result<std::shared_ptr<const View>> shown(const std::string& name) {
    return UniversalView::create(checkpoint_of(name), std::make_shared<FileCache>());
}

std::vector<std::string> names_of(const View& view) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        names.push_back(view.file_name(i));
    }
    return names;
}

std::shared_ptr<const pt::Archive> archive_of(const View& view, const std::string& name) {
    const auto index = view.find(name);
    EXPECT_TRUE(index.has_value()) << name;
    auto archive = pt::Archive::open(*view.open(index.value_or(0)));
    EXPECT_TRUE(archive.ok()) << archive.error().message();
    return *archive;
}

TEST(UniversalView, HoldsWhatDeepSpeedConverted) {
    const auto view = *shown("stage2_fp32_ws2");
    const fs::path root = data / "universal" / "global_step2";
    const auto converted = source_of(root);
    int count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        if (!entry.is_regular_file()) {
            continue;
        }
        const std::string path = fs::relative(entry.path(), root).string();
        const auto index = view->find(path);
        ASSERT_TRUE(index.has_value()) << path;
        ++count;
        if (path == "zero/head.weight/fp32.pt") {
            continue;  // there with the whole flat buffer behind it
        }
        EXPECT_THAT(test::graph_differences(*converted->open(path), *view->open(*index), {}), IsEmpty()) << path;
    }
    EXPECT_EQ(static_cast<std::size_t>(count), view->file_count());
}

TEST(UniversalView, SizesAndNamesAreThoseOfItsFiles) {
    for (const char* name : {"stage1_bf16_ws3", "frozen_tied_ws2", "offload_ws3", "stage3_groups_ws3", "tiny_group_ws5",
                             "pipeline_stage1_ws4", "described_tensor_parallel_stage1_ws4", "amsgrad_ws2",
                             "described_tensor_parallel_stage3_ws4", "zero_steps_ws2", "muon_ws3", "momentum_ws2"}) {
        const auto view = shown(name);
        ASSERT_TRUE(view.ok()) << name << ": " << view.error().message();
        for (std::size_t i = 0; i < (*view)->file_count(); ++i) {
            const std::string path = (*view)->file_name(i);
            EXPECT_EQ((*view)->find(path), i) << path;
            const auto size = (*view)->file_size(i);
            const auto file = (*view)->open(i);
            ASSERT_TRUE(size.ok() && file.ok()) << name << ": " << path;
            EXPECT_EQ(*size, (*file)->size()) << name << ": " << path;
        }
        EXPECT_EQ((*view)->find("zero"), std::nullopt);
        EXPECT_EQ((*view)->find("zero/nothing/fp32.pt"), std::nullopt);
    }
}

TEST(UniversalView, StepsAndExtraStatesAreKept) {
    const auto amsgrad = *shown("amsgrad_ws2");
    EXPECT_THAT(names_of(*amsgrad), Contains("zero/norm.weight/max_exp_avg_sq.pt"));
    EXPECT_TRUE(pt::is_tensor(archive_of(*amsgrad, "zero/norm.weight/step.pt")->root()));
    const auto offload = *shown("offload_ws3");
    EXPECT_EQ(archive_of(*offload, "zero/norm.weight/step.pt")->root()->integer, 2) << "an int stays one";
    EXPECT_THAT(names_of(*shown("stage3_groups_ws3").value()), Not(Contains("zero/norm.weight/step.pt")));
    // Before the first step there is no state; the masters are there all the same.
    const auto zero_steps = *shown("zero_steps_ws2");
    EXPECT_EQ(pt::tensor_ref(find(archive_of(*zero_steps, "zero/norm.weight/fp32.pt")->root(), "param"))->dtype,
              model::DType::float32);
    EXPECT_THAT(names_of(*zero_steps), Not(Contains("zero/norm.weight/exp_avg.pt")));
}

TEST(UniversalView, TensorsStandAloneAtStage3) {
    const auto view = *shown("stage3_groups_ws3");
    const auto archive = archive_of(*view, "zero/embedding.weight/exp_avg.pt");
    EXPECT_THAT(pt::tensor_ref(archive->root())->sizes, ElementsAre(77));
    EXPECT_EQ(archive->root_name(), "exp_avg");
}

TEST(UniversalView, OptimizerStateLeavesOutWhatIsSharded) {
    const auto archive = archive_of(*shown("stage2_bf16_ws4").value(), "zero/optimizer_state.pt");
    const pickle::Node* const root = archive->root();
    EXPECT_EQ(find(root, "base_optimizer_state"), nullptr);
    EXPECT_EQ(find(root, "param_groups")->items.size(), 3U);
    EXPECT_EQ(find(root, "group_paddings")->items[0]->integer, 0);
    EXPECT_EQ(find(root, "partition_count")->items[2]->integer, 4);
}

TEST(UniversalView, ListingReadsNoTensor) {
    const std::string tag = "global_step2";
    const auto counted = std::make_shared<io::CountingSource>(source_of(data / "stage2_bf16_ws4"));
    const auto checkpoint = *zero::read_checkpoint(*counted, tag);
    const auto view = *UniversalView::create(checkpoint, std::make_shared<FileCache>());
    const std::uint64_t before = counted->counters().nbytes;
    for (std::size_t i = 0; i < view->file_count(); ++i) {
        ASSERT_TRUE(view->file_size(i).ok());
        ASSERT_TRUE(view->open(i).ok());
    }
    EXPECT_EQ(counted->counters().nbytes, before);
    EXPECT_GT(before, 0U);
}

TEST(UniversalView, RefusesWhatCannotBeSaid) {
    EXPECT_THAT(shown("elastic_ws3").error().message(), HasSubstr("elastic"));
    EXPECT_THAT(shown("stage0_ws2").error().message(), HasSubstr("stage 0"));
    const auto cut = shown("tensor_parallel_stage1_ws4");
    EXPECT_EQ(cut.error().code(), ErrorCode::unsupported);
    EXPECT_THAT(cut.error().message(), HasSubstr("universal_checkpoint_info"));
}

}  // namespace
}  // namespace universal
}  // namespace ckptfs::view
