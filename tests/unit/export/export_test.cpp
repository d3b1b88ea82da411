// Whole exports: what they leave, what they refuse, and what a second run makes of what a first one left.
#include "export/export.h"

#include <sys/file.h>

#include <limits>
#include <new>

#include "export/journal.h"
#include "fixture.h"
#include "support/effort.h"

namespace ckptfs::exporting::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using How = BreakingCalls::How;

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

TEST_F(ExportTest, AnyCallMayFailAndASecondRunEndsIt) {
    BreakingCalls counting;
    ASSERT_TRUE(run(counting).ok());
    const std::size_t most = counting.count();
    ASSERT_GT(most, 40U);
    for (std::size_t at = 1; at <= most; at += unless_looking_for_races(1, 7)) {
        const int failure = at % 2 == 0 ? ENOSPC : EIO;
        SCOPED_TRACE(std::to_string(failure) + " at call " + std::to_string(at) + " of " + std::to_string(most));
        std::filesystem::remove_all(request_.destination);
        std::filesystem::remove_all(partial());
        warnings_.clear();
        const auto done = run(BreakingCalls(at, How::fails, failure));
        if (!done.ok()) {
            EXPECT_EQ(done.error().code(), ErrorCode::io) << done.error().message();
            EXPECT_EQ(done.error().system_errno(), failure);
            EXPECT_EQ(failure == ENOSPC, done.error().message().find("make room") != std::string::npos);
        }
        if (!is_there()) {
            ASSERT_FALSE(done.ok());
            const auto again = run(BreakingCalls());
            ASSERT_TRUE(again.ok()) << again.error().message();
        } else if (std::filesystem::exists(partial())) {  // it had its name, and only clearing up was left
            EXPECT_NE(done.ok(), warnings_.empty());
            const auto again = run(BreakingCalls());
            ASSERT_TRUE(again.ok() || !std::filesystem::exists(partial() + "/.ckptfs-export.manifest"))
                << again.error().message();
            std::filesystem::remove_all(partial());
        }
        expect_exported();
    }
}

TEST_F(ExportTest, AKillAtAnyCallLeavesNothingHalfWrittenUnderItsName) {
    BreakingCalls counting;
    ASSERT_TRUE(run(counting).ok());
    const std::size_t most = counting.count();
    bool has_saved_work = false;
    for (const bool power_is_lost : {false, true}) {
        for (std::size_t at = 1; at <= most; at += unless_looking_for_races(1, 7)) {
            SCOPED_TRACE((power_is_lost ? "power lost" : "killed") + (" at call " + std::to_string(at)));
            std::filesystem::remove_all(request_.destination);
            std::filesystem::remove_all(partial());
            BreakingCalls calls(at, How::is_killed, EIO);
            const auto done = run(calls);
            if (power_is_lost) {
                calls.lose_power(at);
            }
            if (!is_there()) {
                ASSERT_FALSE(done.ok());
                const auto again = run(BreakingCalls());
                ASSERT_TRUE(again.ok()) << again.error().message();
                has_saved_work = has_saved_work || counters_.earlier > 0;
                EXPECT_EQ(counters_.earlier + counters_.written(), counters_.total);
            }
            std::filesystem::remove_all(partial());
            expect_exported();
        }
    }
    EXPECT_TRUE(has_saved_work);
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

TEST_F(ExportTest, FinishedFilesAreNotOpenedAgain) {
    request_.jobs = 1;
    request_.memory_nbytes = 1U << 17U;
    std::vector<std::string> opened;
    tree_->before_open = [&](const std::string& path) { opened.push_back(path); };
    constexpr std::size_t looked_at = 6;  // all of them, before anything is written
    stops_ = [&] { return opened.size() > looked_at + 3; };
    const auto stopped = run(BreakingCalls());
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.error().system_errno(), EINTR);
    EXPECT_FALSE(is_there());
    const std::vector<std::string> first = opened;
    opened.clear();
    stops_ = [] { return false; };
    ASSERT_TRUE(run(BreakingCalls()).ok());
    EXPECT_GT(counters_.earlier, 0U);
    EXPECT_EQ(counters_.earlier + counters_.written(), counters_.total);
    const std::string& finished = first[looked_at];
    EXPECT_EQ(std::count(opened.begin(), opened.end(), finished), 1) << finished;
    EXPECT_EQ(std::count(opened.begin(), opened.end(), first.back()), 2) << first.back();
    tree_->before_open = [](const std::string&) {};
    expect_exported();
}

TEST_F(ExportTest, SegmentsOfALargeFileAreGoneOnWith) {
    request_.jobs = 1;
    request_.memory_nbytes = 1U << 17U;
    const std::uint64_t size = (*tree_->open("step5/shard.pt"))->size();
    for (const bool punches : {true, false}) {
        std::filesystem::remove_all(request_.destination);
        int asked = 0;
        // In the last segment.
        stops_ = [&] { return counters_.phase == Phase::writing && ++asked > 4; };
        ASSERT_FALSE(run(BreakingCalls()).ok());
        stops_ = [] { return false; };
        BreakingCalls calls;
        calls.punches = punches;
        const auto done = run(calls);
        ASSERT_TRUE(done.ok()) << done.error().message();
        EXPECT_GE(counters_.earlier, request_.segment_nbytes);
        EXPECT_LT(counters_.earlier, size);
        expect_exported();
    }
}

