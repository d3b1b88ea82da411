// Stage-3 tags, whole and broken in every way that the reader promises to name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "support/memory_source.h"
#include "support/test_data.h"
#include "zero/reader.h"
#include "zero/zero3_files.h"

namespace ckptfs::zero {
namespace zero3 {
namespace {

namespace fs = std::filesystem;
using pickle::Node;
using testing::HasSubstr;

const fs::path data = test_data() / "zero";
const std::string fixture = "stage3_sub_groups_ws3";

std::string states_name(int rank) {
    return "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_model_states.pt";
}

std::string optimizer_name(int rank) {
    return "bf16_zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_optim_states.pt";
}

std::string bytes_of(const std::string& checkpoint, const std::string& name) {
    std::string tag;
    std::ifstream(data / checkpoint / "latest") >> tag;
    std::ifstream stream(data / checkpoint / tag / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

/// The files of a tag, which a test may remove, replace and edit.
class Zero3Tag : public testing::Test {
 protected:
    using Edit = std::function<void(pt::ArchiveEditor&, const Node* root)>;

    Zero3Tag() {
        for (int rank = 0; rank < 3; ++rank) {
            for (const std::string& name : {states_name(rank), optimizer_name(rank)}) {
                files_[name] = bytes_of(fixture, name);
            }
        }
    }

    void edit(const std::string& name, const Edit& change) {
        test::MemorySource source;
        source.add(name, files_.at(name));
        const auto archive = pt::Archive::open(*source.open(name)).value();
        pt::ArchiveEditor editor(archive);
        change(editor, archive->root());
        const auto edited = editor.lay_out(name, nullptr).value();
        std::string bytes(edited->size(), '\0');
        ASSERT_TRUE(edited->read(0, std::as_writable_bytes(std::span(bytes))).ok());
        files_[name] = bytes;
    }

    void edit_all(const std::function<std::string(int)>& name, const Edit& change) {
        for (int rank = 0; rank < 3; ++rank) {
            edit(name(rank), change);
        }
    }

    Result<std::shared_ptr<const Written>> read() {
        for (const auto& [name, bytes] : files_) {
            source_.add("tag/" + name, bytes);
        }
        return read_checkpoint(source_, "tag");
    }

    void expect_error(ErrorCode code, const std::string& text) {
        const auto checkpoint = read();
        ASSERT_FALSE(checkpoint.ok());
        EXPECT_EQ(checkpoint.error().code(), code) << checkpoint.error().message();
        EXPECT_THAT(checkpoint.error().message(), HasSubstr(text));
    }

    std::map<std::string, std::string> files_;
    test::MemorySource source_;
};

const Node* optimizer_of(const Node* root) {
    return pickle::find(root, "optimizer_state_dict");
}

const Node* state_of(const Node* root, std::int64_t sub_group) {
    return pickle::find(pickle::find(pickle::find(optimizer_of(root), "optimizer_state_dict"), "state"), sub_group);
}

void set_config(pt::ArchiveEditor& editor, const Node* root, const char* key, const Node* value) {
    const Node* zero = pickle::find(pickle::find(root, "ds_config"), "zero_optimization");
    pickle::Editor& pickle = editor.pickle();
    Node* changed = pickle.copy(zero);
    std::vector<const Node*> items;
    for (const auto& [name, old] : pickle::dict_items(zero)) {
        if (!pickle::is_string(name, key)) {
            items.insert(items.end(), {name, old});
        }
    }
    items.insert(items.end(), {pickle.string(key), value});
    changed->items = std::move(items);
    pickle.replace(zero, changed);
}

TEST_F(Zero3Tag, IsReadAsWhatItIs) {
    const auto read_result = read();
    ASSERT_TRUE(read_result.ok()) << read_result.error().message();
    const Written& checkpoint = **read_result;
    EXPECT_EQ(checkpoint.format, Format::zero3);
    EXPECT_EQ(checkpoint.stage, 3);
    EXPECT_EQ(checkpoint.dp_world_size, 3U);
    EXPECT_EQ(checkpoint.config.sub_group_size, 20U);
    const Family& family = checkpoint.families.front();
    EXPECT_EQ(family.model_states_of_ranks().size(), 3U);
    EXPECT_EQ(family.optimizer.size(), 3U);
    ASSERT_EQ(family.groups.size(), 2U);
    ASSERT_EQ(family.zero3->sub_groups.size(), 4U);
    EXPECT_EQ(family.zero3->sub_groups[3].group, 1U);
    const model::Rank& content = checkpoint.content.ranks.front();
    EXPECT_EQ(content.groups.front().parameters.size(), 4U);
    EXPECT_EQ(content.groups.front().states.size(), 2U);
    EXPECT_EQ(family.groups.front().states.size(), 2U);
    EXPECT_EQ(family.zero3->ds_ids.front().size(), 4U);
    // The cut that the files show is the one that the formulas give for the stored size.
    std::vector<SubGroup> computed;
    for (std::size_t g = 0; g < family.groups.size(); ++g) {
        std::vector<std::uint64_t> numels;
        for (const model::Parameter& parameter : content.groups[g].parameters) {
            numels.push_back(parameter.numel);
        }
        cut_sub_groups(g, numels, 3, 20, computed);
    }
    EXPECT_EQ(family.zero3->sub_groups, computed);
}

TEST_F(Zero3Tag, RanksOfOnePickleShareATree) {
    const auto checkpoint = read();
    ASSERT_TRUE(checkpoint.ok());
    const auto& family = (*checkpoint)->families.front();
    EXPECT_EQ(family.optimizer[0].structure, family.optimizer[2].structure);
    EXPECT_EQ(family.model_states_of_ranks()[1].structure, family.model_states_of_ranks()[2].structure);
    EXPECT_NE(family.model_states_of_ranks()[0].structure, family.model_states_of_ranks()[1].structure)
        << "only rank 0 lists the tied names";
    EXPECT_NE(family.optimizer[0].places.file(), family.optimizer[2].places.file());
}

TEST_F(Zero3Tag, MissingModelStates) {
    files_.erase(states_name(1));
    expect_error(ErrorCode::incomplete, "the model states of rank 1 are missing: dp_world_size is 3");
}

TEST_F(Zero3Tag, MissingFirstModelStates) {
    files_.erase(states_name(0));
    expect_error(ErrorCode::incomplete, states_name(0) + " is missing");
}

TEST_F(Zero3Tag, OnlyFirstModelStates) {
    files_.erase(states_name(1));
    files_.erase(states_name(2));
    expect_error(ErrorCode::incomplete, "only rank 0's are there, as when a job that runs with load_universal saves");
}

TEST_F(Zero3Tag, MissingOptimizerFile) {
    files_.erase(optimizer_name(2));
    expect_error(ErrorCode::incomplete, "the optimizer file of rank 2 is missing");
}

TEST_F(Zero3Tag, NoOptimizerFiles) {
    for (int rank = 0; rank < 3; ++rank) {
        files_.erase(optimizer_name(rank));
    }
    expect_error(ErrorCode::incomplete, "without optimizer files");
}

TEST_F(Zero3Tag, TruncatedModelStates) {
    files_[states_name(2)].resize(3000);
    expect_error(ErrorCode::incomplete, states_name(2));
}

TEST_F(Zero3Tag, ModelStatesOfAnotherWorldSize) {
    files_[states_name(1)] = bytes_of(fixture + "_at_ws2", states_name(1));
    expect_error(ErrorCode::inconsistent, "dp_world_size is 2, but rank 0's is 3");
}

TEST_F(Zero3Tag, OptimizerFileOfAnotherWorldSize) {
    files_[optimizer_name(1)] = bytes_of(fixture + "_at_ws2", optimizer_name(1));
    expect_error(ErrorCode::inconsistent, "partition_count is 2, but rank 0's is 3");
}

TEST_F(Zero3Tag, ModelStatesOfAnotherStep) {
    edit(states_name(2), [](pt::ArchiveEditor& editor, const Node* root) {
        ASSERT_TRUE(editor.pickle().set_item(root, "global_steps", editor.pickle().integer(9)).ok());
    });
    expect_error(ErrorCode::inconsistent, "global_steps is 9, but rank 0's is 2");
}

TEST_F(Zero3Tag, RankOfAnotherStep) {
    edit(optimizer_name(1), [](pt::ArchiveEditor& editor, const Node* root) {
        ASSERT_TRUE(editor.pickle().set_item(state_of(root, 0), "step", editor.pickle().integer(7)).ok());
    });
    expect_error(ErrorCode::inconsistent, "at optimizer step 7, rank 0 at step 2");
}

TEST_F(Zero3Tag, SubGroupsOfDifferentSteps) {
    edit_all(optimizer_name, [](pt::ArchiveEditor& editor, const Node* root) {
        ASSERT_TRUE(editor.pickle().set_item(state_of(root, 1), "step", editor.pickle().integer(7)).ok());
    });
    expect_error(ErrorCode::inconsistent, "sub-group 1 is at optimizer step 7, the first of its group at step 2");
}

TEST_F(Zero3Tag, StateOfSomeRanksOnly) {
    edit(optimizer_name(2), [](pt::ArchiveEditor& editor, const Node* root) {
        editor.pickle().replace(state_of(root, 0), editor.pickle().dict({}));
    });
    expect_error(ErrorCode::inconsistent, "sub-group 0 has other optimizer states");
}

TEST_F(Zero3Tag, OtherParameters) {
    edit(states_name(1), [](pt::ArchiveEditor& editor, const Node* root) {
        const Node* shapes = pickle::find(root, "param_shapes");
        ASSERT_TRUE(editor.pickle().set_item(shapes, 0, shapes->items[1]).ok());
    });
    expect_error(ErrorCode::inconsistent, "param_shapes lists other parameters than rank 0's");
}

TEST_F(Zero3Tag, ShapesThatDoNotExplainTheSubGroups) {
    edit_all(states_name, [](pt::ArchiveEditor& editor, const Node* root) {
        const Node* shapes = pickle::find(root, "param_shapes");
        ASSERT_TRUE(editor.pickle().set_item(shapes, 0, shapes->items[3]).ok());
    });
    expect_error(ErrorCode::inconsistent, "fp32_flat_groups[0] has");
}

TEST_F(Zero3Tag, ShapesThatOverflow) {
    edit_all(states_name, [](pt::ArchiveEditor& editor, const Node* root) {
        const Node* list = pickle::find(root, "param_shapes")->items[3];
        pickle::Editor& pickle = editor.pickle();
        const Node* huge = pickle.tuple({pickle.integer(std::int64_t{1} << 61)});
        ASSERT_TRUE(pickle.set_item(list, pickle::dict_items(list).front().first->text, huge).ok());
    });
    expect_error(ErrorCode::damaged, "more elements than a 64-bit count can hold");
}

TEST_F(Zero3Tag, GroupsThatDoNotCountTheSubGroups) {
    edit_all(optimizer_name, [](pt::ArchiveEditor& editor, const Node* root) {
        const Node* groups = pickle::find(pickle::find(optimizer_of(root), "optimizer_state_dict"), "param_groups");
        ASSERT_TRUE(editor.pickle().set_item(groups->items[1], "params", editor.pickle().list({})).ok());
    });
    expect_error(ErrorCode::damaged, "4 sub-groups in all groups together");
}

TEST_F(Zero3Tag, LeftOverRanksAreIgnored) {
    files_[states_name(3)] = "left over";
    files_[optimizer_name(3)] = "left over";
    const auto checkpoint = read();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->families.front().optimizer.size(), 3U);
}

TEST_F(Zero3Tag, FilesCutOtherwiseThanTheConfigSaysAreReadAsTheyAre) {
    edit_all(states_name, [](pt::ArchiveEditor& editor, const Node* root) {
        set_config(editor, root, "sub_group_size", editor.pickle().integer(1));
    });
    const auto checkpoint = read();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->config.sub_group_size, 1U);
    EXPECT_EQ((*checkpoint)->families.front().zero3->sub_groups.size(), 4U);
}

TEST_F(Zero3Tag, SizeInQuotesIsASize) {
    edit(states_name(0), [](pt::ArchiveEditor& editor, const Node* root) {
        set_config(editor, root, "sub_group_size", editor.pickle().string("40"));
    });
    const auto checkpoint = read();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->config.sub_group_size, 40U);
}

TEST_F(Zero3Tag, SettingsThatNameNoSizeGiveTheDefault) {
    edit_all(states_name, [](pt::ArchiveEditor& editor, const Node* root) {
        set_config(editor, root, "sub_group_size", editor.pickle().string("auto"));
    });
    const auto checkpoint = read();
    ASSERT_TRUE(checkpoint.ok());
    EXPECT_EQ((*checkpoint)->config.sub_group_size, default_sub_group_size);
}

TEST_F(Zero3Tag, Mics) {
    edit_all(optimizer_name, [](pt::ArchiveEditor& editor, const Node* root) {
        ASSERT_TRUE(editor.pickle().set_item(optimizer_of(root), "partition_count", editor.pickle().integer(1)).ok());
    });
    expect_error(ErrorCode::unsupported, "MiCS is not supported (partition_count is 1, dp_world_size 3)");
}

TEST_F(Zero3Tag, AllFilesOfAnotherWorldSize) {
    edit_all(optimizer_name, [](pt::ArchiveEditor& editor, const Node* root) {
        ASSERT_TRUE(editor.pickle().set_item(optimizer_of(root), "partition_count", editor.pickle().integer(4)).ok());
    });
    expect_error(ErrorCode::inconsistent, "was written by 4 ranks");
}

TEST_F(Zero3Tag, QuantisedFrozenWeights) {
    edit(states_name(0), [](pt::ArchiveEditor& editor, const Node* root) {
        set_config(editor, root, "zero_quantized_nontrainable_weights", editor.pickle().boolean(true));
    });
    expect_error(ErrorCode::unsupported, "quantisation of frozen weights is not supported");
}

TEST_F(Zero3Tag, AutomaticExpertParallelism) {
    edit(optimizer_name(0), [](pt::ArchiveEditor& editor, const Node* root) {
        pickle::Editor& pickle = editor.pickle();
        Node* changed = pickle.copy(optimizer_of(root));
        changed->items.insert(changed->items.end(), {pickle.string("ds_zero_partition_groups"), pickle.list({})});
        pickle.replace(optimizer_of(root), changed);
    });
    expect_error(ErrorCode::unsupported, "mixture of experts");
}

TEST_F(Zero3Tag, StateThatIsNotElementWise) {
    edit_all(optimizer_name, [](pt::ArchiveEditor& editor, const Node* root) {
        const Node* entry = pickle::find(state_of(root, 0), "exp_avg");
        const auto like = pt::tensor_ref(entry).value();
        PieceList zeros;
        zeros.add_zeros(8);
        const std::size_t storage = editor.add_storage(model::DType::float32, 2, "cpu", std::move(zeros));
        editor.pickle().replace(entry, editor.tensor(like, storage, 0, {2}));
    });
    expect_error(ErrorCode::unsupported, "state 'exp_avg' of sub-group 0 has 2 elements in 1 dimensions");
}

TEST_F(Zero3Tag, StatesOfSomeSubGroupsOnly) {
    edit_all(optimizer_name, [](pt::ArchiveEditor& editor, const Node* root) {
        pickle::Editor& pickle = editor.pickle();
        const Node* states = pickle::find(pickle::find(optimizer_of(root), "optimizer_state_dict"), "state");
        Node* changed = pickle.copy(states);
        changed->items.erase(changed->items.begin(), changed->items.begin() + 2);
        pickle.replace(states, changed);
    });
    expect_error(ErrorCode::unsupported, "sub-group 0 has no optimizer states, sub-group 1 has");
}

TEST_F(Zero3Tag, NumbersOfParametersThatNoEngineGivesAreNotTaken) {
    for (const char* text : {"9223372036854775807_1", "1_9223372036854775808", "-1_2", "1", "_", "1_2_3"}) {
        edit_all(optimizer_name, [text](pt::ArchiveEditor& editor, const Node* root) {
            const Node* masters = pickle::find(optimizer_of(root), "fp32_flat_groups");
            const Node* attributes = attributes_with_ds_id(masters->items.front());
            ASSERT_TRUE(editor.pickle().set_item(attributes, "ds_id", editor.pickle().string(text)).ok());
        });
        const auto checkpoint = read();
        ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
        EXPECT_TRUE((*checkpoint)->families.front().zero3->ds_ids.empty()) << text;
    }
}

TEST_F(Zero3Tag, SwappedToNvme) {
    edit(states_name(0), [](pt::ArchiveEditor& editor, const Node* root) {
        pickle::Editor& pickle = editor.pickle();
        set_config(editor, root, "offload_optimizer", pickle.dict({pickle.string("device"), pickle.string("nvme")}));
    });
    expect_error(ErrorCode::unsupported, "NVMe");
}

TEST(Zero3Frozen, FragmentsAreMapped) {
    test::MemorySource source;
    for (int rank = 0; rank < 2; ++rank) {
        for (const std::string& name : {states_name(rank), optimizer_name(rank)}) {
            source.add("tag/" + name, bytes_of("stage3_frozen_tied_ws2", name));
        }
    }
    const auto checkpoint = read_checkpoint(source, "tag");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    const auto& frozen = (*checkpoint)->families.front().zero3->frozen;
    ASSERT_EQ(frozen.size(), 2U);
    for (const FrozenFragments& fragments : frozen) {
        const model::Elements& elements = *fragments.parameter.weight;
        EXPECT_EQ(fragments.shards.size(), 2U);
        EXPECT_EQ(elements.dtype(), model::DType::bfloat16);
        const auto& map = std::get<model::ElementMap>(elements.rule());
        EXPECT_EQ(map.shards.data(), fragments.shards.data());
        EXPECT_EQ(map.shard_numel, partition_numel(fragments.parameter.numel, 2));
    }
}

}  // namespace
}  // namespace zero3
}  // namespace ckptfs::zero
