// What the tests of streams read: files in memory, in requests as the kernel makes them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "stream/read_ahead.h"
#include "support/fake_files.h"

namespace ckptfs::test {

inline constexpr std::uint64_t kib = 1024;
inline constexpr std::uint64_t mib = 1024 * kib;

inline std::string random_bytes(std::uint64_t nbytes) {
    std::mt19937_64 random(7);
    std::string bytes(nbytes, '\0');
    for (std::uint64_t at = 0; at < nbytes; at += 64) {
        bytes[at] = static_cast<char>(random());
    }
    return bytes;
}

inline ReadAheadOptions options(std::uint64_t memory_nbytes = 64 * mib) {
    return {.memory_nbytes = memory_nbytes, .threads = 4};
}

/// For whom every read takes no time, however busy the machine is.
inline std::chrono::steady_clock::time_point standing_still() {
    return {};
}

inline Result<std::string> read(Stream& stream, std::uint64_t offset, std::uint64_t nbytes) {
    std::vector<std::byte> out(nbytes);
    const auto read = stream.read(offset, out);
    if (!read) {
        return read.error();
    }
    std::string bytes;
    for (std::size_t i = 0; i < read->count; ++i) {
        const auto part = read->parts.at(i);
        bytes.append(static_cast<const char*>(static_cast<const void*>(part.data())), part.size());
    }
    return bytes;
}

/// So much that what comes next is read ahead as far as it is of a fast file.
inline constexpr std::uint64_t long_run = 25 * mib;
/// What the kernel asks for at a time.
inline constexpr std::uint64_t request = 992 * kib;

inline void read_in_order(Stream& stream, std::uint64_t until) {
    for (std::uint64_t at = 0; at < until; at += mib) {
        ASSERT_TRUE(read(stream, at, mib).ok());
    }
}

/// In as many requests as that takes.
inline void read_as_the_kernel(Stream& stream, std::uint64_t offset, std::uint64_t nbytes) {
    for (std::uint64_t at = 0; at < nbytes; at += request) {
        ASSERT_TRUE(read(stream, offset + at, std::min(request, nbytes - at)).ok());
    }
}

inline std::uint64_t nbytes_of(const std::vector<ReadCall>& calls) {
    std::uint64_t nbytes = 0;
    for (const auto& call : calls) {
        nbytes += call.nbytes;
    }
    return nbytes;
}

}  // namespace ckptfs::test
