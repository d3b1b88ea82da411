// A UTF-8 check that lets surrogates pass, as pickles may hold them.
#include "pt/pickle_utf8.h"

#include <cstddef>

namespace ckptfs::pickle {

namespace {

/// The number of bytes of the well-formed sequence at the start of `text`; 0 if there is none.
std::size_t sequence_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4) {
        return 0;
    }
    const std::size_t length = first < 0xe0 ? 2 : (first < 0xf0 ? 3 : 4);
    if (text.size() < length) {
        return 0;
    }
    const unsigned lowest = first == 0xe0 ? 0xa0 : (first == 0xf0 ? 0x90 : 0x80);
    const unsigned highest = first == 0xf4 ? 0x8f : 0xbf;
    if (byte(1) < lowest || byte(1) > highest) {
        return 0;
    }
    for (std::size_t i = 2; i < length; ++i) {
        if (byte(i) < 0x80 || byte(i) > 0xbf) {
            return 0;
        }
    }
    return length;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = sequence_length(text);
        if (length == 0) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

}  // namespace ckptfs::pickle
