// ZipLayout: what it lays out, the reader reads, also past 4 GiB and 65,535 records.
#include "pt/zip_layout.h"

#include <gmock/gmock.h>

#include "pt/crc32.h"
#include "pt/zip.h"
#include "pt/zip_format.h"
#include "support/archives.h"

namespace ckptfs::pt {
namespace {

using test::read_range;

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

std::shared_ptr<const VirtualFile> finished(ZipLayout layout) {
    return *VirtualFile::create("laid out", std::move(layout).finish(), nullptr);
}

TEST(ZipLayout, RecordsComeBackAligned) {
    for (const std::uint64_t alignment : {std::uint64_t{1}, std::uint64_t{64}, std::uint64_t{4096}}) {
        ZipLayout layout(alignment);
        layout.add_literal("a/data.pkl", "pickle");
        layout.add_literal("a/data/0", "");
        layout.add_literal("a/data/1", std::string(1000, 'x'));
        const auto file = finished(std::move(layout));
        const auto records = *read_directory(*file);
        ASSERT_EQ(records.size(), 3U);
        EXPECT_EQ(*read_record(*file, records[0]), "pickle");
        EXPECT_EQ(*read_record(*file, records[2]), std::string(1000, 'x'));
        EXPECT_EQ(records[2].crc32, crc32_of(std::string(1000, 'x')));
        for (const Record& record : records) {
            EXPECT_EQ(record.data_offset % alignment, 0U);
        }
    }
}

TEST(ZipLayout, EqualsPyTorchsOwnFileByteForByte) {
    const auto golden = test::golden("pt/good/shared.pt");
    ZipLayout layout;
    const std::vector<Record> records = *read_directory(*golden);
    for (const Record& record : records) {
        layout.add_literal(record.name, *read_record(*golden, record));
    }
    EXPECT_EQ(*test::read_all(*finished(std::move(layout))), golden->bytes());
}

TEST(ZipLayout, RecordsAndOffsetsPast4GiBReadBack) {
    const test::SparseFile source(20 * gib);
    const std::vector<std::uint64_t> sizes = {5 * gib, 0xFFFFFFFE, 0xFFFFFFFF, 3, 0, 4 * gib};
    ZipLayout layout;
    layout.add_literal("a/data.pkl", "pickle");
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        PieceList content;
        content.add_source(&source, i, sizes[i]);
        layout.add("a/data/" + std::to_string(i), content, 0);
    }
    layout.add_literal("a/version", "3\n");
    const auto file = finished(std::move(layout));
    const auto records = read_directory(*file);
    ASSERT_TRUE(records.ok()) << records.error().message();
    ASSERT_EQ(records->size(), sizes.size() + 2);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const Record& record = records->at(i + 1);
        EXPECT_EQ(record.nbytes, sizes[i]);
        EXPECT_EQ(record.data_offset % 64, 0U);
        if (sizes[i] > gib) {
            const auto bytes = read_range(*file, record.data_offset + gib - i, 1);
            EXPECT_EQ(bytes->front(), 1) << "the marker at 1 GiB of the source";
        }
    }
    EXPECT_EQ(*read_record(*file, records->back()), "3\n");
    EXPECT_LT(file->memory_nbytes(), 16384U) << "sizes cost no memory";
}

TEST(ZipLayout, LargeRecordsHaveTheHeadersOfPyTorch) {
    // As torch.save writes them: an unknown stored size is 0 in the local ZIP64 field, sizes of descriptors have 8
    // bytes.
    const test::SparseFile source(6 * gib);
    PieceList content;
    content.add_source(&source, 0, 5 * gib);
    ZipLayout layout;
    layout.add("big/data/0", content, 0);
    layout.add_literal("big/version", "3\n");
    const auto file = finished(std::move(layout));
    const auto records = *read_directory(*file);
    zip::Writer first;
    first.u32(zip::local_header_signature).u16(0).u16(0x0808).u16(0).u32(0).u32(0).u32(0).u32(0).u16(10).u16(24);
    first.text("big/data/0").u16(1).u16(16).u64(5 * gib).u64(0).text("FB").u16(0);
    EXPECT_EQ(*read_range(*file, 0, 64), first.bytes());
    EXPECT_EQ(records[0].data_offset, 64U);

    const std::uint64_t end = 64 + 5 * gib;
    zip::Writer second;
    second.u32(zip::data_descriptor_signature).u32(0).u64(5 * gib).u64(5 * gib);
    second.u32(zip::local_header_signature).u16(0).u16(0x0808).u16(0).u32(0).u32(0).u32(0).u32(0).u16(11);
    EXPECT_EQ(*read_range(*file, end, 52), second.bytes());
    EXPECT_EQ(records[1].header_offset, end + 24);
    EXPECT_EQ(*read_range(*file, end + 24 + 30 + 11, 12), zip::Writer().u16(1).u16(8).u64(end + 24).bytes());
}

TEST(ZipLayout, MoreRecordsThanA16BitCount) {
    constexpr int count = 70'000;
    ZipLayout layout;
    for (int i = 0; i < count; ++i) {
        layout.add_literal("a/data/" + std::to_string(i), "");
    }
    const auto file = finished(std::move(layout));
    const auto records = read_directory(*file);
    ASSERT_TRUE(records.ok()) << records.error().message();
    EXPECT_EQ(records->size(), static_cast<std::size_t>(count));
}

}  // namespace
}  // namespace ckptfs::pt
