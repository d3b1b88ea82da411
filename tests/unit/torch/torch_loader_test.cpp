// The module is found, reads what a .pt holds, and hands every failure back as an Error.
#include "torch/torch_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "unit/torch/stored_zip.h"

namespace ckptfs {
namespace {

using test::MemoryFile;
using test::StoredZip;
using testing::HasSubstr;

std::shared_ptr<const TorchModule> module() {
    auto loaded = TorchModule::load_from({CKPTFS_TEST_MODULE_DIRECTORY});
    if (!loaded.ok()) {
        ADD_FAILURE() << loaded.error().message();
        return nullptr;
    }
    return *loaded;
}

std::string pattern(std::size_t nbytes) {
    std::string bytes(nbytes, '\0');
    for (std::size_t i = 0; i < nbytes; ++i) {
        bytes[i] = static_cast<char>((i * 31 + i / 251) & 0xffU);
    }
    return bytes;
}

/// Larger than the module's chunk, and no multiple of it.
constexpr std::size_t large_nbytes = (std::size_t{3} << 20U) + 17;

StoredZip sample() {
    StoredZip zip;
    zip.add("data.pkl", "\x80\x02N.");
    zip.add("data/0", pattern(100));
    zip.add("data/1", "");
    zip.add("data/2", pattern(large_nbytes));
    zip.add("version", "3\n");
    return zip;
}

TEST(TorchLoader, ReadsEveryRecordWhole) {
    const auto torch = module();
    ASSERT_NE(torch, nullptr);
    const MemoryFile file(sample().finish());
    std::map<std::string, std::string, std::less<>> records;
    const Result<void> result =
        torch->read_all_records(file,
                                [&](std::string_view name, std::uint64_t offset, std::uint64_t record_nbytes,
                                    std::span<const std::byte> bytes) -> Result<void> {
                                    std::string& record = records[std::string(name)];
                                    EXPECT_EQ(record.size(), offset);
                                    for (const std::byte byte : bytes) {
                                        record += static_cast<char>(byte);
                                    }
                                    EXPECT_LE(record.size(), record_nbytes);
                                    return {};
                                });
    ASSERT_TRUE(result.ok()) << result.error().message();
    EXPECT_EQ(records.size(), 5U);
    EXPECT_EQ(records["data/0"], pattern(100));
    EXPECT_EQ(records["data/1"], "");
    EXPECT_TRUE(records["data/2"] == pattern(large_nbytes));
    EXPECT_EQ(records["version"], "3\n");
}

TEST(TorchLoader, KnowsItsVersion) {
    const auto torch = module();
    ASSERT_NE(torch, nullptr);
    EXPECT_EQ(torch->torch_version(), CKPTFS_TEST_TORCH_VERSION);
    EXPECT_THAT(std::string(torch->torch_version()), testing::ContainsRegex("^[0-9]+\\.[0-9]+\\.[0-9]+$"));
}

TEST(TorchLoader, NamesAFileThatLibtorchRefuses) {
    const auto torch = module();
    ASSERT_NE(torch, nullptr);
    const std::string whole = sample().finish();
    const auto result = torch->read_all_records(MemoryFile(whole.substr(0, whole.size() - 30)));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::damaged);
    EXPECT_THAT(result.error().message(), HasSubstr("memory.pt"));
    EXPECT_THAT(result.error().message(), HasSubstr("central directory"));
}

TEST(TorchLoader, GivesBackTheErrorOfTheFile) {
    const auto torch = module();
    ASSERT_NE(torch, nullptr);
    // The directory at the end is read first, so only a window in the middle fails.
    class Faulty final : public File {
     public:
        [[nodiscard]] const std::string& name() const override { return whole_.name(); }
        [[nodiscard]] std::uint64_t size() const override { return whole_.size(); }
        Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
            if (offset < large_nbytes && offset + out.size() > large_nbytes / 2) {
                return Error(ErrorCode::stale, "the source changed");
            }
            return whole_.read(offset, out);
        }

     private:
        MemoryFile whole_{sample().finish()};
    };
    const auto result = torch->read_all_records(Faulty());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::stale);
    EXPECT_EQ(result.error().message(), "the source changed");
    EXPECT_TRUE(torch->read_all_records(MemoryFile(sample().finish())).ok()) << "work goes on after a fault";
}

TEST(TorchLoader, StopsWhenTheVisitorSaysSo) {
    const auto torch = module();
    ASSERT_NE(torch, nullptr);
    int calls = 0;
    const auto result = torch->read_all_records(
        MemoryFile(sample().finish()),
        [&](std::string_view, std::uint64_t, std::uint64_t, std::span<const std::byte>) -> Result<void> {
            ++calls;
            return Error(ErrorCode::verification, "enough");
        });
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::verification);
    EXPECT_EQ(calls, 1);
}

TEST(TorchLoader, SaysWhereItLookedForAMissingModule) {
    const auto loaded = TorchModule::load_from({"/nonexistent/a", "/nonexistent/b"});
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code(), ErrorCode::not_found);
    EXPECT_THAT(loaded.error().message(), HasSubstr("'/nonexistent/a', '/nonexistent/b'"));
}

TEST(TorchLoader, LooksBesideTheProgramFirst) {
    const auto directories = TorchModule::default_directories();
    ASSERT_EQ(directories.size(), 3U);
    EXPECT_EQ(directories[0], std::filesystem::read_symlink("/proc/self/exe").parent_path());
    EXPECT_EQ(directories[1].filename(), "ckptfs");
    EXPECT_TRUE(directories[2].is_absolute());
}

}  // namespace
}  // namespace ckptfs
