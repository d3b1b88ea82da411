// The directory of a zip file, every claim in it held against the local headers, the other entries and the file's size.
#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include "pt/crc32.h"
#include "pt/damaged.h"
#include "pt/zip.h"
#include "pt/zip_end.h"
#include "pt/zip_format.h"
#include "pt/zip_layout.h"
#include "util/checked.h"

namespace ckptfs::pt {
namespace {

using zip::load;

/// What the directory is read by: a claimed size is never allocated, only what turns out to be there.
constexpr std::uint64_t window_nbytes = std::uint64_t{256} << 10;
/// Local headers with at most this much between them are read together: an extra read costs more than that.
constexpr std::uint64_t largest_header_gap = 512;
constexpr std::uint64_t most_joined_nbytes = std::uint64_t{64} << 10;
/// Where all local headers can be read with at most this many bytes, they are.
constexpr std::uint64_t most_headers_nbytes = std::uint64_t{32} << 10;
/// Elsewhere, of the storages' records, about this many are.
constexpr std::size_t sampled_storages = 64;

/// A forward view of a byte range of a file that need not fit into memory.
class Window {
 public:
    Window(const File& file, const zip::Tail& tail, std::uint64_t offset, std::uint64_t nbytes)
        : file_(file), tail_(tail), next_(offset), left_(nbytes) {}

    [[nodiscard]] bool empty() const { return left_ == 0 && at_ == bytes_.size(); }

    /// The next `nbytes` bytes; `damaged` if the range ends before. Valid until the next call.
    Result<std::string_view> take(std::uint64_t nbytes) {
        if (bytes_.size() - at_ < nbytes) {
            bytes_.erase(0, at_);
            at_ = 0;
            const std::uint64_t wanted = std::min(left_, std::max(nbytes, window_nbytes));
            CKPTFS_ASSIGN(const std::string more, tail_.get(file_, next_, wanted));
            bytes_ += more;
            next_ += wanted;
            left_ -= wanted;
        }
        if (bytes_.size() - at_ < nbytes) {
            return damaged(file_, "its directory ends inside an entry");
        }
        const std::string_view taken = std::string_view(bytes_).substr(at_, nbytes);
        at_ += nbytes;
        return taken;
    }

 private:
    const File& file_;
    const zip::Tail& tail_;
    std::uint64_t next_;
    std::uint64_t left_;
    std::string bytes_;
    std::size_t at_ = 0;
};

/// A directory entry beside its record, whose data offset is 0 until it is known.
struct Entry {
    Record record;
    std::uint16_t flags = 0;
};

/// The content of the ZIP64 extra field; empty if there is none.
Result<std::string_view> zip64_extra(const File& file, const std::string& name, std::string_view extra) {
    while (extra.size() >= 4) {
        const auto nbytes = load<std::uint16_t>(extra, 2);
        if (nbytes > extra.size() - 4) {
            return damaged(file, "an extra field of '" + name + "' claims more bytes than there are");
        }
        if (load<std::uint16_t>(extra, 0) == zip::zip64_extra_id) {
            return extra.substr(4, nbytes);
        }
        extra.remove_prefix(4 + std::size_t{nbytes});
    }
    return std::string_view();
}

/// Puts the value of ZIP64's extra field into each 32-bit field that refers to it, in their order (APPNOTE 4.5.3).
class Zip64Fields {
 public:
    explicit Zip64Fields(std::string_view extra) : extra_(extra) {}

    bool resolve(std::uint64_t& field) {
        if (field != zip::in_zip64) {
            return true;
        }
        if (extra_.size() < sizeof(std::uint64_t)) {
            return false;
        }
        field = load<std::uint64_t>(extra_, 0);
        extra_.remove_prefix(sizeof(std::uint64_t));
        return true;
    }

