// Files of so many storages that not every local header is read, and files that only look like those.
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "pt/archive.h"
#include "pt/crc32.h"
#include "pt/zip_format.h"
#include "support/archives.h"

namespace ckptfs::pt {
namespace {

using test::MemoryFile;

constexpr std::size_t storages = 3'000;

using Records = std::vector<std::pair<std::string, std::string>>;

/// `alignment`: as in .storage_alignment; empty: there is no such record.
Records many_records(const std::string& alignment) {
    Records records = {{"a/data.pkl", "\x80\x02N."}};
    if (!alignment.empty()) {
        records.emplace_back("a/.storage_alignment", alignment);
    }
    for (std::size_t i = 0; i < storages; ++i) {
        const std::string key = std::to_string(i);
        records.emplace_back("a/data/" + key, i % 7 == 0 ? "" : key + std::string(900 + i % 100, 'x'));
    }
    records.emplace_back("a/version", "3\n");
    return records;
}

/// How another writer than PyTorch's could lay a record out.
struct Style {
    std::function<std::uint64_t(std::size_t index, const RecordLayout& layout)> padding;  ///< empty: no extra field
    std::uint64_t descriptor_nbytes = 0;
};

std::string written(const Records& records, const Style& style) {
    zip::Writer file;
    zip::Writer directory;
    for (std::size_t i = 0; i < records.size(); ++i) {
        const auto& [name, content] = records[i];
        const std::uint64_t header_offset = file.bytes().size();
        const bool described = style.descriptor_nbytes > 0 && !content.empty();
        const std::uint64_t flags = described ? zip::data_descriptor_flag : 0U;
        const std::uint32_t crc32 = crc32_of(content);
        file.u32(zip::local_header_signature).u16(0).u16(flags).u16(zip::stored_method).u32(0).u32(crc32);
        file.u32(content.size()).u32(content.size()).u16(name.size());
        if (style.padding) {
            const RecordLayout layout = record_layout(header_offset, name.size(), content.size(), default_alignment);
            const std::uint64_t padding = style.padding(i, layout);
            file.u16(padding + 4).text(name).text("FB").u16(padding).fill(padding, 'Z');
        } else {
            file.u16(0).text(name);
        }
        file.text(content).fill(described ? style.descriptor_nbytes : 0, '\0');
        directory.u32(zip::central_header_signature).u16(0).u16(0).u16(flags).u16(zip::stored_method).u32(0).u32(crc32);
        directory.u32(content.size()).u32(content.size()).u16(name.size()).u16(0).u16(0).u16(0).u16(0).u32(0);
        directory.u32(header_offset).text(name);
    }
    const std::uint64_t directory_offset = file.bytes().size();
    file.text(directory.bytes()).u32(zip::end_signature).u16(0).u16(0).u16(records.size()).u16(records.size());
    file.u32(directory.bytes().size()).u32(directory_offset).u16(0);
    return file.bytes();
}

std::uint64_t directory_nbytes(const Records& records) {
    return std::accumulate(records.begin(), records.end(), std::uint64_t{0}, [](std::uint64_t sum, const auto& record) {
        return sum + zip::central_header_nbytes + record.first.size();
    });
}

std::uint64_t nbytes_read(const MemoryFile& file) {
    const std::vector<test::ReadCall> calls = file.calls();
    return std::accumulate(calls.begin(), calls.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const test::ReadCall& call) { return sum + call.nbytes; });
}

void expect_contents(const MemoryFile& file, const Records& expected) {
    const auto records = read_directory(file);
    ASSERT_TRUE(records.ok()) << records.error().message();
    ASSERT_EQ(records->size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(records->at(i).name, expected[i].first);
        const auto content = read_record(file, records->at(i));
        ASSERT_TRUE(content.ok()) << content.error().message();
        ASSERT_EQ(*content, expected[i].second) << expected[i].first;
    }
}

/// PyTorch's file of these records.
std::string laid_out(const Records& records, std::uint64_t alignment) {
    ZipLayout layout(alignment);
    for (const auto& [name, content] : records) {
        layout.add_literal(name, content);
    }
    return *test::read_all(**VirtualFile::create("laid out", std::move(layout).finish(), nullptr));
}

TEST(ZipManyRecords, OpeningReadsThePickleTheDirectoryAndLittleElse) {
    for (const auto& [digits, alignment] :
         {std::pair(std::string(), default_alignment), std::pair(std::string("512"), std::uint64_t{512})}) {
        const Records records = many_records(digits);
        const auto file = std::make_shared<const MemoryFile>(laid_out(records, alignment));
        ASSERT_TRUE(Archive::open(file).ok());
        EXPECT_LE(nbytes_read(*file), directory_nbytes(records) + records[0].second.size() + (64U << 10U));
        EXPECT_LE(file->calls().size(), 100U);
        expect_contents(*file, records);
    }
}

TEST(ZipManyRecords, AnotherWritersFileHasAllItsHeadersRead) {
    const Records records = many_records("");
    expect_contents(MemoryFile(written(records, {})), records);
    const Style unaligned{[](std::size_t /*index*/, const RecordLayout& /*layout*/) { return 5; }, 12};
    expect_contents(MemoryFile(written(records, unaligned)), records);
}

TEST(ZipManyRecords, OneHeaderOfAnotherLengthIsNoticed) {
    const Records records = many_records("");
    const auto as_pytorch = [](std::size_t /*index*/, const RecordLayout& layout) { return layout.padding; };
    const MemoryFile plain(written(records, {as_pytorch, zip::descriptor_nbytes}));
    expect_contents(plain, records);
    for (const std::size_t odd : {std::size_t{1'001}, std::size_t{1'002}, std::size_t{1'003}}) {
        const auto longer = [&](std::size_t index, const RecordLayout& layout) {
            return layout.padding + (index == odd ? default_alignment : 0);
        };
        expect_contents(MemoryFile(written(records, {longer, zip::descriptor_nbytes})), records);
    }
}

TEST(ZipManyRecords, AWrongHeaderAmongThoseReadIsDamage) {
    const Records records = many_records("");
    for (const char* name : {"a/data.pkl", "a/data/2999", "a/version"}) {
        std::string bytes = laid_out(records, default_alignment);
        const std::size_t at = bytes.find(name);
        bytes[at + 3] = '#';
        const auto directory = read_directory(MemoryFile(bytes));
        ASSERT_FALSE(directory.ok()) << name;
        EXPECT_EQ(directory.error().code(), ErrorCode::damaged);
    }
}

TEST(ZipManyRecords, RecordsThatShareBytesAreDamage) {
    const Records records = many_records("");
    std::string bytes = laid_out(records, default_alignment);
    // The directory gives one storage, whose header is not read at first, the place of the next.
    const std::size_t entry = bytes.rfind("a/data/1001") - zip::central_header_nbytes;
    const std::size_t next = bytes.rfind("a/data/1002") - zip::central_header_nbytes;
    bytes.replace(entry + 42, 4, bytes.substr(next + 42, 4));
    const auto directory = read_directory(MemoryFile(bytes));
    ASSERT_FALSE(directory.ok());
    EXPECT_EQ(directory.error().code(), ErrorCode::damaged);
}

}  // namespace
}  // namespace ckptfs::pt