TEST_F(ExportTest, ASourceThatChangesBetweenRunsIsRefused) {
    stops_ = [&] { return counters_.phase == Phase::writing; };
    ASSERT_FALSE(run(WriteCalls()).ok());
    stops_ = [] { return false; };
    tree_->change("latest");
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(refused.error().message(), HasSubstr(partial() + "' was begun before 'latest' changed: remove that"));
    std::filesystem::remove_all(partial());
    EXPECT_TRUE(run(WriteCalls()).ok());
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

TEST_F(ExportTest, WhatHasGoneSinceItWasRecordedIsWrittenAnew) {
    class WithoutTheLastStep final : public WriteCalls {
     public:
        int rename(const std::string& from, const std::string& to) const override {
            return from.ends_with("/content") ? -EIO : WriteCalls::rename(from, to);
        }
    };
    const std::string finished = partial() + "/content/run.py";
    const std::string elsewhere = directory_ / "elsewhere";
    for (const auto& change : std::vector<std::function<void()>>{
             [&] { std::filesystem::remove(finished); },
             [&] { std::filesystem::resize_file(finished, 1); },
             [&] {
                 std::filesystem::rename(finished, elsewhere);
                 std::filesystem::create_symlink(elsewhere, finished);
             },
             [&] { std::filesystem::remove_all(partial() + "/content/step5"); },
         }) {
        ASSERT_FALSE(run(WithoutTheLastStep()).ok());
        change();
        warnings_.clear();
        const auto done = run(WriteCalls());
        ASSERT_TRUE(done.ok()) << done.error().message();
        EXPECT_THAT(warnings_, testing::Each(HasSubstr("since an earlier run wrote it, and is written anew")));
        EXPECT_FALSE(warnings_.empty());
        EXPECT_GT(counters_.earlier, 0U);
        EXPECT_GT(counters_.written(), 0U);
        expect_exported();
        std::filesystem::remove_all(request_.destination);
    }
    EXPECT_EQ(file_bytes(elsewhere), *read_all(**tree_->open("run.py")));
    ASSERT_FALSE(run(WithoutTheLastStep()).ok());
    ASSERT_TRUE(run(WriteCalls()).ok());
    EXPECT_EQ(counters_.earlier, counters_.total);
    expect_exported();
}

TEST_F(ExportTest, AJournalOfSomethingElseIsRefused) {
    for (const JournalEntry& entry :
         {JournalEntry{JournalEntry::Kind::complete, 99'999}, JournalEntry{JournalEntry::Kind::segment, 0, 99'999}}) {
        stops_ = [&] { return counters_.phase == Phase::writing; };
        ASSERT_FALSE(run(WriteCalls()).ok());
        stops_ = [] { return false; };
        std::ofstream(partial() + "/.ckptfs-export.journal", std::ios::app) << journal_line(entry);
        const auto refused = run(WriteCalls());
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message(), HasSubstr("has a journal of something else: remove that directory"));
        std::filesystem::remove_all(partial());
    }
}

TEST_F(ExportTest, AnotherRequestIsRefused) {
    stops_ = [&] { return counters_.phase == Phase::writing; };
    ASSERT_FALSE(run(WriteCalls()).ok());
    request_.settings = {{"--view", "states"}};
    const auto refused = run(WriteCalls());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(refused.error().message(), HasSubstr("with --view=weights, and this is with --view=states"));
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

TEST_F(ExportTest, WhatComesBackOtherwiseIsFoundAndWrittenAnew) {
    request_.verify = true;
    BreakingCalls calls;
    calls.copies = false;
    ASSERT_TRUE(run(calls).ok());
    EXPECT_EQ(counters_.verified, counters_.total);
    std::filesystem::remove_all(request_.destination);

    calls.garbles = true;
    const auto wrong = run(calls);
    ASSERT_FALSE(wrong.ok());
    EXPECT_EQ(wrong.error().code(), ErrorCode::verification) << wrong.error().message();
    EXPECT_FALSE(is_there());
    const auto again = run(calls);
    ASSERT_TRUE(again.ok()) << again.error().message();
    EXPECT_GT(counters_.earlier, 0U);
    EXPECT_GT(counters_.written(), 0U);
    expect_exported();
}

TEST_F(ExportTest, AnArchiveThatHasLostItsEndBetweenRunsIsFoundAndWrittenAnew) {
    request_.verify = true;
    stops_ = [&] { return counters_.phase == Phase::verifying; };
    ASSERT_FALSE(run(WriteCalls()).ok());
    stops_ = [] { return false; };
    {
        std::fstream file(partial() + "/content/step5/shard.pt", std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(-10, std::ios::end);
        file << std::string(10, '\0');
    }
    const auto damaged = run(WriteCalls());
    ASSERT_FALSE(damaged.ok());
    EXPECT_EQ(damaged.error().code(), ErrorCode::verification) << damaged.error().message();
    ASSERT_TRUE(run(WriteCalls()).ok());
    expect_exported();
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