 private:
    std::string_view extra_;
};

Result<void> check_method(const File& file, const std::string& name, std::uint16_t method, std::uint16_t flags) {
    constexpr std::uint16_t hidden = zip::encrypted_flag | zip::strong_encryption_flag | zip::masked_header_flag;
    if ((flags & hidden) != 0) {
        return Error(ErrorCode::unsupported, "'" + name + "' in '" + file.name() + "' is encrypted");
    }
    if (method == zip::stored_method) {
        return {};
    }
    const std::string how = method == zip::deflated_method ? "is compressed (deflated)"
                                                           : "is compressed by method " + std::to_string(method);
    return Error(ErrorCode::unsupported,
                 "'" + name + "' in '" + file.name() + "' " + how +
                     ": only stored records can be mapped; save the file again without compression");
}

Result<Entry> next_entry(const File& file, Window& window) {
    CKPTFS_ASSIGN(const std::string_view taken, window.take(zip::central_header_nbytes));
    std::array<char, zip::central_header_nbytes> copy{};  // the next take() moves what it was taken from
    std::copy(taken.begin(), taken.end(), copy.begin());
    const std::string_view header(copy.data(), copy.size());
    if (load<std::uint32_t>(header, 0) != zip::central_header_signature) {
        return damaged(file, "its directory has something that is no entry");
    }
    const std::uint64_t name_nbytes = load<std::uint16_t>(header, 28);
    const std::uint64_t extra_nbytes = load<std::uint16_t>(header, 30);
    const std::uint64_t comment_nbytes = load<std::uint16_t>(header, 32);
    CKPTFS_ASSIGN(const std::string_view rest, window.take(name_nbytes + extra_nbytes + comment_nbytes));

    Entry entry;
    Record& record = entry.record;
    record.name = rest.substr(0, name_nbytes);
    if (record.name.empty() || record.name.find('\0') != std::string::npos) {
        return damaged(file, "a record has no usable name");
    }
    entry.flags = load<std::uint16_t>(header, 8);
    CKPTFS_TRY(check_method(file, record.name, load<std::uint16_t>(header, 10), entry.flags));
    record.crc32 = load<std::uint32_t>(header, 16);
    std::uint64_t stored_nbytes = load<std::uint32_t>(header, 20);
    record.nbytes = load<std::uint32_t>(header, 24);
    record.header_offset = load<std::uint32_t>(header, 42);
    CKPTFS_ASSIGN(const std::string_view zip64, zip64_extra(file, record.name, rest.substr(name_nbytes, extra_nbytes)));
    Zip64Fields fields(zip64);
    if (!fields.resolve(record.nbytes) || !fields.resolve(stored_nbytes) || !fields.resolve(record.header_offset)) {
        return damaged(file, "the ZIP64 field of '" + record.name + "' is too short");
    }
    if (stored_nbytes != record.nbytes) {
        return damaged(file, "'" + record.name + "' is stored, but has two sizes: " + std::to_string(stored_nbytes) +
                                 " and " + std::to_string(record.nbytes));
    }
    return entry;
}

Result<std::vector<Entry>> read_entries(const File& file, const zip::End& end) {
    Window window(file, end.tail, end.directory.offset, end.directory.nbytes);
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < end.directory.count; ++i) {
        CKPTFS_ASSIGN(Entry entry, next_entry(file, window));
        entries.push_back(std::move(entry));
    }
    if (!window.empty()) {
        return damaged(file, "its directory is longer than its " + std::to_string(end.directory.count) + " entries");
    }
    return entries;
}

Result<void> check_names(const File& file, const std::vector<Entry>& entries) {
    std::unordered_set<std::string_view> names;
    names.reserve(entries.size());
    for (const Entry& entry : entries) {
        if (!names.insert(entry.record.name).second) {
            return damaged(file, "it has two records '" + entry.record.name + "'");
        }
    }
    return {};
}

/// How much of a local header is read at once: all that is looked at, unless another writer's extra fields come first.
std::uint64_t header_window(const Entry& entry) {
    return zip::local_header_nbytes + entry.record.name.size() + zip::zip64_extra_nbytes_most;
}

/// Reads the local headers of a file in ascending order, neighbours together.
class HeaderReader {
 public:
    HeaderReader(const File& file, const std::vector<Entry*>& entries, std::uint64_t end)
        : file_(file), entries_(entries), end_(end) {}

    /// What header_window() names, cut at the directory. Calls come with ascending indices.
    Result<std::string_view> get(std::size_t index) {
        const Entry& entry = *entries_[index];
        const std::uint64_t start = entry.record.header_offset;
        const std::uint64_t stop = std::min(end_, start + header_window(entry));
        if (start < offset_ || stop > offset_ + bytes_.size()) {
            CKPTFS_TRY(fill(index));
        }
        return std::string_view(bytes_).substr(start - offset_, stop - start);
    }

 private:
    Result<void> fill(std::size_t index) {
        offset_ = entries_[index]->record.header_offset;
        std::uint64_t stop = offset_;
        for (std::size_t i = index; i < entries_.size(); ++i) {
            const std::uint64_t start = entries_[i]->record.header_offset;
            const std::uint64_t next_stop = std::min(end_, start + header_window(*entries_[i]));
            if (i > index && (start > stop + largest_header_gap || next_stop - offset_ > most_joined_nbytes)) {
                break;
            }
            stop = std::max(stop, next_stop);
        }
        bytes_.resize(stop - offset_);
        return file_.read(offset_, std::as_writable_bytes(std::span(bytes_)));
    }

