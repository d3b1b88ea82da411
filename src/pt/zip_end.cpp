// Finding the end record: from the back, past a comment, through ZIP64's locator.
#include "pt/zip_end.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "pt/damaged.h"
#include "pt/zip_format.h"
#include "util/checked.h"

namespace ckptfs::pt::zip {
namespace {

/// Holds the end records and, in most files, the whole directory.
constexpr std::uint64_t first_tail_nbytes = 8192;
constexpr std::uint64_t longest_tail_nbytes = end_nbytes + largest_comment + zip64_locator_nbytes + zip64_end_nbytes;

constexpr std::string_view legacy_magic{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14};
constexpr std::size_t tar_magic_offset = 257;
constexpr std::string_view tar_magic = "ustar";
constexpr std::uint64_t head_nbytes = 512;

/// The offset in `tail` of the end record whose comment reaches exactly to the end of the file.
std::optional<std::size_t> find_end_record(std::string_view tail) {
    for (std::size_t at = tail.size() < end_nbytes ? 0 : tail.size() - end_nbytes + 1; at-- > 0;) {
        if (load<std::uint32_t>(tail, at) == end_signature &&
            load<std::uint16_t>(tail, at + 20) == tail.size() - at - end_nbytes) {
            return at;
        }
    }
    return std::nullopt;
}

/// 8 bytes that say how long the JSON object behind them is: DataStates, safetensors.
bool has_json_header(std::string_view head, std::uint64_t file_nbytes) {
    if (head.size() < 10) {
        return false;
    }
    const auto nbytes = load<std::uint64_t>(head, 0);
    return nbytes >= 2 && fits(8, nbytes, file_nbytes) && head[8] == '{' && (head[9] == '"' || head[9] == '}');
}

/// Why a file without an end record is none.
Result<End> explain(const File& file) {
    std::string head(std::min(file.size(), head_nbytes), '\0');
    CKPTFS_TRY(file.read(0, std::as_writable_bytes(std::span(head))));
    const bool legacy = std::string_view(head).starts_with(legacy_magic);
    const bool tar = head.size() >= tar_magic_offset + tar_magic.size() &&
                     std::string_view(head).substr(tar_magic_offset, tar_magic.size()) == tar_magic;
    if (legacy || tar) {
        return Error(ErrorCode::unsupported,
                     "'" + file.name() + "' is a legacy " + (tar ? "tar" : "pickle") +
                         " file of torch.save, not a zip archive: load it and save it again with a current PyTorch and "
                         "_use_new_zipfile_serialization=True");
    }
    if (has_json_header(head, file.size())) {
        return Error(
            ErrorCode::unsupported,
            "'" + file.name() +
                "' begins with a JSON header, as DataStates and safetensors write it, and is no zip archive: "
                "load it with the checkpoint engine that saved it, and save it again with DeepSpeed's default");
    }
    return Error(ErrorCode::incomplete,
                 "'" + file.name() + "' (" + std::to_string(file.size()) +
                     " bytes) has no zip end record: the save may still be running or was cut short");
}

/// What the end record says, where ZIP64 does not say it instead.
struct EndRecord {
    std::uint64_t offset;
    std::uint16_t disk;
    std::uint16_t directory_disk;
    std::uint16_t count_here;
    std::uint16_t count;
    std::uint32_t nbytes;
    std::uint32_t directory_offset;
};

Result<DirectoryPlace> read_zip64(const File& file, const Tail& tail, const EndRecord& end,
                                  std::uint64_t locator_offset, std::string_view locator) {
    const auto record_offset = load<std::uint64_t>(locator, 8);
    if (load<std::uint32_t>(locator, 4) != 0 || load<std::uint32_t>(locator, 16) > 1) {
        return Error(ErrorCode::unsupported, "'" + file.name() + "' is one part of a zip archive in several parts");
    }
    if (!fits(record_offset, zip64_end_nbytes, locator_offset)) {
        return damaged(file,
                       "its ZIP64 locator points to byte " + std::to_string(record_offset) + ", outside the file");
    }
    CKPTFS_ASSIGN(const std::string record, tail.get(file, record_offset, zip64_end_nbytes));
    if (load<std::uint32_t>(record, 0) != zip64_end_signature) {
        return damaged(file, "there is no ZIP64 end record at byte " + std::to_string(record_offset));
    }
    constexpr std::uint64_t uncounted = 12;  // the record's size leaves out its signature and itself
    const auto record_nbytes = load<std::uint64_t>(record, 4);
    if (record_nbytes < zip64_end_nbytes - uncounted ||
        !fits(record_offset + uncounted, record_nbytes, locator_offset)) {
        return damaged(file, "its ZIP64 end record claims " + std::to_string(record_nbytes) + " bytes");
    }
    const DirectoryPlace place{load<std::uint64_t>(record, 48), load<std::uint64_t>(record, 40),
                               load<std::uint64_t>(record, 32)};
    const bool one_disk = load<std::uint32_t>(record, 16) == 0 && load<std::uint32_t>(record, 20) == 0 &&
                          load<std::uint64_t>(record, 24) == place.count;
    const bool agree = (end.count == in_zip64_count || end.count == place.count) &&
                       (end.nbytes == in_zip64 || end.nbytes == place.nbytes) &&
                       (end.directory_offset == in_zip64 || end.directory_offset == place.offset);
    if (!one_disk || !agree) {
        return damaged(file, "its two end records contradict each other");
    }
    if (!fits(place.offset, place.nbytes, record_offset)) {
        return damaged(file, "its directory (" + std::to_string(place.nbytes) + " bytes at byte " +
                                 std::to_string(place.offset) + ") reaches past its end record");
    }
    return place;
}

Result<DirectoryPlace> read_end(const File& file, const Tail& tail, std::size_t at) {
    const std::string_view bytes = tail.bytes();
    const EndRecord end{tail.offset() + at,
                        load<std::uint16_t>(bytes, at + 4),
                        load<std::uint16_t>(bytes, at + 6),
                        load<std::uint16_t>(bytes, at + 8),
                        load<std::uint16_t>(bytes, at + 10),
                        load<std::uint32_t>(bytes, at + 12),
                        load<std::uint32_t>(bytes, at + 16)};
    if (end.offset >= zip64_locator_nbytes) {
        const std::uint64_t locator_offset = end.offset - zip64_locator_nbytes;
        CKPTFS_ASSIGN(const std::string locator, tail.get(file, locator_offset, zip64_locator_nbytes));
        if (load<std::uint32_t>(locator, 0) == zip64_locator_signature) {
            return read_zip64(file, tail, end, locator_offset, locator);
        }
    }
    if (end.disk != 0 || end.directory_disk != 0 || end.count_here != end.count) {
        return Error(ErrorCode::unsupported, "'" + file.name() + "' is one part of a zip archive in several parts");
    }
    if (end.nbytes == in_zip64 || end.directory_offset == in_zip64) {
        return damaged(file, "its end record refers to a ZIP64 record that is not there");
    }
    if (!fits(end.directory_offset, end.nbytes, end.offset)) {
        return damaged(file, "its directory (" + std::to_string(end.nbytes) + " bytes at byte " +
                                 std::to_string(end.directory_offset) + ") reaches past its end record");
    }
    return DirectoryPlace{end.directory_offset, end.nbytes, end.count};
}

}  // namespace

Result<Tail> Tail::read(const File& file, std::uint64_t nbytes) {
    Tail tail;
    tail.bytes_.resize(std::min(nbytes, file.size()));
    tail.offset_ = file.size() - tail.bytes_.size();
    CKPTFS_TRY(file.read(tail.offset_, std::as_writable_bytes(std::span(tail.bytes_))));
    return tail;
}

Result<std::string> Tail::get(const File& file, std::uint64_t offset, std::uint64_t nbytes) const {
    if (offset >= offset_) {
        return bytes_.substr(offset - offset_, nbytes);
    }
    std::string bytes(nbytes, '\0');
    CKPTFS_TRY(file.read(offset, std::as_writable_bytes(std::span(bytes))));
    return bytes;
}

Result<End> find_end(const File& file) {
    End end;
    std::optional<std::size_t> at;
    for (const std::uint64_t nbytes : {first_tail_nbytes, longest_tail_nbytes}) {
        CKPTFS_ASSIGN(end.tail, Tail::read(file, nbytes));
        at = find_end_record(end.tail.bytes());
        if (at || end.tail.offset() == 0) {
            break;
        }
    }
    if (!at) {
        return explain(file);
    }
    CKPTFS_ASSIGN(end.directory, read_end(file, end.tail, *at));
    if (end.directory.count > end.directory.nbytes / central_header_nbytes) {
        return damaged(file, "its end record claims " + std::to_string(end.directory.count) +
                                 " entries in a directory of " + std::to_string(end.directory.nbytes) + " bytes");
    }
    return end;
}

}  // namespace ckptfs::pt::zip
