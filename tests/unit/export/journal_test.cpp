// What a journal and a manifest say, also after they were cut, damaged or made by somebody else.
#include "export/journal.h"

#include <gmock/gmock.h>

#include "export/encoding.h"
#include "export/manifest.h"

namespace ckptfs::exporting {
namespace {

using Kind = JournalEntry::Kind;
using testing::HasSubstr;

std::vector<JournalEntry> some_entries() {
    return {{Kind::segment, 0, 3, {{0, 0x1}, {17, 0xFFFFFFFF}}},
            {Kind::segment, 2, 0, {}},
            {Kind::complete, 2},
            {Kind::segment, 0, 4, {{17, 0}}}};
}

std::string text_of(const std::vector<JournalEntry>& entries) {
    std::string text;
    for (const JournalEntry& entry : entries) {
        text += journal_line(entry);
    }
    return text;
}

TEST(Journal, ComesBack) {
    const std::string text = text_of(some_entries());
    const LoadedJournal journal = load_journal(text);
    EXPECT_EQ(journal.nbytes, text.size());
    ASSERT_EQ(journal.files.size(), 2U);
    const FinishedFile& first = journal.files.at(0);
    EXPECT_FALSE(first.is_complete);
    EXPECT_EQ(first.segments.at(3), (std::vector<ChecksumPart>{{0, 1}, {17, 0xFFFFFFFF}}));
    EXPECT_EQ(first.segments.at(4), (std::vector<ChecksumPart>{{17, 0}}));
    EXPECT_TRUE(journal.files.at(2).is_complete);
    EXPECT_EQ(load_journal("").nbytes, 0U);
}

TEST(Journal, EndsWhereALineIsNotWhole) {
    const auto entries = some_entries();
    const std::string text = text_of(entries);
    const std::size_t last = journal_line(entries.back()).size();
    for (std::size_t cut = 1; cut <= last; ++cut) {
        const LoadedJournal journal = load_journal(std::string_view(text).substr(0, text.size() - cut));
        EXPECT_EQ(journal.nbytes, text.size() - last) << cut;
        EXPECT_EQ(journal.files.at(0).segments.count(4), 0U);
    }
    // What a crash leaves of a file that was longer than its data: zeros. Lines behind them are not trusted.
    const LoadedJournal journal =
        load_journal(text + std::string(100, '\0') + "\n" + journal_line({Kind::complete, 7}));
    EXPECT_EQ(journal.nbytes, text.size());
    EXPECT_EQ(journal.files.count(7), 0U);
}

TEST(Journal, TrustsNoLineWithAnotherByte) {
    const std::string line = journal_line({Kind::segment, 12, 34, {{56, 0x789}}});
    for (std::size_t at = 0; at + 1 < line.size(); ++at) {
        std::string damaged = line;
        damaged[at] = damaged[at] == '0' ? '1' : '0';
        EXPECT_TRUE(load_journal(damaged).files.empty()) << damaged;
    }
    EXPECT_EQ(load_journal(line).files.size(), 1U);
}

TEST(Journal, ForgetsAFileThatIsBegunAnew) {
    auto entries = some_entries();
    entries.push_back({Kind::anew, 2});
    EXPECT_EQ(load_journal(text_of(entries)).files.count(2), 0U);
    entries.push_back({Kind::segment, 2, 1, {}});
    const auto files = load_journal(text_of(entries)).files;
    EXPECT_FALSE(files.at(2).is_complete);
    EXPECT_EQ(files.at(2).segments.size(), 1U);
}

TEST(Encoding, KeepsTextsApart) {
    std::string every;
    for (int i = 0; i < 256; ++i) {
        every += static_cast<char>(i);
    }
    for (const std::string& text : {std::string(), std::string(" "), std::string("%"), std::string("a b/c"), every}) {
        const std::string word = encoded(text);
        EXPECT_EQ(decoded(word), text);
        EXPECT_EQ(word.find_first_of(" \n"), std::string::npos);
        EXPECT_FALSE(word.empty());
    }
    EXPECT_EQ(encoded("step 5/ä"), "step%205/%C3%A4");
}

class ManifestTest : public testing::Test {
 protected:
    ManifestTest() {
        add("", FileType::directory, "");
        add("latest", FileType::regular, "");
        add("best one", FileType::symlink, "step5");
    }

    void add(const std::string& path, FileType type, const std::string& link) {
        PlannedEntry entry{path, {}, link};
        entry.info.type = type;
        entry.info.stamp = {0, 100 + plan_.entries.size(), 7, 8, 9};
        plan_.entries.push_back(entry);
    }

    [[nodiscard]] Manifest made() const { return {version_, settings_, plan_}; }

    Plan plan_;
    std::string version_ = "1.2.3";
    std::vector<Setting> settings_{{"--view", "weights"}, {"--dtype", "bf16"}};
};

TEST_F(ManifestTest, ComesBack) {
    const auto read = Manifest::parse(made().text());
    ASSERT_TRUE(read);
    EXPECT_EQ(read->difference(made()), std::nullopt);
}

TEST_F(ManifestTest, IsNothingWhenItIsCut) {
    const std::string text = made().text();
    for (std::size_t nbytes = 0; nbytes < text.size(); ++nbytes) {
        EXPECT_FALSE(Manifest::parse(std::string_view(text).substr(0, nbytes))) << nbytes;
    }
    EXPECT_FALSE(Manifest::parse("something else\nend\n"));
}

TEST_F(ManifestTest, SaysWhatDiffers) {
    const Manifest before = made();
    const auto expect = [&](const std::string& sentence) {
        const auto found = before.difference(made());
        ASSERT_TRUE(found) << sentence;
        EXPECT_EQ(*found, sentence);
    };
    settings_[1].value = "fp16";
    expect("was begun with --dtype=bf16, and this is with --dtype=fp16");
    settings_.pop_back();
    expect("was begun with --dtype=bf16, and this is without --dtype");
    settings_ = {{"--view", "weights"}, {"--dtype", "bf16"}, {"--tag", "x"}};
    expect("was begun without --tag, and this is with --tag=x");
    settings_.pop_back();
    version_ = "2";
    expect("was begun by another version of ckptfs");
    version_ = "1.2.3";
    plan_.entries[1].info.stamp.mtime_ns = 1;
    expect("was begun before 'latest' changed");
    plan_.entries[1].info.stamp.mtime_ns = 8;
    plan_.entries[2].link = "step6";
    expect("was begun before 'best one' changed");
    plan_.entries.pop_back();
    expect("was begun when there was 'best one', which is gone");
    add("best one", FileType::symlink, "step5");
    add("step6", FileType::directory, "");
    expect("was begun when there was no 'step6', which is there now");
    plan_.entries.pop_back();
    plan_.entries[0].info.stamp.mtime_ns = 1;  // a directory's
    EXPECT_EQ(before.difference(made()), std::nullopt);
}

TEST_F(ManifestTest, TellsEveryMemberOfAStamp) {
    const Manifest before = made();
    FileStamp& stamp = plan_.entries[1].info.stamp;
    for (std::uint64_t* const member : {&stamp.size, &stamp.inode}) {
        ++*member;
        EXPECT_TRUE(before.difference(made()));
        --*member;
    }
    for (std::int64_t* const member : {&stamp.mtime_ns, &stamp.ctime_ns}) {
        ++*member;
        EXPECT_TRUE(before.difference(made()));
        --*member;
    }
    EXPECT_FALSE(before.difference(made()));
}

}  // namespace
}  // namespace ckptfs::exporting
