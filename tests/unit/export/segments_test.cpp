// Checksums joined from segments, and the order in which segments are taken.
#include "export/segments.h"

#include <gtest/gtest.h>

#include <random>

#include "export/checksums.h"
#include "export/work_items.h"
#include "pt/crc32.h"
#include "support/fake_files.h"

namespace ckptfs::exporting {
namespace {

Plan plan_of(const std::vector<std::uint64_t>& sizes) {
    Plan plan;
    plan.segment_nbytes = 64;
    for (const std::uint64_t size : sizes) {
        PlannedEntry entry;
        entry.path = "file" + std::to_string(plan.files.size());
        entry.info.type = FileType::regular;
        entry.info.stamp.size = size;
        plan.files.push_back(plan.entries.size());
        plan.entries.push_back(entry);
        plan.nbytes += size;
    }
    return plan;
}

/// What a thread sees of a segment: blocks of any size, and zeros that it is told of rather than shown.
std::vector<ChecksumPart> parts_of(const std::string& bytes, const std::vector<pt::UnknownChecksum>& records,
                                   const ByteRange& segment, const ByteRange& zeros, std::mt19937_64& random) {
    SegmentChecksums sums(records, segment);
    for (std::uint64_t at = segment.begin; at < segment.end;) {
        const ByteRange hole = segment.common(zeros);
        if (hole.nbytes() > 0 && at == hole.begin) {
            sums.add_zeros(at, hole.nbytes());
            at = hole.end;
            continue;
        }
        const std::uint64_t end = hole.nbytes() > 0 && at < hole.begin ? hole.begin : segment.end;
        const std::uint64_t nbytes = 1 + random() % (end - at);
        sums.add(at, std::as_bytes(std::span(bytes)).subspan(at, nbytes));
        at += nbytes;
    }
    return sums.parts();
}

TEST(SegmentChecksums, JoinToThoseOfRecords) {
    std::mt19937_64 random(1);
    for (std::uint64_t round = 0; round < 100; ++round) {
        std::string bytes = test::random_bytes(1000, round);
        const ByteRange zeros{300, 500};
        bytes.replace(zeros.begin, zeros.nbytes(), zeros.nbytes(), '\0');
        const std::vector<pt::UnknownChecksum> records{
            {10, 90, 0, 4}, {100, 1, 0, 4}, {250, 600, 0, 4}, {850, 40, 0, 4}, {990, 10, 0, 4}};
        const FileSegments segments{bytes.size(), 1 + random() % 1200};
        std::map<std::uint64_t, std::vector<ChecksumPart>> parts;
        for (std::uint64_t segment = segments.count(); segment-- > 0;) {  // whichever thread is faster
            parts[segment] = parts_of(bytes, records, segments.range(segment), zeros, random);
        }
        const auto joined = joined_checksums(records, parts, segments);
        ASSERT_TRUE(joined.ok()) << joined.error().message();
        for (std::size_t i = 0; i < records.size(); ++i) {
            const auto record = std::string_view(bytes).substr(records[i].data_offset, records[i].nbytes);
            EXPECT_EQ((*joined)[i], pt::crc32_of(record)) << i << " in segments of " << segments.segment_nbytes;
        }
        parts.erase(segments.count() / 2);
        EXPECT_EQ(joined_checksums(records, parts, segments).error().code(), ErrorCode::internal);
    }
}

TEST(FileSegments, CoverAFile) {
    EXPECT_EQ((FileSegments{0, 64}).count(), 0U);
    EXPECT_EQ((FileSegments{1, 64}).count(), 1U);
    EXPECT_EQ((FileSegments{64, 64}).count(), 1U);
    EXPECT_EQ((FileSegments{65, 64}).count(), 2U);
    EXPECT_EQ((FileSegments{65, 64}).range(1), (ByteRange{64, 65}));
}

TEST(WorkOrder, FilesTakeTurnsLargeOnesFirst) {
    const Plan plan = plan_of({1, 3 * 64, 0, 2 * 64});
    const std::vector<WorkItem> two_abreast{{1, 0}, {3, 0}, {1, 1}, {3, 1}, {1, 2}, {0, 0}, {2, std::nullopt}};
    EXPECT_EQ(work_order(plan, {}, 2), two_abreast);
    const std::vector<WorkItem> one_by_one{{1, 0}, {1, 1}, {1, 2}, {3, 0}, {3, 1}, {0, 0}, {2, std::nullopt}};
    EXPECT_EQ(work_order(plan, {}, 1), one_by_one);
}

TEST(WorkOrder, LeavesOutWhatIsFinished) {
    const Plan plan = plan_of({2 * 64, 2 * 64, 64});
    std::map<std::uint64_t, FinishedFile> finished;
    finished[0].is_complete = true;
    finished[1].segments = {{0, {}}};
    finished[2].segments = {{0, {}}};  // all that is left is what comes after the last segment
    EXPECT_EQ(work_order(plan, finished, 1), (std::vector<WorkItem>{{1, 1}, {2, std::nullopt}}));
}

}  // namespace
}  // namespace ckptfs::exporting
