// Windows, found again by looking at each: a file is taken apart in a handful of them.
#include "pt/metadata_reads.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "util/checked.h"

namespace ckptfs::pt {
namespace {

/// The small records that follow a pickle, with their headers.
constexpr std::uint64_t kept_nbytes = 1024;
/// The end of a file. Longer reads are pickles, and directories of many records: each is read once.
constexpr std::uint64_t largest_kept_read = 8192;
constexpr std::size_t most_kept_reads = 8;

}  // namespace

Result<void> MetadataReads::read(std::uint64_t offset, std::span<std::byte> out) const {
    if (out.empty()) {
        return file_.read_unchecked(offset, out, read_);
    }
    for (const Window& window : windows_) {
        if (offset >= window.offset && fits(offset - window.offset, out.size(), window.bytes.size())) {
            std::memcpy(out.data(), window.bytes.data() + (offset - window.offset), out.size());
            return {};
        }
    }
    if (out.size() > largest_kept_read || !fits(offset, out.size(), size()) || windows_.size() == most_kept_reads) {
        return file_.read_unchecked(offset, out, read_);
    }
    Window window{offset, {}};
    window.bytes.resize(std::min(std::max<std::uint64_t>(out.size(), kept_nbytes), size() - offset));
    if (!file_.read_unchecked(offset, window.bytes, read_).ok()) {
        return file_.read_unchecked(offset, out, read_);  // nobody asked for what lies around it
    }
    std::memcpy(out.data(), window.bytes.data(), out.size());
    windows_.push_back(std::move(window));
    return {};
}

}  // namespace ckptfs::pt
