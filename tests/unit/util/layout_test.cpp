// Text within the width of a terminal.
#include "util/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "util/text.h"

namespace ckptfs {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

TEST(Layout, CountsCharactersAndNotBytes) {
    EXPECT_EQ(shown_width("abc"), 3U);
    EXPECT_EQ(shown_width("\xc3\xa4\xe2\x94\x82"), 2U);
}

TEST(Layout, LinesEndBetweenWords) {
    EXPECT_EQ(wrapped("one two three four", 11, "- ", 2), "- one two\n  three\n  four\n");
    EXPECT_EQ(wrapped("", 11, "label", 2), "label\n");
    EXPECT_EQ(wrapped("a/path/that/is/longer/than/a/line is kept", 10, "", 2),
              "a/path/that/is/longer/than/a/line\n  is kept\n");
}

TEST(Layout, NamesAreNotTakenApart) {
    EXPECT_EQ(wrapped("see 'my run/step 5' or not", 12, "", 0), "see\n'my run/step 5'\nor not\n");
    EXPECT_EQ(wrapped("rank 0's node and the ranks' files", 12, "", 0), "rank 0's\nnode and the\nranks' files\n");
    EXPECT_EQ(wrapped(unbroken("a b c") + " d", 4, "", 0), "a b c\nd\n");
    EXPECT_EQ(wrapped("it isn't 'closed anywhere", 8, "", 0), "it isn't\n'closed\nanywhere\n");
}

const std::vector<std::vector<std::string>> rows{
    {"name", "size", "about"}, {"a", "1", "one two three four five six seven eight"}, {"bb", "22", "short"}};

TEST(Layout, ATableThatFitsIsATable) {
    EXPECT_EQ(fitted_table(rows, {false, true, false}, " ", 80), table(rows, {false, true, false}, " "));
}

TEST(Layout, TheLastColumnIsWrapped) {
    EXPECT_EQ(fitted_table(rows, {false, true, false}, " ", 36),
              " name  size  about\n"
              " a        1  one two three four five\n"
              "             six seven eight\n"
              " bb      22  short\n");
}

TEST(Layout, ALongFirstCellHasALineOfItsOwn) {
    const std::string name(30, 'n');
    EXPECT_EQ(fitted_table({{"a", "1", "some words that go on"},
                            {"b", "1", "some words that go on"},
                            {"c", "1", "some words"},
                            {name, "2", "some words that go on"}},
                           {false, true, false}, " ", 32),
              " a  1  some words that go on\n"
              " b  1  some words that go on\n"
              " c  1  some words\n " +
                  name +
                  "\n"
                  "    2  some words that go on\n");
}

TEST(Layout, WhereThereIsNoRoomTheLastColumnStandsBelow) {
    const std::string name(30, 'n');
    const auto lines = lines_of(fitted_table({{name, "1", "some words that go on"}, {name, "2", "x"}}, {}, " ", 37));
    EXPECT_THAT(lines, testing::ElementsAre(" " + name + "  1", "     some words that go on", " " + name + "  2  x"));
}

TEST(Layout, NoLineIsLongerThanItMustBe) {
    const std::string sentence = "a sentence of words, 'with a name' in it (and more), that goes on and on";
    for (std::size_t columns = 14; columns < 90; ++columns) {
        for (const std::string& line : lines_of(wrapped(sentence, columns, "  ", 4))) {
            EXPECT_LE(shown_width(line), std::max<std::size_t>(columns, 4 + 13)) << columns;
        }
        for (const std::string& line : lines_of(fitted_table({{"name", "1", sentence}}, {}, "", columns))) {
            EXPECT_LE(shown_width(line), std::max<std::size_t>(columns, 4 + 13)) << columns;
        }
    }
}

}  // namespace
}  // namespace ckptfs
