// Editing a pickle: what changes, what stays, and how new values are written.
#include <functional>

#include "unit/pt/pickle_test_data.h"

namespace ckptfs::pickle::test {
namespace {

std::string written_root(int protocol, const std::function<const Node*(Editor&)>& make) {
    Editor editor(parsed(raw("\x80") + static_cast<char>(protocol) + "N."));
    editor.replace(editor.base().root(), make(editor));
    std::string bytes = written(editor);
    const std::string header = raw("\x80") + static_cast<char>(protocol);
    EXPECT_EQ(bytes.substr(0, 2), header);
    EXPECT_EQ(bytes.back(), '.');
    return bytes.substr(2, bytes.size() - 3);
}

TEST(PickleEditor, ScalarsAsPythonWritesThem) {
    const auto integer = [](std::int64_t value) {
        return written_root(2, [&](Editor& editor) { return editor.integer(value); });
    };
    EXPECT_EQ(integer(0), raw("K\0"));
    EXPECT_EQ(integer(255), raw("K\xff"));
    EXPECT_EQ(integer(256), raw("M\0\x01"));
    EXPECT_EQ(integer(65535), raw("M\xff\xff"));
    EXPECT_EQ(integer(65536), raw("J\0\0\x01\0"));
    EXPECT_EQ(integer(-1), raw("J\xff\xff\xff\xff"));
    EXPECT_EQ(integer(INT32_MIN), raw("J\0\0\0\x80"));
    EXPECT_EQ(integer(0x80000000LL), raw("\x8a\x05\0\0\0\x80\0"));
    EXPECT_EQ(integer(INT32_MIN - 1LL), raw("\x8a\x05\xff\xff\xff\x7f\xff"));
    EXPECT_EQ(integer(INT64_MIN), raw("\x8a\x08\0\0\0\0\0\0\0\x80"));
    EXPECT_EQ(written_root(2, [](Editor& editor) { return editor.none(); }), "N");
    EXPECT_EQ(written_root(2, [](Editor& editor) { return editor.boolean(true); }), "\x88");
    EXPECT_EQ(written_root(2, [](Editor& editor) { return editor.boolean(false); }), "\x89");
}

TEST(PickleEditor, StringsByProtocol) {
    EXPECT_EQ(written_root(2, [](Editor& editor) { return editor.string("ab"); }), raw("X\x02\0\0\0abq\0"));
    EXPECT_EQ(written_root(4, [](Editor& editor) { return editor.string("ab"); }),
              raw("\x95\x06\0\0\0\0\0\0\0\x8c\2ab\x94"));
}

TEST(PickleEditor, ContainersAsPythonWritesThem) {
    const auto ones = [](Editor& editor, std::size_t count) {
        return std::vector<const Node*>(count, editor.integer(1));
    };
    const auto tuple = [&](std::size_t count) {
        return written_root(2, [&](Editor& editor) { return editor.tuple(ones(editor, count)); });
    };
    EXPECT_EQ(tuple(0), ")");
    EXPECT_EQ(tuple(1), raw("K\x01\x85q\0"));
    EXPECT_EQ(tuple(3), raw("K\x01K\x01K\x01\x87q\0"));
    EXPECT_EQ(tuple(4), raw("(K\x01K\x01K\x01K\x01tq\0"));
    const auto list = [&](std::size_t count) {
        return written_root(2, [&](Editor& editor) { return editor.list(ones(editor, count)); });
    };
    EXPECT_EQ(list(0), raw("]q\0"));
    EXPECT_EQ(list(1), raw("]q\0K\1a"));
    EXPECT_EQ(list(2), raw("]q\0(K\x01K\1e"));
    EXPECT_EQ(list(1000).substr(2000), raw("K\x01K\1e"));
    EXPECT_EQ(list(1001).substr(2000), raw("K\x01K\1e(K\1e"));
    const auto dict = [&](std::size_t count) {
        return written_root(2, [&](Editor& editor) { return editor.dict(ones(editor, 2 * count)); });
    };
    EXPECT_EQ(dict(0), raw("}q\0"));
    EXPECT_EQ(dict(1), raw("}q\0K\x01K\x01s"));
    EXPECT_EQ(dict(2), raw("}q\0(K\x01K\x01K\x01K\x01u"));
    EXPECT_EQ(dict(1000).substr(4002), raw("K\x01u(u"));  // the C pickler's quirk
}

TEST(PickleEditor, ObjectsByProtocol) {
    const auto make = [](Editor& editor) { return editor.reduce(editor.global("m", "f"), editor.tuple({})); };
    EXPECT_EQ(written_root(2, make), raw("cm\nf\nq\0)Rq\x01"));
    EXPECT_EQ(written_root(4, make), raw("\x95\x0e\0\0\0\0\0\0\0\x8c\x01m\x94\x8c\1f\x94\x93\x94)R\x94"));
    EXPECT_EQ(written_root(2, [](Editor& editor) { return editor.persistent_id(editor.string("k")); }),
              raw("X\x01\0\0\0kq\0Q"));
}

TEST(PickleEditor, ReplacingReachesEveryReference) {
    Editor editor(parsed(golden("shared.2.c")));
    const Node* list = editor.base().root();
    editor.replace(list->items[2], editor.integer(7));
    const auto tree = parsed(written(editor));
    const Node* root = tree->root();
    EXPECT_EQ(root->items[2]->integer, 7);
    EXPECT_EQ(root->items[3]->integer, 7);
    EXPECT_EQ(find(root->items[4], "a")->integer, 7);
    EXPECT_EQ(root->items[5]->items[0]->integer, 7);
    EXPECT_EQ(root->items[8]->kind, Kind::list);  // the equal one is another
    EXPECT_EQ(editor.base().root()->items[2]->kind, Kind::list);
}

TEST(PickleEditor, ReplacementsCanBeReplacedAndTakenBack) {
    const std::string bytes = protocol2("](K\x01K\2e.");
    Editor editor(parsed(bytes));
    const Node* first = editor.root()->items[0];
    const Node* second = editor.integer(5);
    editor.replace(first, second);
    editor.replace(first, editor.integer(6));
    EXPECT_EQ(written(editor), protocol2("](K\x06K\2e."));
    EXPECT_EQ(editor.resolve(second)->integer, 6);
    editor.replace(second, first);
    EXPECT_EQ(written(editor), bytes);
    editor.replace(first, first);
    EXPECT_EQ(written(editor), bytes);
}

TEST(PickleEditor, UneditedNeighboursKeepTheirBytes) {
    // BININT2 and BINUNICODE where Python would be shorter.
    Editor editor(parsed(raw("\x80\x04](M\x01\0X\x01\0\0\0aK\2e.")));
    ASSERT_TRUE(editor.set_item(editor.root(), 2, editor.integer(300)).ok());
    EXPECT_EQ(written(editor).substr(11), raw("](M\x01\0X\x01\0\0\0aM\x2c\1e."));
}

TEST(PickleEditor, SetItemOfDicts) {
    for (const char* name : {"ordered.2.c", "ordered.4.c"}) {
        Editor editor(parsed(golden(name)));
        const Node* two = find(editor.base().root(), "two");
        ASSERT_TRUE(editor.set_item(two, "a", editor.string("new")).ok());
        ASSERT_TRUE(editor.set_item(two, "b", editor.none()).ok());
        ASSERT_TRUE(editor.set_item(editor.base().root(), "one", editor.none()).ok());
        EXPECT_EQ(editor.set_item(two, "c", editor.none()).error().code(), ErrorCode::internal);
        EXPECT_EQ(editor.set_item(find(two, "a"), "c", editor.none()).error().code(), ErrorCode::internal);
        const auto tree = parsed(written(editor));
        const auto entries = dict_items(find(tree->root(), "two"));
        ASSERT_EQ(entries.size(), 2U);
        EXPECT_TRUE(is_string(entries[0].first, "a"));
        EXPECT_TRUE(is_string(entries[0].second, "new"));
        EXPECT_EQ(entries[1].second->kind, Kind::none);
        EXPECT_EQ(find(tree->root(), "one")->kind, Kind::none);
        EXPECT_EQ(find(find(editor.base().root(), "two"), "a")->integer, 1);
    }
}

TEST(PickleEditor, SetItemOfSequences) {
    Editor editor(parsed(golden("tuples.2.c")));
    const Node* root = editor.base().root();
    ASSERT_TRUE(editor.set_item(root->items[4], 3, editor.none()).ok());
    ASSERT_TRUE(editor.set_item(root, 0, editor.boolean(true)).ok());
    EXPECT_EQ(editor.set_item(root, 99, editor.none()).error().code(), ErrorCode::internal);
    EXPECT_EQ(editor.set_item(root->items[6], 0, editor.none()).error().code(), ErrorCode::internal);
    const auto tree = parsed(written(editor));
    EXPECT_EQ(tree->root()->items[0]->integer, 1);
    EXPECT_EQ(tree->root()->items[4]->items[3]->kind, Kind::none);
}

TEST(PickleEditor, CopiesAreBatchedAnew) {
    Editor editor(parsed(golden("batches.4.py")));
    const Node* dict = editor.base().root()->items[14];  // 1000 entries, without the C pickler's empty batch
    ASSERT_EQ(dict->items.size(), 2000U);
    Node* copy = editor.copy(dict);
    editor.replace(dict, copy);
    EXPECT_EQ(written(editor), golden("batches.4.py"));
    copy->items.resize(2);
    const auto tree = parsed(written(editor));
    EXPECT_EQ(tree->root()->items[14]->items.size(), 2U);
    EXPECT_EQ(tree->root()->items[14]->hints, nullptr);
}

TEST(PickleEditor, CopiedScalarsChooseTheirOpcode) {
    Editor editor(parsed(protocol2("K\x01.")));
    Node* copy = editor.copy(editor.root());
    copy->integer = 1 << 20;
    editor.replace(editor.root(), copy);
    EXPECT_EQ(written(editor), protocol2(raw("J\0\0\x10\0.")));
}

TEST(PickleEditor, PersistentIdsInOrderOfWriting) {
    Editor editor(parsed(golden("persistent.2.c")));
    const Node* root = editor.base().root();
    const auto before = editor.persistent_ids();
    ASSERT_TRUE(before.ok());
    const std::vector<const Node*> expected = {root->items[0], root->items[1], root->items[2], root->items[3],
                                               root->items[3]->items[0]->items[1]};
    EXPECT_EQ(*before, expected);
    const Node* fresh = editor.persistent_id(editor.string("fresh"));
    editor.replace(root->items[1], editor.list({fresh, fresh}));
    const auto after = editor.persistent_ids();
    ASSERT_TRUE(after.ok());
    ASSERT_EQ(after->size(), 6U);
    EXPECT_EQ((*after)[1], fresh);
    EXPECT_EQ((*after)[2], fresh);
    EXPECT_EQ((*after)[3], root->items[2]);
}

TEST(PickleEditor, WhatAPersistentIdHoldsMayBeReplacedAsItIsWritten) {
    Editor editor(parsed(golden("persistent.2.c")));
    std::vector<const Node*> begun;
    const auto bytes = editor.write([&](const Node* id) -> Result<void> {
        begun.push_back(id);
        editor.replace(id->items.front(), editor.string("id " + std::to_string(begun.size())));
        return {};
    });
    ASSERT_TRUE(bytes.ok());
    EXPECT_EQ(begun.size(), 4U) << "the last one lay in another, which holds it no more";
    Editor again(parsed(*bytes));
    const auto ids = again.persistent_ids();
    ASSERT_TRUE(ids.ok());
    for (std::size_t i = 0; i < ids->size(); ++i) {
        EXPECT_TRUE(is_string((*ids)[i]->items.front(), "id " + std::to_string(i + 1)));
    }
    const auto refused = editor.write([](const Node*) { return Result<void>(Error(ErrorCode::damaged, "not this")); });
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().message(), "not this");
}

// The memo keeps count when what held the first reference is gone.
TEST(PickleEditor, AValueIsWrittenWhereItComesFirst) {
    Editor editor(parsed(golden("memo.2.c")));
    ASSERT_TRUE(editor.set_item(editor.root(), 0, editor.none()).ok());
    const auto tree = parsed(written(editor));
    ASSERT_EQ(tree->root()->items[1]->items.size(), 300U);
    EXPECT_TRUE(is_string(tree->root()->items[1]->items[299], "memo0"));
}

TEST(PickleEditor, ValuesOfOtherTreesCanBeUsed) {
    const auto other = parsed(golden("shared.2.c"));
    Editor editor(parsed(protocol2("](K\x01K\x02K\3e.")));
    ASSERT_TRUE(editor.set_item(editor.root(), 1, other->root()).ok());
    ASSERT_TRUE(editor.set_item(editor.root(), 2, other->root()->items[2]).ok());
    const auto tree = parsed(written(editor));
    const Node* root = tree->root();
    EXPECT_EQ(root->items[0]->integer, 1);
    EXPECT_EQ(root->items[2], root->items[1]->items[2]);
    EXPECT_EQ(root->items[1]->items[0], root->items[1]->items[1]);
}

TEST(PickleEditor, AValueInsideItselfIsAnErrorUnlessAContainerHoldsIt) {
    Editor editor(parsed(protocol2("K\x01\x85.")));
    const Node* one = editor.root()->items[0];
    editor.replace(one, editor.tuple({editor.root()}));
    const auto endless = editor.write();
    ASSERT_FALSE(endless.ok());
    EXPECT_EQ(endless.error().code(), ErrorCode::damaged);

    Editor sound(parsed(protocol2("K\x01\x85.")));
    sound.replace(sound.root()->items[0], sound.list({sound.root()}));
    const auto tree = parsed(written(sound));
    EXPECT_EQ(tree->root()->items[0]->items[0]->items[0], tree->root()->items[0]);
}

}  // namespace
}  // namespace ckptfs::pickle::test
