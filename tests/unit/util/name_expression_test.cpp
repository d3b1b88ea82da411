// Expressions that are refused, and that the others end, on a small stack too.
#include "util/name_expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <functional>

namespace ckptfs {
namespace name_expression_test {
namespace {

using testing::HasSubstr;

NameExpression expression(const std::string& pattern) {
    return NameExpression::compile(pattern, ExpressionOf::user).value();
}

std::string repeated(const std::string& text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) {
        all += text;
    }
    return all;
}

TEST(NameExpression, RefusesWhatIsNone) {
    for (const char* pattern : {"a(", "[", "(?<=a*)b", "a{3,2}", "(*UTF)a"}) {
        const auto refused = NameExpression::compile(pattern, ExpressionOf::user);
        ASSERT_FALSE(refused.ok()) << pattern;
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("is no regular expression"));
    }
}

TEST(NameExpression, RefusesWhatIsTooLarge) {
    for (const std::string& pattern :
         {std::string(1'001, 'a'), std::string("((ab){200}){200}"), std::string("(a?){16000}")}) {
        const auto refused = NameExpression::compile(pattern, ExpressionOf::checkpoint);
        ASSERT_FALSE(refused.ok()) << pattern;
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("is too large"));
    }
    EXPECT_TRUE(NameExpression::compile(std::string(1'000, 'a'), ExpressionOf::checkpoint).ok());
}

TEST(NameExpression, FindsAnywhereAndFromTheBeginning) {
    EXPECT_TRUE(expression("b").finds("abc").value());
    EXPECT_FALSE(expression("b").begins("abc").value());
    EXPECT_TRUE(expression("a").begins("abc").value());
    EXPECT_FALSE(expression("a$").begins("abc").value());
    EXPECT_TRUE(expression("^(?!.*bias)(?!.*norm)").finds("layers.0.weight").value());
    EXPECT_FALSE(expression("^(?!.*bias)(?!.*norm)").finds("layers.0.bias").value());
    EXPECT_TRUE(expression("\\w+\\.(?:q|k|v)_proj").finds("h.1.k_proj").value());
    EXPECT_TRUE(expression("^.$").finds("\xff").value()) << "names are bytes";
}

TEST(NameExpression, ReplacesEveryMatch) {
    EXPECT_EQ(expression("(\\w+)\\.(\\w+)").replaced("a.b.c", "$2.$1").value(), "b.a.c");
    EXPECT_EQ(expression("a|ab").replaced("abab", "x").value(), "xbxb") << "the first alternative that matches";
    EXPECT_EQ(expression("a.*?b").replaced("axbxb", "$$").value(), "$xb");
    EXPECT_EQ(expression("(a)|b").replaced("ab", "<${1}>").value(), "<a><>") << "a group that took no part is empty";
    EXPECT_EQ(expression("b").replaced("abc", std::string(5'000, 'x')).value(), "a" + std::string(5'000, 'x') + "c");
    EXPECT_EQ(expression(".").replaced("abc", "").value(), "");
    EXPECT_EQ(expression("z").replaced("", "x").value(), "");
    for (const char* replacement : {"$1", "$", "${b"}) {
        const auto refused = expression("a").replaced("a", replacement);
        ASSERT_FALSE(refused.ok()) << replacement;
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
    }
}

TEST(NameExpression, GivesUpWhatWouldTakeForEver) {
    const std::string name = std::string(100, 'a') + "!c";
    for (const char* pattern : {"([ab]+)+c", "([ab]*)*c", "(a+)+\\1c", "(?=([ab]+)+c)a"}) {
        for (const ExpressionOf whose : {ExpressionOf::checkpoint, ExpressionOf::user}) {
            const auto compiled = NameExpression::compile(pattern, whose).value();
            const auto found = compiled.finds(name);
            ASSERT_FALSE(found.ok()) << pattern;
            EXPECT_EQ(found.error().code(), ErrorCode::unsupported);
            EXPECT_THAT(found.error().message(), HasSubstr("takes too many steps on the name 'aaa"));
            EXPECT_FALSE(compiled.replaced(name, "").ok());
            EXPECT_FALSE(compiled.finds("b").value()) << "and matches the next name";
        }
    }
}

TEST(NameExpression, MatchesOnASmallStack) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    constexpr std::size_t stack_nbytes = std::size_t{4} << 20U;  // frames are larger
#else
    constexpr std::size_t stack_nbytes = std::size_t{512} << 10U;
#endif
    std::function<void()> match = [] {
        const std::string name = std::string(512, 'a') + "!";
        for (const std::string& pattern :
             {repeated("a", 1'000), repeated("(", 200) + repeated(")", 200), repeated("a?", 500), repeated("|", 1'000),
              std::string("(a?){111}"), repeated("(a|", 200) + repeated(")", 200), std::string("(a*)*(a*)*b")}) {
            static_cast<void>(expression(pattern).replaced(name, "x"));
        }
    };
    pthread_attr_t attributes;
    ASSERT_EQ(pthread_attr_init(&attributes), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&attributes, stack_nbytes), 0);
    pthread_t thread = {};
    const auto run = [](void* what) -> void* {
        (*static_cast<std::function<void()>*>(what))();
        return nullptr;
    };
    ASSERT_EQ(pthread_create(&thread, &attributes, run, &match), 0);
    ASSERT_EQ(pthread_join(thread, nullptr), 0);
    pthread_attr_destroy(&attributes);
}

}  // namespace
}  // namespace name_expression_test
}  // namespace ckptfs
