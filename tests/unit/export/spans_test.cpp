// Which bytes are read, which are copied, and which are holes.
#include "export/spans.h"

#include <gmock/gmock.h>

#include "support/fake_files.h"

namespace ckptfs::exporting {
namespace {

using How = FileSpan::How;

constexpr std::uint64_t large = 4 * least_copy_nbytes;

/// Data, then a hole up to the end.
class HalfHole final : public test::MemoryFile {
 public:
    HalfHole(std::uint64_t data_nbytes, std::uint64_t nbytes)
        : MemoryFile(std::string(nbytes, '\0')), data_nbytes_(data_nbytes) {}
    [[nodiscard]] Result<FileRun> run_at(std::uint64_t offset) const override {
        return offset < data_nbytes_ ? FileRun{data_nbytes_ - offset, false} : FileRun{size() - offset, true};
    }

 private:
    std::uint64_t data_nbytes_;
};

std::shared_ptr<const VirtualFile> made_of(PieceList pieces) {
    return *VirtualFile::create("file", std::move(pieces), nullptr);
}

TEST(Spans, LargeRunsAreCopiedAndSmallOnesReadTogether) {
    const test::MemoryFile source(std::string(large + 156, 'x'));
    PieceList pieces;
    pieces.add_literal("header");
    pieces.add_source(&source, 10, 100);
    pieces.add_zeros(50);
    pieces.add_source(&source, 156, large);
    pieces.add_literal("tail");
    const SpanPlanner planner(made_of(pieces), {});
    EXPECT_EQ(*planner.spans({0, 160 + large}),
              (std::vector<FileSpan>{{How::read, {0, 4096}},
                                     {How::copied, {4096, 156 + large}, &source, 4096},
                                     {How::read, {156 + large, 160 + large}}}));
    // A part of a piece begins inside its source.
    EXPECT_EQ(*planner.spans({8192, 8192 + least_copy_nbytes}),
              (std::vector<FileSpan>{{How::copied, {8192, 8192 + least_copy_nbytes}, &source, 8192}}));
    // What is left from the first block on is too short.
    EXPECT_EQ(*planner.spans({166, 166 + least_copy_nbytes}),
              (std::vector<FileSpan>{{How::read, {166, 166 + least_copy_nbytes}}}));
    EXPECT_EQ(*planner.spans({3, 3}), std::vector<FileSpan>());
    EXPECT_TRUE(source.calls().empty());
}

TEST(Spans, WhatNoBlockCanBeSharedOfIsRead) {
    const test::MemoryFile source(std::string(2 * large, 'x'));
    PieceList pieces;
    pieces.add_source(&source, 1, large);  // comes a byte before its place in a block
    const SpanPlanner planner(made_of(pieces), {});
    EXPECT_EQ(*planner.spans({0, large}), (std::vector<FileSpan>{{How::read, {0, large}}}));
}

TEST(Spans, WhatAChecksumNeedsIsRead) {
    const test::MemoryFile source(std::string(3 * large, 'x'));
    PieceList pieces;
    pieces.add_source(&source, 0, 3 * large);
    const std::vector<pt::UnknownChecksum> records{{large, large, 0, 4}};
    const SpanPlanner planner(made_of(pieces), records);
    EXPECT_EQ(*planner.spans({0, 3 * large}),
              (std::vector<FileSpan>{{How::copied, {0, large}, &source, 0},
                                     {How::read, {large, 2 * large}},
                                     {How::copied, {2 * large, 3 * large}, &source, 2 * large}}));
    EXPECT_EQ(*planner.spans({large + 5, large + 10}), (std::vector<FileSpan>{{How::read, {large + 5, large + 10}}}));
}

TEST(Spans, HolesAreHolesOfPiecesAndOfSources) {
    const HalfHole source(large, 2 * large);
    PieceList pieces;
    pieces.add_zeros(large);
    pieces.add_source(&source, 0, 2 * large);
    pieces.add_zeros(100);
    const std::vector<pt::UnknownChecksum> records{{large, 2 * large, 0, 4}};
    const SpanPlanner planner(made_of(pieces), records);
    EXPECT_EQ(*planner.spans({0, 3 * large + 100}), (std::vector<FileSpan>{{How::hole, {0, large}},
                                                                           {How::read, {large, 2 * large}},
                                                                           {How::hole, {2 * large, 3 * large}},
                                                                           {How::read, {3 * large, 3 * large + 100}}}));
}

TEST(Spans, AFileThatIsNoViewsIsOnePiece) {
    const auto whole = std::make_shared<const HalfHole>(large, 2 * large);
    const SpanPlanner planner(whole, {});
    EXPECT_EQ(*planner.spans({0, 2 * large}),
              (std::vector<FileSpan>{{How::copied, {0, large}, whole.get(), 0}, {How::hole, {large, 2 * large}}}));
    EXPECT_EQ(*planner.spans({large - 10, large}), (std::vector<FileSpan>{{How::read, {large - 10, large}}}));
}

TEST(Spans, ErrorsOfASourceAreErrors) {
    class Broken final : public test::MemoryFile {
     public:
        using MemoryFile::MemoryFile;
        [[nodiscard]] Result<FileRun> run_at(std::uint64_t /*offset*/) const override {
            return Error(ErrorCode::stale, "it has changed");
        }
    };
    const SpanPlanner planner(std::make_shared<const Broken>(std::string(large, 'x')), {});
    EXPECT_EQ(planner.spans({0, large}).error().code(), ErrorCode::stale);
}

}  // namespace
}  // namespace ckptfs::exporting
