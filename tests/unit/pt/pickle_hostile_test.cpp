// Pickles that nobody honest wrote: an error or a sound tree, never a crash, never more memory than the input allows.
#include <cstdint>
#include <random>

#include "unit/pt/pickle_test_data.h"

namespace ckptfs::pickle::test {
namespace {

std::string repeated(const std::string& text, std::size_t count) {
    std::string result;
    for (std::size_t i = 0; i < count; ++i) {
        result += text;
    }
    return result;
}

std::string four_bytes(std::uint32_t value) {
    std::string bytes;
    for (unsigned i = 0; i < 4; ++i) {
        bytes.push_back(static_cast<char>(value >> (8 * i) & 0xffU));
    }
    return bytes;
}

void expect_error(const std::string& pickle, ErrorCode code, std::string_view words) {
    const auto tree = Tree::parse(pickle);
    ASSERT_FALSE(tree.ok()) << words;
    EXPECT_EQ(tree.error().code(), code) << tree.error().message();
    EXPECT_NE(tree.error().message().find(words), std::string::npos) << tree.error().message();
}

TEST(PickleHostile, EveryTruncationIsAnError) {
    for (const Golden& golden : all_goldens()) {
        const std::size_t step = golden.bytes.size() > 1500 ? 997 : 1;
        for (std::size_t length = 0; length < golden.bytes.size(); length += step) {
            ASSERT_FALSE(Tree::parse(golden.bytes.substr(0, length)).ok()) << golden.name << " cut at " << length;
        }
    }
}

TEST(PickleHostile, AByteAfterStopIsAnError) {
    for (const Golden& golden : all_goldens()) {
        EXPECT_FALSE(Tree::parse(golden.bytes + '\0').ok()) << golden.name;
    }
}

// What still parses must be written, and what was written must parse and be written the same.
TEST(PickleHostile, MutatedBytesNeverCrash) {
    const std::uint64_t seed = std::random_device()();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::size_t sound = 0;
    for (const Golden& golden : all_goldens()) {
        const int rounds = golden.bytes.size() > 5000 ? 20 : 200;
        for (int round = 0; round < rounds; ++round) {
            std::string bytes = golden.bytes;
            const std::size_t place = random() % bytes.size();
            bytes[place] = static_cast<char>(random());
            const auto tree = Tree::parse(bytes);
            if (!tree.ok()) {
                continue;
            }
            ++sound;
            const auto first = Editor(*tree).write();
            if (!first.ok()) {
                EXPECT_EQ(first.error().code(), ErrorCode::damaged) << golden.name << " at " << place;
                continue;
            }
            const auto again = Tree::parse(*first);
            ASSERT_TRUE(again.ok()) << golden.name << " at " << place << ": " << again.error().message();
            ASSERT_TRUE(Editor(*again).write().ok()) << golden.name << " at " << place;
        }
    }
    EXPECT_GT(sound, 0U);
}

TEST(PickleHostile, LengthsBeyondTheEnd) {
    const std::string most8 = repeated("\xff", 8);
    const std::string most4 = repeated("\xff", 4);
    for (const char* opcode : {"X", "B", "\x8b", "T"}) {
        EXPECT_FALSE(Tree::parse(protocol2(opcode + most4 + "abc.")).ok()) << opcode;
    }
    for (const char* opcode : {"\x8d", "\x8e", "\x96", "\x95"}) {
        EXPECT_FALSE(Tree::parse(raw("\x80\x05") + opcode + most8 + "abc.").ok()) << opcode;
    }
    expect_error(protocol2("X" + most4 + "abc."), ErrorCode::damaged, "0x58 at offset 2");
}

TEST(PickleHostile, FramesMustHold) {
    // The frame ends within the string; a frame begins within a frame; a frame of its own is fine.
    expect_error(raw("\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\4abcd."), ErrorCode::damaged, "frame");
    expect_error(raw("\x80\x04\x95\x0b\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0N."), ErrorCode::damaged, "frame");
    EXPECT_TRUE(Tree::parse(raw("\x80\x04\x95\x02\0\0\0\0\0\0\0N.")).ok());
    EXPECT_TRUE(Tree::parse(raw("\x80\x04\x95\x01\0\0\0\0\0\0\0N\x95\x01\0\0\0\0\0\0\0.")).ok());
}

TEST(PickleHostile, MemoSlots) {
    expect_error(protocol2("]r" + four_bytes(0xffffffff) + "."), ErrorCode::damaged, "memo slot 4294967295");
    expect_error(protocol2("h\x01."), ErrorCode::damaged, "memo slot 1 is empty");
    expect_error(protocol2("j" + four_bytes(7) + "."), ErrorCode::damaged, "memo slot 7 is empty");
    expect_error(raw("\x80\x02q\0."), ErrorCode::damaged, "0x71 at offset 2");
}

TEST(PickleHostile, StackUnderflow) {
    for (const char* body :
         {".",  "0",   "1",  "a",  "s",  "e",  "u",  "t",   "b",   "R",     "Q",    "\x81", "\x85", "\x86", "\x87",
          "Na", "}Ns", "Nb", "NR", "(e", "(u", "N(", "N(a", "N(0", "](NNu", "}(Nu", "}NNa", "N(Ne", "NNb",  "NN"}) {
        EXPECT_FALSE(Tree::parse(protocol2(std::string(body) + ".")).ok()) << body;
    }
    for (const char* body : {"\x90", "\x91", "\x92", "\x93", "\x94", "\x98", "NN\x93", "](N\x90", "N\x98"}) {
        EXPECT_FALSE(Tree::parse(raw("\x80\x05") + body + ".").ok()) << body;
    }
}

TEST(PickleHostile, OtherProtocols) {
    expect_error("", ErrorCode::damaged, "0 bytes");
    expect_error("(lp0\n.", ErrorCode::unsupported, "protocol 0 or 1");
    expect_error(raw("\x80\x01N."), ErrorCode::unsupported, "protocol 1");
    expect_error(raw("\x80\x06N."), ErrorCode::unsupported, "protocol 6");
    expect_error(raw("\x80\x02\x80\x02N."), ErrorCode::damaged, "offset 2");
    for (const char* body : {"I01\n", "L1L\n", "F1.0\n", "S'a'\n", "T\x01", "U\1a", "Va\n", "Pa\n", "g0\n", "p0\n", "d",
                             "l", "ia\nb\n", "o", "2"}) {
        expect_error(protocol2("N" + std::string(body) + "."), ErrorCode::unsupported, "offset 3");
    }
    expect_error(protocol2("\x7f."), ErrorCode::damaged, "no such opcode");
}

TEST(PickleHostile, BadText) {
    for (const char* text :
         {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff", "a\xc3("}) {
        const auto size = static_cast<char>(std::string_view(text).size());
        EXPECT_FALSE(Tree::parse(raw("\x80\x04\x8c") + size + text + ".").ok()) << text;
    }
    expect_error(protocol2("ca\nb\xff\n."), ErrorCode::damaged, "UTF-8");
    expect_error(protocol2("ca\nb"), ErrorCode::damaged, "offset 2");
    expect_error(raw("\x80\x02\x82\0."), ErrorCode::damaged, "extension code");
    expect_error(raw("\x80\x02\x84\0\0\0\x80."), ErrorCode::damaged, "extension code");
}

TEST(PickleHostile, DeepNestingIsAnError) {
    constexpr std::size_t allowed = 19'999;
    for (const std::size_t depth : {allowed + 1, std::size_t{200'000}}) {
        expect_error(protocol2(repeated("]", depth + 1) + repeated("a", depth) + "."), ErrorCode::damaged,
                     "nested deeper");
        expect_error(protocol2(")" + repeated("\x85", depth) + "."), ErrorCode::damaged, "nested deeper");
    }
    const std::string deep = protocol2(repeated("]", allowed + 1) + repeated("a", allowed) + ".");
    EXPECT_TRUE(rewritten(deep) == deep);
}

// Lists that are hung into each other after they were made, by way of the memo: as deep as there are bytes.
TEST(PickleHostile, DepthByTheMemoIsNoRecursion) {
    constexpr std::uint32_t count = 50'000;
    std::string body = "(";
    for (std::uint32_t i = 0; i < count; ++i) {
        body += "]r" + four_bytes(i);
    }
    for (std::uint32_t i = 0; i + 1 < count; ++i) {
        body += "j" + four_bytes(i) + "j" + four_bytes(i + 1) + "a0";
    }
    body += "1j" + four_bytes(0) + ".";
    const auto tree = parsed(protocol2(body));
    const auto bytes = Editor(tree).write();
    ASSERT_TRUE(bytes.ok()) << bytes.error().message();
    expect_error(*bytes, ErrorCode::damaged, "nested deeper");
}

// A tuple of n lists, each of which holds the tuple: Python would write it n times, one inside the other.
TEST(PickleHostile, RecursiveTuplesDoNotUnfoldWithoutBound) {
    const auto bomb = [](std::uint32_t count) {
        std::string body = "((";
        for (std::uint32_t i = 0; i < count; ++i) {
            body += "]r" + four_bytes(i);
        }
        body += "tr" + four_bytes(count);
        for (std::uint32_t i = 0; i < count; ++i) {
            body += "j" + four_bytes(i) + "j" + four_bytes(count) + "a0";
        }
        return protocol2(body + "1j" + four_bytes(count) + ".");
    };
    const auto large = Editor(parsed(bomb(20'000))).write();
    ASSERT_FALSE(large.ok());
    EXPECT_EQ(large.error().code(), ErrorCode::damaged);
    const std::string small = rewritten(bomb(5));
    EXPECT_EQ(rewritten(small), small);
}

TEST(PickleHostile, SharedTuplesStayShared) {
    std::string body = raw(")\x85q\0");
    for (char i = 1; i < 60; ++i) {
        body += raw("h") + static_cast<char>(i - 1) + "h" + static_cast<char>(i - 1) + "\x86q" + i;
    }
    // Sixty levels of pairs: 2^60 values if identity were lost.
    EXPECT_LT(rewritten(protocol2("(" + body + "t.")).size(), body.size() + 64);
}

// Two long strings in the memo, and thousands of globals that name them in five bytes each.
TEST(PickleHostile, GlobalsDoNotUnfoldTheirNames) {
    constexpr std::uint32_t name_nbytes = 25'000;
    const std::string module(name_nbytes, 'm');
    const std::string name(name_nbytes, 'n');
    const std::string pickle = raw("\x80\x04(X") + four_bytes(name_nbytes) + module + "\x94X" +
                               four_bytes(name_nbytes) + name + "\x94" + repeated(raw("h\0h\1\x93"), 4'000) + "t.";
    const auto tree = parsed(pickle);
    EXPECT_LT(tree->memory_nbytes(), 64 * pickle.size());
    EXPECT_TRUE(is_global(tree->root()->items.back(), module, name));
    EXPECT_FALSE(is_global(tree->root()->items.back(), module, module));
    EXPECT_LT(rewritten(pickle).size(), 2 * pickle.size());
}

}  // namespace
}  // namespace ckptfs::pickle::test
