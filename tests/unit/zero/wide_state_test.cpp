// State dicts with very many keys: what is done for each key must not go through all of them. Quadratic, these tests
// take longer than ctest waits.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/effort.h"
#include "support/memory_source.h"
#include "support/test_data.h"
#include "zero/reader.h"

namespace ckptfs::zero {
namespace wide_state {
namespace {

namespace fs = std::filesystem;
using pickle::Node;

constexpr std::size_t key_count = test::unless_looking_for_races(100'000, 1'000);

const Node* state_dicts_of(const Node* root) {
    const Node* optimizer = pickle::find(root, "optimizer_state_dict");
    const Node* plain = pickle::find(optimizer, "base_optimizer_state");
    return pickle::find(plain != nullptr ? plain : pickle::find(optimizer, "optimizer_state_dict"), "state");
}

/// The file with key_count more scalars in the state dict of its first parameter.
std::string widened(const std::string& name, const std::string& bytes) {
    test::MemorySource source;
    source.add(name, bytes);
    const auto archive = pt::Archive::open(*source.open(name)).value();
    pt::ArchiveEditor editor(archive);
    const Node* states = pickle::find(state_dicts_of(archive->root()), std::int64_t{0});
    std::vector<const Node*> items = states->items;
    for (std::size_t i = 0; i < key_count; ++i) {
        items.push_back(editor.pickle().string("key " + std::to_string(i)));
        items.push_back(editor.pickle().integer(7));
    }
    editor.pickle().replace(states, editor.pickle().dict(std::move(items)));
    const auto edited = editor.lay_out(name, nullptr).value();
    std::string out(edited->size(), '\0');
    EXPECT_TRUE(edited->read(0, std::as_writable_bytes(std::span(out))).ok());
    return out;
}

class WideState : public testing::TestWithParam<std::string> {};

TEST_P(WideState, IsReadInLinearTime) {
    const fs::path directory = test_data() / "zero" / GetParam();
    std::string tag;
    std::ifstream(directory / "latest") >> tag;
    test::MemorySource source;
    for (const auto& entry : fs::directory_iterator(directory / tag)) {
        const std::string name = entry.path().filename().string();
        std::ifstream stream(entry.path(), std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
        source.add("tag/" + name, name.find("optim_states") == std::string::npos ? bytes : widened(name, bytes));
    }
    const auto checkpoint = read_checkpoint(source, "tag");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    EXPECT_EQ((*checkpoint)->families.front().groups.front().states.size(), 2U);
}

INSTANTIATE_TEST_SUITE_P(Stages, WideState, testing::Values("stage1_bf16_ws3", "stage3_bf16_ws3"),
                         [](const auto& stage) { return stage.param; });

}  // namespace
}  // namespace wide_state
}  // namespace ckptfs::zero
