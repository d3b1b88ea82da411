// Whole exports: what they leave, and what they refuse.
#include "export/export.h"

#include <sys/file.h>

#include <limits>
#include <new>

#include "fixture.h"

namespace ckptfs::exporting::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(ExportTest, LeavesWhatIsShown) {
    const auto done = run(WriteCalls());
    ASSERT_TRUE(done.ok()) << done.error().message();
    EXPECT_EQ(done->files, 6U);
    EXPECT_EQ(counters_.total, counters_.written());
    EXPECT_GE(counters_.holes, 65536U);
    expect_exported();
}

TEST_F(ExportTest, TakesThePlaceOfAnEmptyDirectory) {
    std::filesystem::create_directory(request_.destination);
    request_.destination += "//";
    ASSERT_TRUE(run(WriteCalls()).ok());
    request_.destination = directory_ / "dest";
    expect_exported();
}

TEST_F(ExportTest, GoesOnAfterShortWritesAndWithoutTheSystemsCopies) {
    BreakingCalls calls;
    calls.longest_write = 1000;
    calls.copies = false;
    ASSERT_TRUE(run(calls).ok());
    EXPECT_EQ(counters_.copied, 0U);
    EXPECT_EQ(counters_.total, counters_.written());
    expect_exported();
}

TEST_F(ExportTest, LetsTheSystemCopyWholeFiles) {
    request_.segment_nbytes = default_segment_nbytes;
    ASSERT_TRUE(run(BreakingCalls()).ok());
    EXPECT_EQ(counters_.copied, 140'000U);
    expect_exported();
}

TEST_F(ExportTest, KeepsHoles) {
    constexpr std::uint64_t size = std::uint64_t{300} << 20U;
    request_.segment_nbytes = default_segment_nbytes;
    PieceList pieces;
    pieces.add_zeros(size - 1);
    pieces.add_literal("x");
    tree_->add_file("sparse", *VirtualFile::create("sparse", std::move(pieces), nullptr));
    tree_->add("zeros that somebody wrote", std::string(1'000'000, '\0'));
    BreakingCalls calls;
    calls.copies = false;
    ASSERT_TRUE(run(calls).ok());
    struct stat status {};
    ASSERT_EQ(::stat((request_.destination + "/sparse").c_str(), &status), 0);
    EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), size);
    EXPECT_LT(status.st_blocks, 200);
    ASSERT_EQ(::stat((request_.destination + "/zeros that somebody wrote").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks, 200);
}

TEST_F(ExportTest, AFileThatChangesBeforeItIsOpenedIsAnError) {
    request_.jobs = 1;
    request_.memory_nbytes = 1U << 17U;
    tree_->add("zz last", "x");
    // The smallest file comes last, and cannot be opened in the first run.
    tree_->before_open = [&](const std::string& path) {
        if (path == "zz last") {
            tree_->change(path);
        }
    };
    const auto changed = run(BreakingCalls());
    ASSERT_FALSE(changed.ok());
    EXPECT_EQ(changed.error().code(), ErrorCode::stale);
    EXPECT_THAT(changed.error().message(), HasSubstr("zz last"));
    EXPECT_FALSE(is_there());
}

TEST_F(ExportTest, AFileThatGoesBeforeItIsOpenedIsAChange) {
    tree_->failing_open = "latest";
    const auto gone = run(BreakingCalls());
    ASSERT_FALSE(gone.ok());
    EXPECT_EQ(gone.error().code(), ErrorCode::stale);
    EXPECT_THAT(gone.error().message(), HasSubstr("it was there when the export began"));
    EXPECT_FALSE(is_there());
    tree_->failing_open.clear();
    ASSERT_TRUE(run(BreakingCalls()).ok());
}

TEST_F(ExportTest, ASourceThatChangesWhileItIsExportedIsAnError) {
    int opened = 0;
    tree_->before_open = [&](const std::string& path) {
        if (path == "empty" && ++opened == 2) {  // the last one that is written; the first has long been read
            tree_->change("step5/shard.pt");
        }
    };
    const auto changed = run(WriteCalls());
    ASSERT_FALSE(changed.ok());
    EXPECT_EQ(changed.error().code(), ErrorCode::stale) << changed.error().message();
    EXPECT_THAT(changed.error().message(), HasSubstr("step5/shard.pt"));
    EXPECT_FALSE(is_there());
}

