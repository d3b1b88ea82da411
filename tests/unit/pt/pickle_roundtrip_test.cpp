// Every pickle that Python's picklers write comes back byte for byte.
#include "unit/pt/pickle_test_data.h"

namespace ckptfs::pickle::test {
namespace {

TEST(PickleRoundtrip, GoldensComeBackByteForByte) {
    for (const Golden& golden : all_goldens()) {
        EXPECT_TRUE(rewritten(golden.bytes) == golden.bytes) << golden.name;
    }
}

TEST(PickleRoundtrip, ProtocolIsTheFilesOwn) {
    for (const int protocol : {2, 3, 4, 5}) {
        EXPECT_EQ(parsed(golden("scalars." + std::to_string(protocol) + ".c"))->protocol(), protocol);
    }
}

TEST(PickleRoundtrip, MemoryIsCountedAndBounded) {
    for (const Golden& golden : all_goldens()) {
        const auto tree = parsed(golden.bytes);
        EXPECT_GE(tree->memory_nbytes(), sizeof(Node)) << golden.name;
        EXPECT_LE(tree->memory_nbytes(), sizeof(Tree) + 256 * golden.bytes.size()) << golden.name;
    }
}

TEST(PickleRoundtrip, UnusualOpcodesAreKept) {
    const std::vector<std::string> pickles = {
        raw("\x80\x02(t."),                    // an empty tuple by TUPLE
        raw("\x80\x02(K\x01t."),               // one value by TUPLE
        raw("\x80\x02](e."),                   // an empty batch in an empty list
        raw("\x80\x02](K\1eK\2a(K\x03K\4e."),  // batches of one, one without MARK, and two
        raw("\x80\x02}(K\x01K\x02uK\x03K\x04s."),
        raw("\x80\x02]M\x05\0a."),         // a small integer by BININT2
        raw("\x80\x02\x8a\x01\x05."),      // and by LONG1
        raw("\x80\x03X\x01\x00\x00\0a."),  // a short string by BINUNICODE
        raw("\x80\x03\x8d\x01\x00\x00\x00\x00\x00\x00\0a."),
        raw("\x80\x03\x8e\x01\x00\x00\x00\x00\x00\x00\0a."),
        raw("\x80\2ca\nb\n)R."),  // nothing memoized
    };
    for (const std::string& pickle : pickles) {
        EXPECT_EQ(rewritten(pickle), pickle);
    }
}

// Memo slots are numbered anew, in order of writing.
TEST(PickleRoundtrip, SparseMemoSlotsBecomeDense) {
    EXPECT_EQ(rewritten(raw("\x80\x02]q\x05(]q\x07h\x07h\5e.")), raw("\x80\x02]q\x00(]q\x01h\x01h\0e."));
}

// A value that is made and dropped leaves no trace.
TEST(PickleRoundtrip, DroppedValuesVanish) {
    EXPECT_EQ(rewritten(raw("\x80\x02K\x01K\x02"
                            "0.")),
              raw("\x80\x02K\x01."));
}

}  // namespace
}  // namespace ckptfs::pickle::test
