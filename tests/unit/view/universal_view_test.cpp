// The universal view of real checkpoints: what ds_to_universal wrote of one, and of others the values of the source.
#include "view/universal_view.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/edited_tag.h"
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

using Renamed = std::map<std::string, std::string>;

/// Other keys in a dict, each node once however often it is named.
void rename_keys(pickle::Editor& editor, const pickle::Node* dict, const Renamed& names) {
    std::set<const pickle::Node*> keys;
    for (const auto& [key, value] : pickle::dict_items(dict)) {
        if (names.contains(key->text) && keys.insert(key).second) {
            editor.replace(key, editor.string(names.at(key->text)));
        }
    }
}

/// Parameters get other names in all files whose names contain `part`.
void rename_parameters(test::EditedTag& tag, const std::string& part, const Renamed& names) {
    for (const std::string& file : tag.names(part)) {
        for (const test::KeyPath& path :
             {test::KeyPath{"param_shapes"}, test::KeyPath{"optimizer_state_dict", "param_slice_mappings"}}) {
            tag.edit(file, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
                if (const pickle::Node* list = test::at_path(root, path)) {
                    for (const pickle::Node* dict : list->items) {
                        rename_keys(editor.pickle(), dict, names);
                    }
                }
            });
        }
        tag.edit(file, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            if (const pickle::Node* module = test::at_path(root, {"module"})) {
                rename_keys(editor.pickle(), module, names);
            }
        });
    }
}

void rename_states(test::EditedTag& tag, const Renamed& names) {
    for (const std::string& file : tag.names("optim_states")) {
        for (std::int64_t group = 0; group < 3; ++group) {
            tag.edit(file, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
                const test::KeyPath path{"optimizer_state_dict", "base_optimizer_state", "state", group};
                if (const pickle::Node* states = test::at_path(root, path)) {
                    rename_keys(editor.pickle(), states, names);
                }
            });
        }
    }
}

Result<std::shared_ptr<const View>> shown(const test::EditedTag& tag) {
    CKPTFS_ASSIGN(auto checkpoint, zero::read_checkpoint(*tag.source(), "tag"));
    return UniversalView::create(std::move(checkpoint), std::make_shared<FileCache>());
}

void expect_refused(const Result<std::shared_ptr<const View>>& view, ErrorCode code, const std::string& words) {
    ASSERT_FALSE(view.ok());
    EXPECT_EQ(view.error().code(), code);
    EXPECT_THAT(view.error().message(), HasSubstr(words));
}

/// A map of two ranks that puts slices of `numel` elements side by side.
void add_affine_map(test::EditedTag& tag, const std::string& file, const std::string& pattern, std::int64_t numel) {
    tag.edit(file, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
        pickle::Editor& pickle = editor.pickle();
        const auto number = [&](std::int64_t value) { return pickle.integer(value); };
        const auto strided = [&](std::int64_t offset) {
            return pickle.tuple({number(offset), pickle.tuple({number(1)})});
        };
        std::vector<const pickle::Node*> ranks;
        for (std::int64_t rank = 0; rank < 2; ++rank) {
            const pickle::Node* piece =
                pickle.dict({pickle.string("shape"), pickle.tuple({number(numel)}), pickle.string("source"),
                             strided(rank * numel), pickle.string("dest"), strided(0)});
            ranks.push_back(number(rank));
            ranks.push_back(pickle.dict({pickle.string("pieces"), pickle.list({piece})}));
        }
        const pickle::Node* map = pickle.dict({pickle.string("logical_shape"), pickle.tuple({number(2 * numel)}),
                                               pickle.string("ranks"), pickle.dict(ranks)});
        const pickle::Node* old = test::at_path(root, {"universal_checkpoint_info"});
        pickle::Node* extended = pickle.copy(old);
        const pickle::Node* maps = pickle.dict({pickle.string("params"), pickle.dict({pickle.string(pattern), map})});
        extended->items.insert(extended->items.end(), {pickle.string("affine_map"), maps});
        pickle.replace(old, extended);
    });
}

TEST(UniversalView, EveryTensorParallelRankHasEveryParameterOnce) {
    const std::string fixture = "described_tensor_parallel_stage1_ws4";
    test::EditedTag missing(fixture);
    rename_parameters(missing, "mp_rank_01", {{"blocks.0.up.bias", "blocks.0.other.bias"}});
    for (const std::string& file : missing.names("model_states")) {
        add_affine_map(missing, file, "^blocks.0.up.bias$", 6);
    }
    expect_refused(shown(missing), ErrorCode::inconsistent, "the parameter 'blocks.0.up.bias' 0 times");
    EXPECT_THAT(shown(missing).error().message(), HasSubstr("mp_rank_01_model_states.pt"));
    test::EditedTag whole(fixture);
    for (const std::string& file : whole.names("model_states")) {
        add_affine_map(whole, file, "^blocks.0.up.bias$", 6);
    }
    const auto view = shown(whole);
    EXPECT_TRUE(view.ok()) << view.error().message();
    // The reader refuses such files for other reasons first.
    const auto twice = std::const_pointer_cast<zero::Written>(checkpoint_of(fixture));
    std::vector<model::Group>& groups = twice->content.ranks[1].groups;
    groups[1].parameters.push_back(groups[0].parameters[0]);
    expect_refused(UniversalView::create(twice, std::make_shared<FileCache>()), ErrorCode::inconsistent,
                   "the parameter 'embedding.weight' 2 times");
}