    const File& file_;
    const std::vector<Entry*>& entries_;
    const std::uint64_t end_;
    std::uint64_t offset_ = 0;
    std::string bytes_;
};

/// With a data descriptor the header may leave a number out; otherwise it must repeat the directory's.
bool agrees(std::uint64_t local, std::uint64_t directory, bool descriptor) {
    return local == directory || (descriptor && (local == 0 || local == zip::in_zip64));
}

/// Whether the local header says what the directory says; sets the record's data offset.
Result<void> check_header(const File& file, Entry& entry, std::string_view header, std::uint64_t directory_offset) {
    Record& record = entry.record;
    const std::uint64_t fixed = zip::local_header_nbytes + record.name.size();
    if (header.size() < fixed || load<std::uint32_t>(header, 0) != zip::local_header_signature) {
        return damaged(file,
                       "there is no header of '" + record.name + "' at byte " + std::to_string(record.header_offset));
    }
    const std::uint64_t name_nbytes = load<std::uint16_t>(header, 26);
    const std::uint64_t extra_nbytes = load<std::uint16_t>(header, 28);
    if (name_nbytes != record.name.size() || header.substr(zip::local_header_nbytes, name_nbytes) != record.name) {
        return damaged(file, "the header of '" + record.name + "' has another name");
    }
    if (load<std::uint16_t>(header, 6) != entry.flags || load<std::uint16_t>(header, 8) != zip::stored_method) {
        return damaged(file, "the header of '" + record.name + "' contradicts the directory about how it is stored");
    }
    record.data_offset = record.header_offset + fixed + extra_nbytes;
    if (!fits(record.data_offset, record.nbytes, directory_offset)) {
        return damaged(file, "'" + record.name + "' (" + std::to_string(record.nbytes) + " bytes at byte " +
                                 std::to_string(record.data_offset) + ") reaches into the directory");
    }

    const bool descriptor = (entry.flags & zip::data_descriptor_flag) != 0;
    std::uint64_t stored_nbytes = load<std::uint32_t>(header, 18);
    std::uint64_t nbytes = load<std::uint32_t>(header, 22);
    if (!descriptor && (nbytes == zip::in_zip64 || stored_nbytes == zip::in_zip64)) {
        std::string extra(extra_nbytes, '\0');
        CKPTFS_TRY(file.read(record.header_offset + fixed, std::as_writable_bytes(std::span(extra))));
        CKPTFS_ASSIGN(const std::string_view zip64, zip64_extra(file, record.name, extra));
        Zip64Fields fields(zip64);
        if (!fields.resolve(nbytes) || !fields.resolve(stored_nbytes)) {
            return damaged(file, "the ZIP64 field of '" + record.name + "' is too short");
        }
    }
    if (!agrees(load<std::uint32_t>(header, 14), record.crc32, descriptor) ||
        !agrees(nbytes, record.nbytes, descriptor) || !agrees(stored_nbytes, record.nbytes, descriptor)) {
        return damaged(file, "the header of '" + record.name + "' contradicts the directory about its size or CRC");
    }
    return {};
}

/// `entries`: in ascending order.
Result<void> check_headers(const File& file, const std::vector<Entry*>& entries, std::uint64_t directory_offset) {
    HeaderReader reader(file, entries, directory_offset);
    for (std::size_t i = 0; i < entries.size(); ++i) {
        CKPTFS_ASSIGN(const std::string_view header, reader.get(i));
        CKPTFS_TRY(check_header(file, *entries[i], header, directory_offset));
    }
    return {};
}

Result<void> check_overlaps(const File& file, const std::vector<Entry>& entries) {
    for (std::size_t i = 0; i + 1 < entries.size(); ++i) {
        const Record& record = entries[i].record;
        const Record& next = entries[i + 1].record;
        if (next.header_offset < record.data_offset + record.nbytes) {
            return damaged(file, "'" + record.name + "' and '" + next.name + "' share bytes of the file");
        }
    }
    return {};
}

/// The most that reading all local headers can take.
std::uint64_t headers_nbytes_most(const std::vector<Entry>& entries, std::uint64_t directory_offset) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const std::uint64_t next = i + 1 < entries.size() ? entries[i + 1].record.header_offset : directory_offset;
        sum += std::min(next - entries[i].record.header_offset, header_window(entries[i]) + largest_header_gap);
    }
    return sum;
}

/// A record's name without the archive's root directory.
std::string_view name_in_archive(const Record& record) {
    return std::string_view(record.name).substr(record.name.find('/') + 1);
}

