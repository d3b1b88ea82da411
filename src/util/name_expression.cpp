// What an expression may cost, and how PCRE2 is asked.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "util/name_expression.h"

#include <pcre2.h>

#include <array>
#include <new>

namespace ckptfs {
namespace {

constexpr std::size_t largest_expression = 1'000;
constexpr std::uint32_t most_heap_kib = 32 << 10;

PCRE2_SPTR8 bytes_of(const std::string& text) {
    return reinterpret_cast<PCRE2_SPTR8>(text.data());
}

template <class T>
std::shared_ptr<T> owned(T* made, void (*release)(T*)) {
    if (made == nullptr) {
        throw std::bad_alloc();
    }
    return {made, release};
}

std::string message_of(int code) {
    std::array<PCRE2_UCHAR8, 256> text{};
    pcre2_get_error_message_8(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

/// Callers may share it: it is never changed.
std::shared_ptr<pcre2_match_context_8> limits_for(ExpressionOf whose) {
    auto limits = owned(pcre2_match_context_create_8(nullptr), &pcre2_match_context_free_8);
    pcre2_set_match_limit_8(limits.get(), whose == ExpressionOf::checkpoint ? 10'000 : 100'000);
    pcre2_set_heap_limit_8(limits.get(), most_heap_kib);
    return limits;
}

pcre2_match_context_8* limits_of(ExpressionOf whose) {
    static const auto of_checkpoint = limits_for(ExpressionOf::checkpoint);
    static const auto of_user = limits_for(ExpressionOf::user);
    return (whose == ExpressionOf::checkpoint ? of_checkpoint : of_user).get();
}

Error failure_of(int code, const std::string& name) {
    if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_HEAPLIMIT || code == PCRE2_ERROR_DEPTHLIMIT) {
        return {ErrorCode::unsupported, "takes too many steps on the name '" + name.substr(0, 64) +
                                            (name.size() > 64 ? "…" : "") +
                                            "'; say what may be repeated only once, as in '(a|b)*' for '(a*|b*)*'"};
    }
    return {ErrorCode::invalid_argument, "cannot be matched with a name: " + message_of(code)};
}

}  // namespace

Result<NameExpression> NameExpression::compile(const std::string& pattern, ExpressionOf whose) {
    const auto context = owned(pcre2_compile_context_create_8(nullptr), &pcre2_compile_context_free_8);
    pcre2_set_max_pattern_length_8(context.get(), largest_expression);
    int failure = 0;
    std::size_t at = 0;
    pcre2_code_8* code =
        pcre2_compile_8(bytes_of(pattern), pattern.size(), PCRE2_NEVER_UTF, &failure, &at, context.get());
    if (code != nullptr) {
        return NameExpression(owned(code, &pcre2_code_free_8), whose);
    }
    if (failure == PCRE2_ERROR_PATTERN_STRING_TOO_LONG || failure == PCRE2_ERROR_PATTERN_TOO_LARGE) {
        return Error(ErrorCode::invalid_argument, "is too large: " + message_of(failure));
    }
    return Error(ErrorCode::invalid_argument,
                 "is no regular expression: " + message_of(failure) + ", at character " + std::to_string(at));
}

Result<bool> NameExpression::match(const std::string& name, unsigned options) const {
    const auto found = owned(pcre2_match_data_create_from_pattern_8(code_.get(), nullptr), &pcre2_match_data_free_8);
    const int groups =
        pcre2_match_8(code_.get(), bytes_of(name), name.size(), 0, options, found.get(), limits_of(whose_));
    if (groups < 0 && groups != PCRE2_ERROR_NOMATCH) {
        return failure_of(groups, name);
    }
    return groups >= 0;
}

Result<bool> NameExpression::finds(const std::string& name) const {
    return match(name, 0);
}

Result<bool> NameExpression::begins(const std::string& name) const {
    return match(name, PCRE2_ANCHORED);
}

Result<std::string> NameExpression::replaced(const std::string& name, const std::string& replacement) const {
    std::string result(name.size() + replacement.size(), '\0');
    for (bool again = true;; again = false) {
        std::size_t nbytes = result.size() + 1;  // with the terminating zero, whose place every string has
        const int status = pcre2_substitute_8(
            code_.get(), bytes_of(name), name.size(), 0,
            PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_UNSET_EMPTY | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH, nullptr,
            limits_of(whose_), bytes_of(replacement), replacement.size(),
            reinterpret_cast<PCRE2_UCHAR8*>(result.data()), &nbytes);
        if (status == PCRE2_ERROR_NOMEMORY && again) {
            result.resize(nbytes - 1);
            continue;
        }
        if (status < 0) {
            return failure_of(status, name);
        }
        result.resize(nbytes);
        return result;
    }
}

std::size_t NameExpression::nbytes() const {
    std::size_t nbytes = 0;
    pcre2_pattern_info_8(code_.get(), PCRE2_INFO_SIZE, &nbytes);
    return nbytes;
}

}  // namespace ckptfs