TEST(UniversalView, SizesDoNotMixUpNamesWithSpaces) {
    test::EditedTag tag("described_tensor_parallel_stage1_ws4");
    rename_parameters(tag, "", {{"blocks.0.up.bias", "a"}, {"blocks.0.up.weight", "a b"}});
    rename_states(tag, {{"exp_avg", "c"}, {"exp_avg_sq", "b c"}});
    const std::string info = "universal_checkpoint_info";
    for (const std::string& file : tag.names("model_states")) {
        tag.set(file, {info, "universal_checkpoint_version"}, [](pickle::Editor& pickle) { return pickle.integer(0); });
        tag.edit(file, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            pickle::Editor& pickle = editor.pickle();
            const pickle::Node* old = test::at_path(root, {info});
            pickle::Node* extended = pickle.copy(old);
            const pickle::Node* entry =
                pickle.dict({pickle.string("patterns"), pickle.list({pickle.string("^a")}), pickle.string("shape"),
                             pickle.list({pickle.integer(2), pickle.integer(-1)}), pickle.string("partition_dim"),
                             pickle.integer(0)});
            extended->items.insert(extended->items.end(),
                                   {pickle.string("parameter_with_sub_params"), pickle.list({entry})});
            pickle.replace(old, extended);
        });
    }
    const auto view = shown(tag);
    ASSERT_TRUE(view.ok()) << view.error().message();
    for (const std::string path : {"zero/a b/c.pt", "zero/a/b c.pt"}) {
        const auto index = (*view)->find(path);
        ASSERT_TRUE(index.has_value()) << path;
        EXPECT_EQ((*view)->file_size(*index).value(), (*(*view)->open(*index))->size()) << path;
    }
}

TEST(UniversalView, NamesWithSlashesAreDirectories) {
    test::EditedTag tag("stage2_fp32_ws2");
    rename_parameters(tag, "", {{"norm.weight", "norm/weight"}, {"norm.bias", "norm"}});
    const auto view = shown(tag);
    ASSERT_TRUE(view.ok()) << view.error().message();
    EXPECT_THAT(names_of(**view), Contains("zero/norm/weight/fp32.pt"));
    EXPECT_THAT(names_of(**view), Contains("zero/norm/fp32.pt"));
    EXPECT_NE(pickle::find(archive_of(**view, "zero/norm/weight/fp32.pt")->root(), "param"), nullptr);
    const std::vector<ViewEntry>* const entries = (*view)->directories()->find("zero/norm");
    ASSERT_NE(entries, nullptr);
    EXPECT_TRUE(std::any_of(entries->begin(), entries->end(),
                            [](const ViewEntry& entry) { return entry.name == "weight" && !entry.file; }));
}

TEST(UniversalView, NamesThatMakeNoTreeAreRefused) {
    const Renamed words{{"norm//weight", "in the name 'norm//weight'"},
                        {"/norm", "in the name '/norm'"},
                        {"../../norm", "'..' is no name for a file"},
                        {"", "'' is no name for a file"},
                        {std::string(256, 'x'), "256 bytes"},
                        {"norm.bias/fp32.pt", "'zero/norm.bias/fp32.pt' would be a file, and"},
                        {"norm.bias/step.pt/x", "'zero/norm.bias/step.pt' would be a file, and"},
                        {"optimizer_state.pt", "'zero/optimizer_state.pt' would be a file, and"}};
    for (const auto& [name, finding] : words) {
        test::EditedTag tag("stage2_fp32_ws2");
        rename_parameters(tag, "", {{"norm.weight", name}});
        const auto view = shown(tag);
        expect_refused(view, ErrorCode::unsupported, finding);
        EXPECT_THAT(view.error().message(), HasSubstr("mp_rank_00_model_states.pt"));
    }
    for (const std::string state : {"fp32", "step "}) {
        test::EditedTag tag("stage2_fp32_ws2");
        rename_states(tag, {{"exp_avg", state}});
        const auto view = shown(tag);
        EXPECT_EQ(view.ok(), state != "fp32");
        if (!view.ok()) {
            expect_refused(view, ErrorCode::unsupported, "a state called 'fp32'");
        }
    }
}

TEST(UniversalView, IsOfferedWhereItCanBeMade) {
    const auto offers = [](const std::string& name) {
        const ViewOptions options;
        const Ingredients ingredients{checkpoint_of(name), options, std::make_shared<FileCache>(), "tag", name};
        return kind_of(ViewKind::universal).suggestions(ingredients).size();
    };
    EXPECT_EQ(offers("described_tensor_parallel_stage1_ws4"), 1U);
    EXPECT_EQ(offers("tensor_parallel_stage1_ws4"), 0U);
    EXPECT_EQ(offers("elastic_ws3"), 0U);
    EXPECT_EQ(offers("stage0_ws2"), 0U);
}

}  // namespace
}  // namespace universal
}  // namespace ckptfs::view
