// Names from checkpoints are anybody's.
#include "util/plain_text.h"

#include <gtest/gtest.h>

namespace ckptfs {
namespace {

TEST(PlainText, LeavesWhatIsSeen) {
    for (const char* text : {"", "layers.0.weight", "Größe", "重み", "🙂 a", "a\\b"}) {
        EXPECT_EQ(plain_text(text), text);
    }
}

TEST(PlainText, WritesOutWhatIsNot) {
    EXPECT_EQ(plain_text("a\nb\x1b[31m"), "a\\x0ab\\x1b[31m");
    EXPECT_EQ(plain_text(std::string_view("a\0b", 3)), "a\\x00b");
    EXPECT_EQ(plain_text("a\xe2\x80\xae"
                         "b"),
              "a\\u{202e}b");  // right-to-left override
    EXPECT_EQ(plain_text("a\xe2\x81\xa9"
                         "b"),
              "a\\u{2069}b");  // end of an isolate
    EXPECT_EQ(plain_text("a\xe2\x80\xa8"
                         "b"),
              "a\\u{2028}b");                            // a line separator
    EXPECT_EQ(plain_text("\xef\xbf\xbf"), "\\u{ffff}");  // no character of XML
    EXPECT_EQ(plain_text("\xc2\x85"), "\\u{0085}");
}

TEST(PlainText, WritesOutBytesThatAreNoUtf8) {
    EXPECT_EQ(plain_text("a\xff"
                         "b"),
              "a\\xffb");
    EXPECT_EQ(plain_text("\xc0\xaf"), "\\xc0\\xaf");           // '/' in two bytes
    EXPECT_EQ(plain_text("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
    EXPECT_EQ(plain_text("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    EXPECT_EQ(plain_text("\xe2\x80"), "\\xe2\\x80");  // cut short
}

TEST(PlainText, LeavesOutTheMiddleOfWhatIsLong) {
    EXPECT_EQ(plain_text("abcdefghij", 10), "abcdefghij");
    EXPECT_EQ(plain_text("abcdefghijk", 10), "abcde…hijk");
    EXPECT_LT(plain_text(std::string(1 << 20, 'x')).size(), 310U);
}

TEST(PlainText, MarkupIsText) {
    EXPECT_EQ(markup("<b a=\"1\" c='2'>&amp;"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
    EXPECT_EQ(json_in_markup(R"(["</script><!--&"])"), R"(["\u003c/script\u003e\u003c!--\u0026"])");
}

}  // namespace
}  // namespace ckptfs
