// What the trees of golden pickles look like.
#include <bit>
#include <cmath>

#include "unit/pt/pickle_test_data.h"

namespace ckptfs::pickle::test {
namespace {

const Node* item_at(const Node* node, std::size_t index) {
    return node->items.at(index);
}

class PickleParser : public testing::TestWithParam<int> {
 protected:
    const Node* root(const std::string& name) {
        tree_ = parsed(golden(name + "." + std::to_string(GetParam()) + ".c"));
        return tree_->root();
    }

 private:
    std::shared_ptr<const Tree> tree_;
};

TEST_P(PickleParser, Scalars) {
    const Node* list = root("scalars");
    ASSERT_EQ(list->kind, Kind::list);
    ASSERT_EQ(list->items.size(), 6U);
    EXPECT_EQ(item_at(list, 0)->kind, Kind::none);
    EXPECT_EQ(item_at(list, 1)->kind, Kind::boolean);
    EXPECT_EQ(item_at(list, 1)->integer, 1);
    EXPECT_EQ(item_at(list, 2)->integer, 0);
    EXPECT_EQ(item_at(list, 4)->kind, Kind::object);  // complex(0.0, 1.0)
    EXPECT_EQ(item_at(item_at(list, 4), 1)->items.at(1)->real, 1.0);
}

TEST_P(PickleParser, Integers) {
    const Node* list = root("integers");
    const std::vector<std::int64_t> first = {0,     1,         255,          256,       65535,
                                             65536, INT32_MAX, 0x80000000LL, INT32_MIN, INT32_MIN - 1LL};
    for (std::size_t i = 0; i < first.size(); ++i) {
        EXPECT_EQ(item_at(list, i)->kind, Kind::integer);
        EXPECT_EQ(item_at(list, i)->integer, first[i]);
    }
    // 2^63 - 1, 2^63, -2^63, -2^63 - 1
    EXPECT_EQ(item_at(list, 22)->integer, INT64_MAX);
    EXPECT_EQ(item_at(list, 23)->kind, Kind::big_integer);
    EXPECT_EQ(item_at(list, 23)->text, raw("\0\0\0\0\0\0\0\x80\0"));
    EXPECT_EQ(item_at(list, 24)->integer, INT64_MIN);
    EXPECT_EQ(item_at(list, 25)->text, raw("\xff\xff\xff\xff\xff\xff\xff\x7f\xff"));
    EXPECT_EQ(list->items.back()->integer, -129);
}

TEST_P(PickleParser, Reals) {
    const Node* list = root("reals");
    EXPECT_TRUE(std::signbit(item_at(list, 1)->real));
    EXPECT_EQ(item_at(list, 2)->real, 1.5);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(item_at(list, 5)->real), 0x7ff0000000000001U);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(item_at(list, 6)->real), 0xfff8000000000123U);
}

TEST_P(PickleParser, Strings) {
    const Node* list = root("strings");
    EXPECT_TRUE(is_string(item_at(list, 0), ""));
    EXPECT_TRUE(is_string(item_at(list, 2), "\xc3\xa9"));
    EXPECT_TRUE(is_string(item_at(list, 3), "\xed\xa0\x80"));  // a lone surrogate
    EXPECT_TRUE(is_string(item_at(list, 6), std::string(256, 'x')));
    EXPECT_TRUE(is_string(item_at(list, 7), std::string_view("\0", 1)));
}

TEST_P(PickleParser, IdentityIsKept) {
    const Node* list = root("shared");
    EXPECT_EQ(item_at(list, 0), item_at(list, 1));
    EXPECT_EQ(item_at(list, 2), item_at(list, 3));
    EXPECT_EQ(find(item_at(list, 4), "a"), item_at(list, 2));
    EXPECT_NE(item_at(list, 5), item_at(list, 6));
    EXPECT_EQ(item_at(item_at(list, 5), 0), item_at(item_at(list, 6), 0));
    EXPECT_NE(item_at(list, 8), item_at(list, 2));  // equal but another
    EXPECT_EQ(item_at(item_at(list, 8), 0)->text, item_at(item_at(list, 2), 0)->text);
}

TEST_P(PickleParser, ValuesMayContainThemselves) {
    const Node* list = root("recursive");
    EXPECT_EQ(item_at(item_at(list, 0), 0), item_at(list, 0));
    EXPECT_EQ(find(item_at(list, 1), "self"), item_at(list, 1));
    for (std::size_t i = 2; i < 6; ++i) {
        ASSERT_EQ(item_at(list, i)->kind, Kind::tuple);
        EXPECT_EQ(item_at(list, i)->items.size(), i - 1);
        EXPECT_EQ(item_at(item_at(item_at(list, i), 0), 0), item_at(list, i));
    }
    EXPECT_EQ(find(state_of(item_at(list, 7)), "me"), item_at(list, 7));
    const Node* reduced = item_at(list, 9);
    ASSERT_TRUE(is_object_of(reduced, "golden", "Reduced"));
    EXPECT_EQ(item_at(item_at(item_at(reduced, 1), 0), 0), reduced);
    EXPECT_EQ(item_at(item_at(item_at(reduced, 1), 1), 0), reduced);
}