TEST_F(ExportTest, WhatIsThereStays) {
    std::filesystem::create_directory(request_.destination);
    std::ofstream(request_.destination + "/file") << "x";
    for (const std::string& destination : {request_.destination, request_.destination + "/file"}) {
        request_.destination = destination;
        const auto refused = run(WriteCalls());
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("is there already"));
        EXPECT_FALSE(std::filesystem::exists(partial()));
    }
    EXPECT_EQ(file_bytes(request_.destination), "x");
}

TEST_F(ExportTest, ADirectoryOfSomebodyElseIsNotTouched) {
    std::filesystem::create_directories(partial() + "/content");
    std::ofstream(partial() + "/content/file") << "x";
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message(), HasSubstr("has no manifest that says what it is of"));
    EXPECT_EQ(file_bytes(partial() + "/content/file"), "x");
    std::filesystem::remove_all(partial());
    std::filesystem::create_directory(partial());
    std::ofstream(partial() + "/notes") << "x";
    EXPECT_THAT(run(WriteCalls()).error().message(), HasSubstr("holds 'notes', which no export has made: remove that"));
    EXPECT_FALSE(is_there());
    EXPECT_FALSE(std::filesystem::exists(partial() + "/.ckptfs-export.journal"));
    std::filesystem::remove_all(partial());
    std::ofstream(partial()) << "x";
    EXPECT_THAT(run(WriteCalls()).error().message(), HasSubstr("is no directory"));
}

TEST_F(ExportTest, PlacesThatNoExportCanHaveAreRefused) {
    std::filesystem::create_directories(directory_ / "source/tag");
    std::filesystem::create_directory_symlink(directory_ / "source", directory_ / "link");
    std::filesystem::create_directory_symlink(directory_ / "source/tag", directory_ / "link to tag");
    for (const auto& [destination, sentence] : std::map<std::string, std::string>{
             {directory_ / "source/tag/out", "lies in SOURCE"},
             {directory_ / "link/out", "lies in SOURCE"},
             {directory_ / "source", "holds SOURCE"},
             {directory_ / "no/such", "make that directory first"},
             {"/", "DEST is '/'"},
             {directory_ / "link to tag/../out", "lies in SOURCE"},
             {"/proc", "holds SOURCE"},
         }) {
        request_.destination = destination;
        request_.source_path = destination == "/proc" ? "/proc/self" : directory_ / "source";
        const auto refused = run(WriteCalls());
        ASSERT_FALSE(refused.ok()) << destination;
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr(sentence));
    }
    std::filesystem::create_directories(directory_ / "other.partial/content");
    for (const char* source : {"other.partial", "other.partial/content"}) {
        request_.source_path = directory_ / source;
        request_.destination = directory_ / "other";
        const auto refused = run(WriteCalls());
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("which is or holds SOURCE"));
    }
    request_.source_path = directory_ / "source";
    request_.destination = directory_ / "source-2";  // a name that begins alike
    EXPECT_TRUE(run(WriteCalls()).ok());
}

TEST_F(ExportTest, TwoAtATimeAreOneTooMany) {
    std::filesystem::create_directory(partial());
    std::ofstream(partial() + "/.ckptfs-export.journal") << "";
    const io::UniqueFd other(::open((partial() + "/.ckptfs-export.journal").c_str(), O_RDWR));
    ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message(), HasSubstr("another process is exporting to"));
    ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
    EXPECT_TRUE(run(WriteCalls()).ok());
    expect_exported();
}

TEST_F(ExportTest, AnotherThatEndsAsThisOneBeginsIsSeen) {
    class EndsMeanwhile final : public WriteCalls {
     public:
        explicit EndsMeanwhile(std::string destination) : destination_(std::move(destination)) {}
        int lock(int fd) const override {
            std::filesystem::create_directory(destination_);
            std::ofstream(destination_ + "/file") << "x";
            return WriteCalls::lock(fd);
        }

     private:
        std::string destination_;
    };
    const auto refused = run(EndsMeanwhile(request_.destination));
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message(), HasSubstr("is there already"));
    EXPECT_FALSE(std::filesystem::exists(partial()));
    EXPECT_EQ(file_bytes(request_.destination + "/file"), "x");
}