bool is_storage(const Entry& entry) {
    return name_in_archive(entry.record).starts_with("data/");
}

/// The entries of all records but the storages', and of some of these: the last of a row, and others spread evenly.
std::vector<Entry*> sample(std::vector<Entry>& entries) {
    std::vector<Entry*> sampled;
    const std::size_t step = entries.size() / sampled_storages + 1;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const bool last = i + 1 == entries.size() || !is_storage(entries[i + 1]);
        if (last || i % step == 0 || !is_storage(entries[i])) {
            sampled.push_back(&entries[i]);
        }
    }
    return sampled;
}

Result<std::uint64_t> declared_alignment(const File& file, const std::vector<Entry>& entries) {
    constexpr std::uint64_t most_digits = 5;
    const auto found = std::find_if(entries.begin(), entries.end(), [](const Entry& entry) {
        return name_in_archive(entry.record) == ".storage_alignment" && entry.record.nbytes <= most_digits;
    });
    if (found == entries.end()) {
        return default_alignment;
    }
    CKPTFS_ASSIGN(const std::string digits, read_record(file, found->record));
    return parse_alignment(digits).value_or(default_alignment);
}

/// Gives the records whose headers were not read the place that PyTorch's rule gives them. False unless each record
/// ends, by that rule, exactly where the next header begins, and the headers that were read say the same.
bool place_by_rule(std::vector<Entry>& entries, std::uint64_t alignment, std::uint64_t directory_offset) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
        Record& record = entries[i].record;
        if (!fits(record.header_offset, record.nbytes, directory_offset)) {
            return false;
        }
        const RecordLayout layout = record_layout(record.header_offset, record.name.size(), record.nbytes, alignment);
        const std::uint64_t next = i + 1 < entries.size() ? entries[i + 1].record.header_offset : directory_offset;
        if (layout.end != next || (record.data_offset != 0 && record.data_offset != layout.data_offset)) {
            return false;
        }
        record.data_offset = layout.data_offset;
    }
    return true;
}

/// Finds where each record's data begins, which only its local header says. In a file of thousands of storages the
/// headers are many reads, so a sample of them has to do where the directory by itself proves that PyTorch's writer
/// laid the file out: its rule then gives each data offset, and any header of another length would have moved the
/// headers behind it. A file in another layout has all its headers read.
Result<void> place_records(const File& file, std::vector<Entry>& entries, std::uint64_t directory_offset) {
    if (headers_nbytes_most(entries, directory_offset) > most_headers_nbytes) {
        CKPTFS_TRY(check_headers(file, sample(entries), directory_offset));
        CKPTFS_ASSIGN(const std::uint64_t alignment, declared_alignment(file, entries));
        if (place_by_rule(entries, alignment, directory_offset)) {
            return {};
        }
    }
    std::vector<Entry*> all;
    all.reserve(entries.size());
    for (Entry& entry : entries) {
        all.push_back(&entry);
    }
    CKPTFS_TRY(check_headers(file, all, directory_offset));
    return check_overlaps(file, entries);
}

}  // namespace

Result<std::vector<Record>> read_directory(const File& file) {
    CKPTFS_ASSIGN(const zip::End end, zip::find_end(file));
    CKPTFS_ASSIGN(std::vector<Entry> entries, read_entries(file, end));
    CKPTFS_TRY(check_names(file, entries));
    const auto lies_before = [](const Entry& a, const Entry& b) {
        return a.record.header_offset < b.record.header_offset;
    };
    if (!std::is_sorted(entries.begin(), entries.end(), lies_before)) {
        std::sort(entries.begin(), entries.end(), lies_before);
    }
    for (const Entry& entry : entries) {
        if (!fits(entry.record.header_offset, zip::local_header_nbytes, end.directory.offset)) {
            return damaged(file, "the header of '" + entry.record.name + "' lies outside the file, at byte " +
                                     std::to_string(entry.record.header_offset));
        }
    }
    CKPTFS_TRY(place_records(file, entries, end.directory.offset));
    std::vector<Record> records;
    records.reserve(entries.size());
    for (Entry& entry : entries) {
        records.push_back(std::move(entry.record));
    }
    return records;
}

Result<std::string> read_record(const File& file, const Record& record) {
    std::string bytes(record.nbytes, '\0');
    CKPTFS_TRY(file.read(record.data_offset, std::as_writable_bytes(std::span(bytes))));
    if (record.crc32 != 0 && crc32_of(bytes) != record.crc32) {
        return damaged(file, "the CRC of '" + record.name + "' does not match its bytes");
    }
    return bytes;
}

}  // namespace ckptfs::pt
