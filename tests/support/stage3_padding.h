// The padding of stage-3 files, which DeepSpeed leaves uninitialised: hidden, so that files can be compared.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/dtype.h"
#include "zero/written.h"

namespace ckptfs::test {

/// A file that shows zeros in some ranges of another.
class BlankedFile final : public File {
 public:
    struct Range {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
    };

    BlankedFile(std::shared_ptr<const File> file, std::vector<Range> ranges)
        : file_(std::move(file)), ranges_(std::move(ranges)) {}

    [[nodiscard]] const std::string& name() const override { return file_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return file_->size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        CKPTFS_TRY(file_->read(offset, out));
        for (const Range& range : ranges_) {
            const std::uint64_t begin = std::max(offset, range.offset);
            const std::uint64_t end = std::min(offset + out.size(), range.offset + range.length);
            if (begin < end) {
                std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(begin - offset), end - begin, std::byte{0});
            }
        }
        return {};
    }

 private:
    std::shared_ptr<const File> file_;
    std::vector<Range> ranges_;
};

/// `file`, one of `checkpoint`, with zeros as padding if it is of stage 3.
inline std::shared_ptr<const File> with_blank_padding(const std::shared_ptr<const File>& file,
                                                      const zero::Written& checkpoint) {
    if (checkpoint.format != zero::Format::zero3) {
        return file;
    }
    std::vector<BlankedFile::Range> ranges;
    const auto blank = [&](const model::Elements& elements) {
        const auto& map = std::get<model::ElementMap>(elements.rule());
        const std::uint64_t itemsize = model::itemsize(elements.dtype());
        const std::uint64_t numel = elements.numel();
        for (std::size_t rank = 0; rank < map.shards.size(); ++rank) {
            const std::uint64_t used = std::min(map.shard_numel, numel - std::min(numel, rank * map.shard_numel));
            const model::Shard& shard = map.shards[rank];
            if (shard.file->name() == file->name()) {
                ranges.push_back(
                    {shard.offset + (map.shard_offset_numel + used) * itemsize, (map.shard_numel - used) * itemsize});
            }
        }
    };
    for (const model::Rank& rank : checkpoint.content.ranks) {
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                blank(*parameter.master);
                for (const model::Elements& state : parameter.states) {
                    blank(state);
                }
            }
        }
        for (const model::Parameter& frozen : rank.frozen) {
            blank(*frozen.weight);
        }
    }
    return std::make_shared<BlankedFile>(file, std::move(ranges));
}

}  // namespace ckptfs::test
