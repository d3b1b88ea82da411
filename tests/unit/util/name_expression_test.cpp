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

constexpr auto checkpoint = ExpressionUse::of_checkpoint;
constexpr auto finding = ExpressionUse::finding;
constexpr auto replacing = ExpressionUse::replacing;

void expect_refused(const std::string& pattern, ExpressionUse use, ErrorCode code, const std::string& words) {
    const auto expression = compile_expression(pattern, use);
    ASSERT_FALSE(expression.ok()) << pattern;
    EXPECT_EQ(expression.error().code(), code) << pattern;
    EXPECT_THAT(expression.error().message(), HasSubstr(words));
}

std::string repeated(const std::string& text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) {
        all += text;
    }
    return all;
}

TEST(NameExpression, SizeIsLengthTimesCounts) {
    EXPECT_EQ(size_of_expression("layers\\.[0-9]+"), 14U);
    EXPECT_EQ(size_of_expression("(a{3}){5}"), 135U);
    EXPECT_EQ(size_of_expression("a{2,7}"), 42U);
    EXPECT_EQ(size_of_expression("a{2,}"), 15U);
    EXPECT_EQ(size_of_expression("a{0}{"), 5U);
    EXPECT_EQ(size_of_expression("a{99999999999999999999999999}"), largest_expression + 1);
    EXPECT_EQ(size_of_expression(std::string(5'000, 'a')), largest_expression + 1);
}

TEST(NameExpression, RefusesWhatCannotBeBounded) {
    for (const ExpressionUse use : {checkpoint, finding, replacing}) {
        expect_refused("(a+)\\1", use, ErrorCode::unsupported, "back-reference");
        expect_refused("(a{300}){300}", use, ErrorCode::unsupported, "too large");
        expect_refused("(a?){16000}", use, ErrorCode::unsupported, "too large");
        expect_refused("a(", use, ErrorCode::invalid_argument, "no regular expression");
    }
    expect_refused("(?=a)b", checkpoint, ErrorCode::unsupported, "looks ahead");
    expect_refused("(?=.*(?!b))", finding, ErrorCode::unsupported, "within a look-ahead");
    expect_refused("(?=[)](?:x(?=b)))", finding, ErrorCode::unsupported, "within a look-ahead");
    expect_refused("(?=[[:alpha:])](?=b))", finding, ErrorCode::unsupported, "within a look-ahead");
    for (const char* lazy : {"a.*?b", "a+?", "a??", "a{2}?"}) {
        expect_refused(lazy, replacing, ErrorCode::unsupported, "lazy");
        EXPECT_TRUE(compile_expression(lazy, finding).ok()) << lazy;
    }
}

TEST(NameExpression, TakesWhatIsOrdinary) {
    for (const char* pattern :
         {"^(?!.*bias)(?!.*norm)", "\\w+\\.(?:q|k|v)_proj", "h\\.\\d{1,2}\\.", "[?*+(]?x", "\\*?"}) {
        EXPECT_TRUE(compile_expression(pattern, finding).ok()) << pattern;
        EXPECT_TRUE(compile_expression(pattern, replacing).ok()) << pattern;
    }
    const auto swapped = compile_expression("(\\w+)\\.(\\w+)", replacing);
    EXPECT_EQ(std::regex_replace(std::string("a.b.c"), swapped.value(), "$2.$1"), "b.a.c");
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
             {repeated("a", largest_expression),
              repeated("(", largest_expression / 2) + repeated(")", largest_expression / 2),
              repeated("a?", largest_expression / 2), repeated("|", largest_expression), std::string("(a?){111}"),
              repeated("(a|", largest_expression / 4) + repeated(")", largest_expression / 4),
              std::string("(\\w+\\.?)+lora$"), std::string("(a*)*(a*)*b")}) {
            const auto expression = compile_expression(pattern, replacing);
            ASSERT_TRUE(expression.ok()) << pattern;
            static_cast<void>(std::regex_search(name, *expression));
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