TEST_F(ExportTest, AnotherThatBeginsAsThisOneEndsIsNoError) {
    class BeginsMeanwhile final : public WriteCalls {
     public:
        int remove_directory(const std::string& path) const override {
            std::ofstream(path + "/.ckptfs-export.journal") << "";
            return WriteCalls::remove_directory(path);
        }
    };
    const auto done = run(BeginsMeanwhile());
    ASSERT_TRUE(done.ok()) << done.error().message();
    EXPECT_THAT(warnings_, testing::IsEmpty());
    std::filesystem::remove_all(partial());
    expect_exported();
}

TEST_F(ExportTest, WhatCannotBeClearedUpIsAWarning) {
    class KeepsDirectories final : public WriteCalls {
     public:
        int remove_directory(const std::string& /*path*/) const override { return -EBUSY; }
    };
    const auto done = run(KeepsDirectories());
    ASSERT_TRUE(done.ok()) << done.error().message();
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr("dest.partial', the export is whole")));
    std::filesystem::remove_all(partial());
    expect_exported();
}

TEST_F(ExportTest, WhereNoFileCanBeLockedItIsSaid) {
    class WithoutLocks final : public WriteCalls {
     public:
        int lock(int /*fd*/) const override { return -ENOSYS; }
    };
    ASSERT_TRUE(run(WithoutLocks()).ok());
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr("no file can be locked")));
    expect_exported();
}

TEST_F(ExportTest, RoomIsLookedForBeforeTheFirstByte) {
    BreakingCalls calls;
    calls.free_blocks = 10;
    const auto refused = run(calls);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().system_errno(), ENOSPC);
    EXPECT_THAT(refused.error().message(), HasSubstr("make room"));
    EXPECT_EQ(counters_.written(), 0U);
    EXPECT_FALSE(std::filesystem::exists(partial()));

    // Holes need none: here the sizes do not fit, and the bytes do.
    PieceList pieces;
    pieces.add_zeros(std::uint64_t{100} << 20U);
    tree_->add_file("sparse", *VirtualFile::create("sparse", std::move(pieces), nullptr));
    calls.free_blocks = (std::uint64_t{8} << 20U) / 4096;
    const auto done = run(calls);
    ASSERT_TRUE(done.ok()) << done.error().message();
}

TEST_F(ExportTest, BlocksThatMayBeSharedNeedNoRoom) {
    tree_->add("large", random_bytes(std::uint64_t{20} << 20U, 7));  // copied by the system
    BreakingCalls calls;
    calls.free_blocks = (std::uint64_t{4} << 20U) / 4096;
    EXPECT_EQ(run(calls).error().system_errno(), ENOSPC);
    calls.shares = true;
    const auto done = run(calls);
    ASSERT_TRUE(done.ok()) << done.error().message();
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr("it fits only if that file system shares the blocks of 2")));
    std::filesystem::remove_all(request_.destination);
    calls.free_blocks = 10;
    EXPECT_THAT(run(calls).error().message(), HasSubstr("make room"));
}

TEST_F(ExportTest, AFileOfAbsurdSizeIsASentence) {
    request_.segment_nbytes = default_segment_nbytes;
    for (const char* name :
         {"sparse", "sparse too", "sparse as well"}) {  // whose sizes have a sum that no number holds
        PieceList pieces;
        pieces.add_zeros(std::numeric_limits<std::int64_t>::max());
        tree_->add_file(name, *VirtualFile::create(name, std::move(pieces), nullptr));
    }
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::unsupported);
    EXPECT_THAT(refused.error().message(), HasSubstr("sparse' has 9,223,372,036,854,775,807 bytes"));
    EXPECT_FALSE(std::filesystem::exists(partial()));
}