TEST_P(PickleParser, OrderedDictsAreDicts) {
    const Node* dict = root("ordered");
    EXPECT_EQ(dict_items(dict).size(), 5U);
    EXPECT_TRUE(is_dict_like(find(dict, "empty")));
    EXPECT_TRUE(dict_items(find(dict, "empty")).empty());
    const Node* two = find(dict, "two");
    EXPECT_TRUE(is_object_of(two, "collections", "OrderedDict"));
    ASSERT_EQ(dict_items(two).size(), 2U);
    EXPECT_TRUE(is_string(dict_items(two)[1].first, "b"));
    EXPECT_EQ(find(two, "a")->integer, 1);
    EXPECT_EQ(find(two, "c"), nullptr);
    EXPECT_EQ(find(find(dict, "default"), "k")->kind, Kind::list);
}

TEST_P(PickleParser, PersistentIds) {
    const Node* list = root("persistent");
    const Node* storage = item_at(list, 1);
    ASSERT_EQ(storage->kind, Kind::persistent_id);
    EXPECT_NE(storage, item_at(list, 2));
    ASSERT_EQ(item_at(storage, 0)->kind, Kind::tuple);
    EXPECT_TRUE(is_string(item_at(item_at(storage, 0), 0), "storage"));
    EXPECT_TRUE(is_global(item_at(item_at(storage, 0), 1), "golden", "Plain"));
    EXPECT_EQ(item_at(item_at(item_at(list, 3), 0), 1)->kind, Kind::persistent_id);
}

TEST_P(PickleParser, StateSettersAreMutations) {
    const Node* object = item_at(root("setter"), 0);
    ASSERT_TRUE(is_object_of(object, "golden", "WithSetter"));
    ASSERT_EQ(object->mutations.size(), 1U);
    ASSERT_EQ(object->mutations[0].kind, Mutation::Kind::call);
    const Node* call = object->mutations[0].items.at(0);
    EXPECT_TRUE(is_object_of(call, "golden", "set_state"));
    EXPECT_EQ(item_at(item_at(call, 1), 0), object);
}

TEST_P(PickleParser, Extensions) {
    const Node* list = root("extensions");
    EXPECT_EQ(item_at(list, 0)->kind, Kind::extension);
    EXPECT_EQ(item_at(list, 0)->integer, 5);
    EXPECT_EQ(item_at(list, 1)->integer, 500);
    EXPECT_EQ(item_at(list, 2)->integer, 500'000);
}

INSTANTIATE_TEST_SUITE_P(Protocols, PickleParser, testing::Values(2, 3, 4, 5));

TEST(PickleParserKinds, SetsAreValuesFromProtocol4On) {
    const auto tree = parsed(golden("sets.4.c"));
    EXPECT_EQ(item_at(tree->root(), 6)->kind, Kind::set);
    EXPECT_EQ(item_at(tree->root(), 6)->items.size(), 1000U);
    EXPECT_EQ(item_at(tree->root(), 9)->kind, Kind::frozenset);
    EXPECT_EQ(item_at(tree->root(), 9)->items.size(), 1001U);
}

TEST(PickleParserKinds, Buffers) {
    const auto tree = parsed(golden("buffers.5.c"));
    EXPECT_EQ(item_at(tree->root(), 0)->kind, Kind::buffer);
    EXPECT_EQ(item_at(tree->root(), 0)->integer, 1);
    EXPECT_EQ(item_at(tree->root(), 1)->integer, 0);
    const auto in_band = parsed(golden("buffers-in-band.5.c"));
    EXPECT_EQ(item_at(in_band->root(), 1)->kind, Kind::bytearray);
    EXPECT_EQ(item_at(in_band->root(), 1)->text, "writable");
}

TEST(PickleParserKinds, TorchStateDicts) {
    const auto tree = parsed(golden("torch.2.c"));
    const Node* module = find(tree->root(), "module");
    EXPECT_TRUE(is_object_of(module, "collections", "OrderedDict"));
    EXPECT_EQ(find(module, "0.weight")->kind, Kind::object);
    EXPECT_TRUE(is_object_of(find(module, "0.weight"), "torch._utils", "_rebuild_tensor_v2"));
    EXPECT_TRUE(is_dict_like(find(state_of(module), "_metadata")));
    const Node* state = find(find(tree->root(), "optimizer"), "state");
    EXPECT_NE(find(find(state, std::int64_t{0}), "exp_avg"), nullptr);
    EXPECT_EQ(find(state, std::int64_t{99}), nullptr);
}

TEST(PickleQueries, NothingIsAskedOfNothing) {
    EXPECT_FALSE(is_global(nullptr, "a", "b"));
    EXPECT_FALSE(is_object_of(nullptr, "a", "b"));
    EXPECT_FALSE(is_dict_like(nullptr));
    EXPECT_FALSE(is_string(nullptr, ""));
    EXPECT_TRUE(dict_items(nullptr).empty());
    EXPECT_EQ(find(nullptr, "key"), nullptr);
    EXPECT_EQ(find(nullptr, std::int64_t{0}), nullptr);
    EXPECT_EQ(state_of(nullptr), nullptr);
}

// As in Python, where a later SETITEM wins.
TEST(PickleQueries, TheLastOfEqualKeysCounts) {
    const auto tree = parsed(raw("\x80\x02}(X\x01\x00\x00\0aK\x01X\x01\x00\x00\0aK\x02u."));
    EXPECT_EQ(find(tree->root(), "a")->integer, 2);
    EXPECT_EQ(dict_items(tree->root()).size(), 2U);
}

}  // namespace
}  // namespace ckptfs::pickle::test
