// read_directory on golden files, and on what no writer should have written.
#include <gmock/gmock.h>

#include <functional>
#include <random>

#include "pt/zip.h"
#include "pt/zip_format.h"
#include "support/archives.h"

namespace ckptfs::pt {
namespace {

using test::container;
using test::golden;
using test::MemoryFile;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names_of(const std::vector<Record>& records) {
    std::vector<std::string> names;
    for (const Record& record : records) {
        names.push_back(record.name);
    }
    return names;
}

Error error_of(const std::string& bytes) {
    const auto records = read_directory(MemoryFile(bytes, "the file"));
    return records.ok() ? Error(ErrorCode::verification, "no error") : records.error();
}

/// Writes `value` over the little-endian number at `offset`.
void store(std::string& bytes, std::uint64_t offset, std::uint64_t value, int nbytes) {
    for (int i = 0; i < nbytes; ++i) {
        bytes.at(offset + static_cast<std::uint64_t>(i)) = static_cast<char>((value >> (8 * i)) & 0xFFU);
    }
}

std::string signature(std::uint32_t value) {
    return zip::Writer().u32(value).bytes();
}

/// Where the n-th (from 0) structure with this signature starts.
std::uint64_t find_structure(const std::string& bytes, std::uint32_t value, int n = 0) {
    std::uint64_t at = bytes.find(signature(value));
    while (n-- > 0) {
        at = bytes.find(signature(value), at + 1);
    }
    return at;
}

const std::vector<std::pair<std::string, std::string>>& small_records() {
    static const std::vector<std::pair<std::string, std::string>> records = {
        {"a/data.pkl", "\x80\x02N."}, {"a/data/0", std::string(100, 'x')}, {"a/data/1", ""}, {"a/version", "3\n"}};
    return records;
}

TEST(ZipDirectory, ListsAPlainFileInItsOrder) {
    const auto file = golden("pt/good/plain.pt");
    const auto records = read_directory(*file);
    ASSERT_TRUE(records.ok()) << records.error().message();
    EXPECT_THAT(names_of(*records), ElementsAre("plain/data.pkl", "plain/.format_version", "plain/.storage_alignment",
                                                "plain/byteorder", "plain/data/0", "plain/data/1", "plain/data/2",
                                                "plain/version", "plain/.data/serialization_id"));
    EXPECT_EQ(records->at(4).nbytes, 48U);
    EXPECT_EQ(records->at(4).data_offset % 64, 0U);
    EXPECT_EQ(*read_record(*file, records->at(3)), "little");
    EXPECT_EQ(*read_record(*file, records->at(7)), "3\n");
}

TEST(ZipDirectory, ReadsEveryGoodFileAndItsRecords) {
    const std::vector<std::string> paths = test::pt_files("pt/good");
    EXPECT_GE(paths.size(), 15U);
    for (const std::string& path : paths) {
        const MemoryFile file(test::file_bytes(path), test::base_name(path));
        const auto records = read_directory(file);
        ASSERT_TRUE(records.ok()) << records.error().message();
        EXPECT_GE(records->size(), 3U) << path;
        for (const Record& record : *records) {
            EXPECT_TRUE(read_record(file, record).ok()) << path << " " << record.name;
        }
    }
}

TEST(ZipDirectory, ReadsLittle) {
    std::vector<std::pair<std::string, std::string>> records = {{"a/data.pkl", "\x80\x02N."}};
    constexpr std::size_t count = 200;
    for (std::size_t i = 0; i < count; ++i) {
        records.emplace_back("a/data/" + std::to_string(i), std::string(i % 2 == 0 ? 8 : 5000, 'x'));
    }
    const MemoryFile file(container(records));
    ASSERT_EQ(read_directory(file)->size(), count + 1);
    std::uint64_t nbytes = 0;
    for (const test::ReadCall& call : file.calls()) {
        nbytes += call.nbytes;
    }
    EXPECT_GT(nbytes, count * 46) << "the directory is";
    EXPECT_LE(file.calls().size(), count / 2 + 5) << "neighbouring headers share a read";
    EXPECT_LE(nbytes, 16384 + count * 300) << "the large records are not read";
}

TEST(ZipDirectory, ACommentMayHoldWhatLooksLikeAnEndRecord) {
    std::string bytes = container(small_records());
    const std::string comment = "PK\x05\x06 and more, to the length of an end record and beyond";
    store(bytes, bytes.size() - 2, comment.size(), 2);
    EXPECT_EQ(read_directory(MemoryFile(bytes + comment))->size(), 4U);
    std::string longest = container(small_records());
    store(longest, longest.size() - 2, 0xFFFF, 2);
    EXPECT_EQ(read_directory(MemoryFile(longest + std::string(0xFFFF, 'c')))->size(), 4U);
}

TEST(ZipDirectory, NamesLegacyAndCompressedFiles) {
    EXPECT_THAT(error_of(test::golden("pt/bad/legacy.pt")->bytes()).message(), HasSubstr("legacy pickle"));
    EXPECT_EQ(error_of(test::golden("pt/bad/legacy.pt")->bytes()).code(), ErrorCode::unsupported);
    EXPECT_THAT(error_of(test::golden("pt/bad/legacy_tar.pt")->bytes()).message(), HasSubstr("legacy tar"));
    EXPECT_EQ(error_of(test::golden("pt/bad/legacy_tar.pt")->bytes()).code(), ErrorCode::unsupported);
}

TEST(ReadDirectory, NamesAFileWithAJsonHeader) {
    // DataStates and safetensors: 8 bytes of size, a JSON object, tensors.
    const std::string json = "{\"module\": {\"start_offset\": 0, \"end_offset\": 4}}";
    std::string file(8, '\0');
    file[0] = static_cast<char>(json.size());
    file += json + "data";
    EXPECT_EQ(error_of(file).code(), ErrorCode::unsupported) << error_of(file).message();
    EXPECT_THAT(error_of(file).message(), HasSubstr("DataStates"));
    EXPECT_EQ(error_of(file.substr(0, 20)).code(), ErrorCode::incomplete) << "its header is cut short";
    file[0] = 1;
    EXPECT_EQ(error_of(file).code(), ErrorCode::incomplete) << "too small a size for any JSON object";
    EXPECT_THAT(error_of(test::golden("pt/bad/deflated.pt")->bytes()).message(), HasSubstr("deflated"));
    EXPECT_EQ(error_of(test::golden("pt/bad/deflated.pt")->bytes()).code(), ErrorCode::unsupported);
}

TEST(ZipDirectory, WithoutAnEndRecordTheSaveMayStillBeRunning) {
    const std::string whole = container(small_records());
    for (const std::string& bytes : {std::string(), std::string("PK"), whole.substr(0, whole.size() / 2),
                                     std::string(100'000, '\0'), whole + std::string(70'000, '\0')}) {
        EXPECT_EQ(error_of(bytes).code(), ErrorCode::incomplete) << bytes.size();
    }
    EXPECT_THAT(error_of("").message(), HasSubstr("'the file'"));
}

TEST(ZipDirectory, EveryTruncationIsAnError) {
    const std::string whole = test::golden("pt/good/plain.pt")->bytes();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        EXPECT_EQ(error_of(whole.substr(0, length)).code(), ErrorCode::incomplete) << length;
        const ErrorCode beheaded = error_of(whole.substr(whole.size() - length)).code();
        EXPECT_TRUE(beheaded == ErrorCode::damaged || beheaded == ErrorCode::incomplete) << length;
    }
}

struct Corruption {
    const char* name;
    std::function<void(std::string&)> apply;
    ErrorCode code;
};

TEST(ZipDirectory, ContradictionsAreDamage) {
    const auto in_end = [](std::uint64_t offset, std::uint64_t value, int nbytes) {
        return [=](std::string& bytes) {
            store(bytes, find_structure(bytes, zip::end_signature) + offset, value, nbytes);
        };
    };
    const auto in_zip64 = [](std::uint64_t offset, std::uint64_t value, int nbytes) {
        return [=](std::string& bytes) {
            store(bytes, find_structure(bytes, zip::zip64_end_signature) + offset, value, nbytes);
        };
    };
    const auto in_locator = [](std::uint64_t offset, std::uint64_t value, int nbytes) {
        return [=](std::string& bytes) {
            store(bytes, find_structure(bytes, zip::zip64_locator_signature) + offset, value, nbytes);
        };
    };
    const auto in_entry = [](std::uint64_t offset, std::uint64_t value, int nbytes) {
        return [=](std::string& bytes) {
            store(bytes, find_structure(bytes, zip::central_header_signature, 1) + offset, value, nbytes);
        };
    };
    const auto in_header = [](std::uint64_t offset, std::uint64_t value, int nbytes) {
        return [=](std::string& bytes) {
            store(bytes, find_structure(bytes, zip::local_header_signature, 1) + offset, value, nbytes);
        };
    };
    const std::vector<Corruption> corruptions = {
        {"end: entries", in_end(10, 3, 2), ErrorCode::damaged},
        {"end: directory size", in_end(12, 7, 4), ErrorCode::damaged},
        {"end: directory offset", in_end(16, 7, 4), ErrorCode::damaged},
        {"zip64: entries", in_zip64(32, 1ULL << 60, 8), ErrorCode::damaged},
        {"zip64: directory size", in_zip64(40, UINT64_MAX, 8), ErrorCode::damaged},
        {"zip64: directory offset", in_zip64(48, UINT64_MAX - 10, 8), ErrorCode::damaged},
        {"zip64: own size", in_zip64(4, UINT64_MAX, 8), ErrorCode::damaged},
        {"zip64: own size too small", in_zip64(4, 43, 8), ErrorCode::damaged},
        {"zip64: signature", in_zip64(0, 0, 4), ErrorCode::damaged},
        {"locator: offset", in_locator(8, UINT64_MAX - 3, 8), ErrorCode::damaged},
        {"locator: disks", in_locator(16, 2, 4), ErrorCode::unsupported},
        {"entry: signature", in_entry(0, 0, 4), ErrorCode::damaged},
        {"entry: flags", in_entry(8, 0x0800, 2), ErrorCode::damaged},
        {"entry: encrypted", in_entry(8, 0x0809, 2), ErrorCode::unsupported},
        {"entry: method", in_entry(10, 93, 2), ErrorCode::unsupported},
        {"entry: one size", in_entry(20, 99, 4), ErrorCode::damaged},
        {"entry: sizes past the directory",
         [&](std::string& bytes) {
             in_entry(20, 0x7FFFFFFF, 4)(bytes);
             in_entry(24, 0x7FFFFFFF, 4)(bytes);
         },
         ErrorCode::damaged},
        {"entry: sizes reach into the next record",
         [&](std::string& bytes) {
             in_entry(20, 300, 4)(bytes);
             in_entry(24, 300, 4)(bytes);
         },
         ErrorCode::damaged},
        {"entry: size in a ZIP64 field that is not there", in_entry(24, 0xFFFFFFFF, 4), ErrorCode::damaged},
        {"entry: name length", in_entry(28, 0xFFFF, 2), ErrorCode::damaged},
        {"entry: extra length", in_entry(30, 5, 2), ErrorCode::damaged},
        {"entry: header offset", in_entry(42, 1, 4), ErrorCode::damaged},
        {"entry: header offset outside", in_entry(42, 0xFFFFFFF0, 4), ErrorCode::damaged},
        {"entry: another record's header", in_entry(42, 0, 4), ErrorCode::damaged},
        {"header: signature", in_header(0, 0, 4), ErrorCode::damaged},
        {"header: flags", in_header(6, 0, 2), ErrorCode::damaged},
        {"header: method", in_header(8, 8, 2), ErrorCode::damaged},
        {"header: CRC", in_header(14, 1, 4), ErrorCode::damaged},
        {"header: size", in_header(22, 50, 4), ErrorCode::damaged},
        {"header: name length", in_header(26, 1, 2), ErrorCode::damaged},
        {"header: extra length", in_header(28, 0xFFFF, 2), ErrorCode::damaged},
        {"header: name", in_header(30, 'b', 1), ErrorCode::damaged},
        {"two records of one name",
         [](std::string& bytes) {
             const std::size_t last = bytes.rfind("a/data/1");
             bytes[last + 7] = '0';
         },
         ErrorCode::damaged},
        {"a name with NUL", [](std::string& bytes) { bytes[bytes.rfind("a/data/1") + 7] = '\0'; }, ErrorCode::damaged},
    };
    for (const Corruption& corruption : corruptions) {
        std::string bytes = container(small_records());
        ASSERT_TRUE(read_directory(MemoryFile(bytes)).ok());
        corruption.apply(bytes);
        const Error error = error_of(bytes);
        EXPECT_EQ(error.code(), corruption.code) << corruption.name << ": " << error.message();
        EXPECT_THAT(error.message(), HasSubstr("'the file'")) << corruption.name;
    }
}

TEST(ZipDirectory, OverlappingRecordsAreDamage) {
    // A quoted archive: the second record's header lies inside the first record's data.
    zip::Writer inner;
    inner.u32(zip::local_header_signature)
        .u16(0)
        .u16(0x0800)
        .u16(0)
        .u32(0)
        .u32(0)
        .u32(0)
        .u32(0)
        .u16(3)
        .u16(0)
        .text("a/b");
    std::string bytes = container({{"a/a", inner.bytes() + std::string(100, 'x')}, {"a/b", ""}});
    store(bytes, find_structure(bytes, zip::central_header_signature, 1) + 42, bytes.find(inner.bytes()), 4);
    const Error error = error_of(bytes);
    EXPECT_EQ(error.code(), ErrorCode::damaged);
    EXPECT_THAT(error.message(), HasSubstr("share bytes"));
}

TEST(ZipDirectory, ClaimedSizesAreNeverAllocated) {
    // A sparse file whose end records claim a directory of many gigabytes.
    constexpr std::uint64_t size = std::uint64_t{1} << 40;
    zip::Writer tail;
    tail.u32(zip::zip64_end_signature).u64(44).u16(0).u16(0).u32(0).u32(0).u64(1ULL << 33).u64(1ULL << 33);
    tail.u64(size - 4096).u64(0).u32(zip::zip64_locator_signature).u32(0).u64(size - 98).u32(1);
    tail.u32(zip::end_signature).u16(0).u16(0).u16(0xFFFF).u16(0xFFFF).u32(0xFFFFFFFF).u32(0xFFFFFFFF).u16(0);
    const test::SparseFile hole(size);
    PieceList pieces;
    pieces.add_source(&hole, 0, size - tail.bytes().size());
    pieces.add_literal(tail.bytes());
    const auto file = *VirtualFile::create("hole", std::move(pieces), nullptr);
    const auto records = read_directory(*file);
    ASSERT_FALSE(records.ok());
    EXPECT_EQ(records.error().code(), ErrorCode::damaged);
}

TEST(ZipDirectory, SourceErrorsComeThrough) {
    const auto inner = std::make_shared<MemoryFile>(container(small_records()));
    test::FaultyFile file(inner, 0, 30, Error(ErrorCode::io, "disk", EIO));
    EXPECT_EQ(read_directory(file).error().system_errno(), EIO);
    file.repair();
    EXPECT_TRUE(read_directory(file).ok());
}

TEST(ZipDirectory, AWrongCrcIsDamageAndNoneIsUnknown) {
    std::string bytes = container(small_records());
    bytes[bytes.find('x')] = 'y';
    const MemoryFile file(bytes);
    auto records = *read_directory(file);
    EXPECT_EQ(read_record(file, records[1]).error().code(), ErrorCode::damaged);
    records[1].crc32 = 0;
    EXPECT_TRUE(read_record(file, records[1]).ok());
}

TEST(ZipDirectory, MutatedFilesNeverCrash) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const std::string whole = test::golden("pt/good/plain.pt")->bytes();
    int errors = 0;
    for (int round = 0; round < 5000; ++round) {
        std::string bytes = whole;
        const std::uint64_t count = 1 + random() % 4;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t from_end = random() % 2 == 0 ? random() % bytes.size() : random() % 700;
            bytes[bytes.size() - 1 - from_end] = static_cast<char>(random() & 0xFFU);
        }
        const MemoryFile file(bytes);
        const auto records = read_directory(file);
        errors += records.ok() ? 0 : 1;
        if (!records.ok()) {
            continue;
        }
        for (const Record& record : *records) {
            ASSERT_TRUE(fits(record.data_offset, record.nbytes, bytes.size())) << record.name;
        }
    }
    EXPECT_GT(errors, 500) << "mutations are noticed";
}

}  // namespace
}  // namespace ckptfs::pt