TEST_F(ExportTest, TheOwnerOfACopyMayReadIt) {
    tree_->file_mode = 0040;
    tree_->directory_mode = 0050;
    ASSERT_TRUE(run(WriteCalls()).ok());
    struct stat status {};
    ASSERT_EQ(::stat((request_.destination + "/run.py").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0640U);
    ASSERT_EQ(::stat((request_.destination + "/deep").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0750U);
}

/// As a SOURCE has them that is itself a mount of ckptfs.
TEST_F(ExportTest, ChecksumsThatAFileOfTheSourceLeavesOutAreFilledIn) {
    request_.verify = true;
    const std::string shown = *read_all(*shown_archive(source_, 1000));
    tree_->add("copied.pt", shown);
    std::string cut = shown;
    cut.resize(shown.size() - 10);
    tree_->add("cut.pt", cut);  // no archive that anything is known of
    std::string damaged = shown;
    damaged[damaged.find("a pickle")] ^= 1;  // whose checksum is known, and wrong
    tree_->add("damaged.pt", damaged);
    const auto done = run(WriteCalls());
    ASSERT_TRUE(done.ok()) << done.error().message();
    expect_same_but_for_checksums(file_bytes(request_.destination + "/copied.pt"), shown);
    EXPECT_TRUE(file_bytes(request_.destination + "/cut.pt") == cut);
    std::string found = file_bytes(request_.destination + "/damaged.pt");
    for (const pt::UnknownChecksum& unknown : *pt::unknown_checksums(MemoryFile(shown))) {
        for (const std::uint64_t offset : {unknown.local_offset, unknown.directory_offset}) {
            EXPECT_NE(found.substr(offset, 4), shown.substr(offset, 4));
            found.replace(offset, 4, 4, '\0');
        }
    }
    EXPECT_TRUE(found == damaged);
}

TEST_F(ExportTest, MemoryThatIsLackingInAThreadIsTheCallersToKnow) {
    class NoMemory final : public WriteCalls {
     public:
        mutable std::atomic<bool> throws = false;
        int open(const std::string& path, int flags, mode_t mode) const override {
            throws = throws || path.find("/content/") != std::string::npos;  // from the first file on
            return WriteCalls::open(path, flags, mode);
        }
        int sync(int fd) const override { return throws ? throw std::bad_alloc() : WriteCalls::sync(fd); }
    };
    EXPECT_THROW((void)run(NoMemory()), std::bad_alloc);
    EXPECT_FALSE(is_there());
    ASSERT_TRUE(run(WriteCalls()).ok());
    expect_exported();
}

TEST_F(ExportTest, AnErrorOfASourceFileIsItsOwn) {
    auto faulty = std::make_shared<FaultyFile>(source_, 100'000, 10, Error(ErrorCode::io, "the disk is broken", EIO));
    tree_->add_file("step5/shard.pt", shown_archive(source_, 10));
    PieceList pieces;
    pieces.add_source(faulty.get(), 0, 150'000);
    tree_->add_file("step5/model.safetensors", *VirtualFile::create("model", std::move(pieces), faulty));
    BreakingCalls calls;
    calls.copies = false;
    const auto failed = run(calls);
    ASSERT_FALSE(failed.ok());
    EXPECT_THAT(failed.error().message(), HasSubstr("the disk is broken"));
    EXPECT_FALSE(is_there());
    faulty->repair();
    EXPECT_TRUE(run(calls).ok());
    expect_exported();
}

TEST_F(ExportTest, AFileThatCannotBeOpenedIsFoundBeforeTheFirstByte) {
    class Closed final : public MemorySource {
     public:
        Result<std::shared_ptr<const File>> open(const std::string& path) const override {
            return path == "shard" ? Error(ErrorCode::damaged, "the tag is broken") : MemorySource::open(path);
        }
    };
    const auto closed = std::make_shared<Closed>();
    closed->add("file", "x");
    closed->add("shard", "x");
    request_.tree = closed;
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::damaged);
    EXPECT_THAT(refused.error().message(), HasSubstr("the tag is broken; nothing has been written: --tag=NAME"));
    EXPECT_FALSE(std::filesystem::exists(partial()));
}

TEST(BufferNbytes, IsAShareOfTheBudget) {
    EXPECT_EQ(buffer_nbytes(std::uint64_t{64} << 20U, 16), std::uint64_t{4} << 20U);
    EXPECT_EQ(buffer_nbytes(std::uint64_t{1} << 40U, 1), largest_buffer_nbytes);
    EXPECT_EQ(buffer_nbytes(std::uint64_t{3} << 20U, 2), std::uint64_t{1} << 20U);
    EXPECT_EQ(buffer_nbytes(least_buffer_nbytes * 4, 4), least_buffer_nbytes);
    EXPECT_EQ(buffer_nbytes(least_buffer_nbytes * 4 - 1, 4), 0U);
}

}  // namespace
}  // namespace ckptfs::exporting::test
