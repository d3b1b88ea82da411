// Two readings of one file, record by record.
#include "verify/second_reader.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "util/text.h"

namespace ckptfs::verify {
namespace {

std::string without_root(const std::string& record) {
    return record.substr(record.find('/') + 1);
}

/// A file as libtorch reads it; keeps what it has read last.
class KeptFile final : public File {
 public:
    explicit KeptFile(const File& file) : file_(file) {}

    [[nodiscard]] const std::string& name() const override { return file_.name(); }
    [[nodiscard]] std::uint64_t size() const override { return file_.size(); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        kept_.clear();
        CKPTFS_TRY(file_.read(offset, out));
        if (out.size() <= SecondReader::most_kept_nbytes) {
            offset_ = offset;
            kept_.assign(out.begin(), out.end());
        }
        return {};
    }

    /// Whether `bytes` are those from `offset` on. Reads only what is not kept.
    Result<bool> has(std::uint64_t offset, std::span<const std::byte> bytes) const {
        if (offset >= offset_ && offset - offset_ <= kept_.size() &&
            bytes.size() <= kept_.size() - (offset - offset_)) {
            return std::equal(bytes.begin(), bytes.end(),
                              kept_.begin() + static_cast<std::ptrdiff_t>(offset - offset_));
        }
        for (std::size_t done = 0; done < bytes.size();) {
            const auto part = bytes.subspan(done, std::min<std::size_t>(bytes.size() - done, block_nbytes));
            own_.resize(part.size());
            CKPTFS_TRY(file_.read(offset + done, own_));
            if (!std::equal(part.begin(), part.end(), own_.begin())) {
                return false;
            }
            done += part.size();
        }
        return true;
    }

 private:
    static constexpr std::size_t block_nbytes = std::size_t{1} << 20;

    const File& file_;
    mutable std::uint64_t offset_ = 0;
    mutable std::vector<std::byte> kept_;
    mutable std::vector<std::byte> own_;
};

}  // namespace

bool is_of_the_world(const Error& error) {
    return error.code() == ErrorCode::io || error.code() == ErrorCode::stale;
}

Result<std::uint64_t> SecondReader::check(const File& file, const AgreedBytes& agreed) {
    CKPTFS_ASSIGN(const auto records, pt::read_directory(file));
    std::unordered_map<std::string, const pt::Record*> by_name;
    for (const pt::Record& record : records) {
        by_name.emplace(without_root(record.name), &record);
    }
    const KeptFile kept(file);
    std::size_t finished = 0;
    CKPTFS_TRY(read_(
        kept,
        [&](std::string_view name, std::uint64_t offset, std::uint64_t record_nbytes,
            std::span<const std::byte> bytes) -> Result<void> {
            const auto found = by_name.find(std::string(name));
            if (found == by_name.end() || found->second->nbytes != record_nbytes) {
                return Error(ErrorCode::damaged, in_quotes(file.name()) + ": libtorch finds a record " +
                                                     in_quotes(name) + " of " + std::to_string(record_nbytes) +
                                                     " bytes, which the directory does not have");
            }
            if (offset + bytes.size() == record_nbytes) {
                ++finished;
            }
            const std::uint64_t begin = found->second->data_offset + offset;
            CKPTFS_ASSIGN(const bool is_same, kept.has(begin, bytes));
            if (!is_same) {
                return Error(ErrorCode::damaged, in_quotes(file.name()) + ": libtorch reads other bytes of record " +
                                                     in_quotes(found->second->name) + " than lie at its place");
            }
            return agreed ? agreed(begin, bytes) : Result<void>();
        }));
    if (finished != records.size()) {
        return Error(ErrorCode::damaged, in_quotes(file.name()) + ": libtorch reads " + std::to_string(finished) +
                                             " of " + std::to_string(records.size()) + " records");
    }
    return records.size();
}

}  // namespace ckptfs::verify
