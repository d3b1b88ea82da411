// A world size in text.
#include "request/world_size.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>

#include "ckptfs/view_request.h"
#include "util/text.h"

namespace ckptfs {
namespace {

Error bad_world_size(const std::string& message) {
    return {ErrorCode::invalid_argument, message};
}

}  // namespace

Result<std::uint64_t> parse_world_size(std::string_view text) {
    const std::string range = "; give the number of ranks, 1 to " + grouped(max_world_size);
    if (text.empty()) {
        return bad_world_size("the world size is empty" + range);
    }
    const bool negative = text.front() == '-';
    const std::string_view digits = text.substr(negative ? 1 : 0);
    if (digits.empty() || !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        return bad_world_size("the world size " + in_quotes(text) + " is not a whole number in decimal digits" + range);
    }
    if (negative) {
        return bad_world_size("the world size " + in_quotes(text) + " is negative" + range);
    }
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure != std::errc() || value > max_world_size) {
        return bad_world_size("the world size " + in_quotes(text) + " is too large" + range);
    }
    if (value == 0) {
        return bad_world_size("the world size is 0" + range);
    }
    return value;
}

}  // namespace ckptfs
