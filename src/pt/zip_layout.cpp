// Headers, paddings, descriptors and directory in the bytes that PyTorch writes.
#include "pt/zip_layout.h"

#include <algorithm>
#include <utility>

#include "pt/crc32.h"
#include "pt/zip_format.h"

namespace ckptfs::pt {
namespace {

using zip::in_zip64;

constexpr std::uint16_t zip64_made_by = 0x031e;
constexpr std::uint16_t zip64_needed = 0x2d;
constexpr std::uint64_t zip64_end_counted_nbytes = 44;
constexpr std::uint64_t padding_header_nbytes = 4;

/// `stored_nbytes`: PyTorch writes local headers before it knows the stored size, and leaves 0 there.
std::string zip64_extra(std::uint64_t nbytes, std::uint64_t stored_nbytes, std::uint64_t header_offset) {
    const bool large = nbytes >= in_zip64;
    const bool far = header_offset >= in_zip64;
    if (!large && !far) {
        return {};
    }
    zip::Writer writer;
    writer.u16(zip::zip64_extra_id).u16((large ? 16U : 0U) + (far ? 8U : 0U));
    if (large) {
        writer.u64(nbytes).u64(stored_nbytes);
    }
    if (far) {
        writer.u64(header_offset);
    }
    return writer.bytes();
}

}  // namespace

std::optional<std::uint64_t> parse_alignment(std::string_view digits) {
    std::uint64_t alignment = 0;
    for (const char digit : digits) {
        if (digit < '0' || digit > '9' || alignment > largest_alignment) {
            return std::nullopt;
        }
        alignment = alignment * 10 + static_cast<std::uint64_t>(digit - '0');
    }
    return alignment >= 1 && alignment <= largest_alignment ? std::optional(alignment) : std::nullopt;
}

RecordLayout record_layout(std::uint64_t header_offset, std::uint64_t name_nbytes, std::uint64_t nbytes,
                           std::uint64_t alignment) {
    const std::uint64_t zip64_nbytes = zip64_extra(nbytes, 0, header_offset).size();
    const std::uint64_t start =
        header_offset + zip::local_header_nbytes + name_nbytes + zip64_nbytes + padding_header_nbytes;
    RecordLayout layout;
    layout.padding = (alignment - start % alignment) % alignment;
    layout.data_offset = start + layout.padding;
    layout.end = layout.data_offset + nbytes;
    if (nbytes > 0) {
        layout.end += zip64_nbytes > 0 ? zip::zip64_descriptor_nbytes : zip::descriptor_nbytes;
    }
    return layout;
}

void ZipLayout::add(std::string_view name, const PieceList& content, std::uint32_t crc32) {
    const std::uint64_t header_offset = pieces_.nbytes();
    const std::uint64_t nbytes = content.nbytes();
    const std::uint64_t flags = zip::utf8_flag | (nbytes > 0 ? zip::data_descriptor_flag : 0U);
    const std::string local_zip64 = zip64_extra(nbytes, 0, header_offset);
    const std::string central_zip64 = zip64_extra(nbytes, nbytes, header_offset);

    const std::uint64_t padding = record_layout(header_offset, name.size(), nbytes, alignment_).padding;

    zip::Writer header;
    header.u32(zip::local_header_signature).u16(0).u16(flags).u16(zip::stored_method).u32(0).u32(0).u32(0).u32(0);
    header.u16(name.size()).u16(local_zip64.size() + padding_header_nbytes + padding);
    header.text(name).text(local_zip64).text("FB").u16(padding).fill(padding, 'Z');
    pieces_.add_literal(header.bytes());
    pieces_.append(content);
    if (nbytes > 0) {
        zip::Writer descriptor;
        descriptor.u32(zip::data_descriptor_signature).u32(crc32);
        if (!local_zip64.empty()) {
            descriptor.u64(nbytes).u64(nbytes);
        } else {
            descriptor.u32(nbytes).u32(nbytes);
        }
        pieces_.add_literal(descriptor.bytes());
    }

    const std::uint64_t short_nbytes = std::min<std::uint64_t>(nbytes, in_zip64);
    zip::Writer entry;
    entry.u32(zip::central_header_signature).u16(0).u16(0).u16(flags).u16(zip::stored_method).u32(0).u32(crc32);
    entry.u32(short_nbytes).u32(short_nbytes).u16(name.size()).u16(central_zip64.size()).u16(0).u16(0).u16(0).u32(0);
    entry.u32(std::min<std::uint64_t>(header_offset, in_zip64)).text(name).text(central_zip64);
    directory_ += entry.bytes();
    ++count_;
}

void ZipLayout::add_literal(std::string_view name, std::string_view bytes) {
    PieceList content;
    content.add_literal(bytes);
    add(name, content, crc32_of(bytes));
}

PieceList ZipLayout::finish() && {
    const std::uint64_t start = pieces_.nbytes();
    pieces_.add_literal(directory_);
    const std::uint64_t end = pieces_.nbytes();
    const std::uint64_t short_count = std::min<std::uint64_t>(count_, zip::in_zip64_count);
    zip::Writer tail;
    tail.u32(zip::zip64_end_signature).u64(zip64_end_counted_nbytes).u16(zip64_made_by).u16(zip64_needed).u32(0).u32(0);
    tail.u64(count_).u64(count_).u64(directory_.size()).u64(start);
    tail.u32(zip::zip64_locator_signature).u32(0).u64(end).u32(1);
    tail.u32(zip::end_signature).u16(0).u16(0).u16(short_count).u16(short_count);
    tail.u32(std::min<std::uint64_t>(directory_.size(), in_zip64)).u32(std::min<std::uint64_t>(start, in_zip64)).u16(0);
    pieces_.add_literal(tail.bytes());
    return std::move(pieces_);
}

}  // namespace ckptfs::pt
