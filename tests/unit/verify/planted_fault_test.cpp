// Faults planted in a view are found, and named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "ckptfs/extent.h"
#include "ckptfs/open.h"
#include "support/records.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "verify/verify_view.h"
#include "view/world_size_kind.h"
#include "zero/reader.h"

namespace ckptfs::verify {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string rank_1 = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt";
const std::string model_states = "mp_rank_00_model_states.pt";

/// A view whose file `index` is made of pieces that were tampered with.
class TamperedView final : public View {
 public:
    using Tamper = std::function<void(std::vector<Piece>& pieces)>;

    TamperedView(std::shared_ptr<const View> view, std::size_t index, Tamper tamper)
        : view_(std::move(view)), index_(index), tamper_(std::move(tamper)) {}

    [[nodiscard]] std::size_t file_count() const override { return view_->file_count(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override { return view_->file_name(index); }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const override { return view_->find(name); }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override { return view_->file_size(index); }
    [[nodiscard]] FileInfo file_info(std::size_t index) const override { return view_->file_info(index); }
    [[nodiscard]] bool read_once(std::size_t index) const override { return view_->read_once(index); }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        CKPTFS_ASSIGN(auto file, view_->open(index));
        if (index != index_) {
            return file;
        }
        return tampered(std::move(file));
    }

 private:
    [[nodiscard]] Result<std::shared_ptr<const File>> tampered(std::shared_ptr<const File> file) const {
        const auto& original = dynamic_cast<const VirtualFile&>(*file);
        std::vector<Piece> pieces(original.pieces().begin(), original.pieces().end());
        tamper_(pieces);
        PieceList list;
        std::uint64_t position = 0;
        for (const Piece& piece : pieces) {
            if (piece.kind == Piece::Kind::source) {
                list.add_source(piece.file, piece.offset, piece.length);
            } else if (piece.kind == Piece::Kind::zeros) {
                list.add_zeros(piece.length);
            } else {
                std::string bytes(piece.length, '\0');
                CKPTFS_TRY(file->read(position, std::as_writable_bytes(std::span(bytes))));
                list.add_literal(bytes);
            }
            position += piece.length;
        }
        const std::string name = file->name();
        CKPTFS_ASSIGN(std::shared_ptr<const File> result, VirtualFile::create(name, std::move(list), std::move(file)));
        return result;
    }

    std::shared_ptr<const View> view_;
    std::size_t index_;
    Tamper tamper_;
};

class PlantedFault : public testing::TestWithParam<std::string> {
 protected:
    void SetUp() override {
        const fs::path directory = test_data() / "zero" / GetParam();
        source_ = *open_directory(directory.string());
        const auto checkpoint =
            zero::read_checkpoint(*source_, ckptfs::test::file_bytes((directory / "latest").string()));
        ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message();
        checkpoint_ = *checkpoint;
        const auto view = view::world_size_view(checkpoint_, world_size, {});
        ASSERT_TRUE(view.ok()) << view.error().message();
        view_ = *view;
    }

    std::vector<std::string> problems_with(const std::string& file, const TamperedView::Tamper& tamper) {
        const auto index = view_->find(file);
        EXPECT_TRUE(index.has_value());
        const auto view = std::make_shared<TamperedView>(view_, index.value_or(0), tamper);
        Problems problems;
        const auto totals = verify_view(*checkpoint_, view, world_size, ckptfs::test::read_records, problems);
        EXPECT_TRUE(totals.ok()) << totals.error().message();
        return problems.kept();
    }

    /// Indices of the source pieces that hold more than a scalar, the longest first.
    static std::vector<std::size_t> data_pieces(const std::vector<Piece>& pieces) {
        std::vector<std::size_t> result;
        for (std::size_t index = 0; index < pieces.size(); ++index) {
            if (pieces[index].kind == Piece::Kind::source && pieces[index].length > 16) {
                result.push_back(index);
            }
        }
        std::stable_sort(result.begin(), result.end(),
                         [&](std::size_t a, std::size_t b) { return pieces[a].length > pieces[b].length; });
        return result;
    }

    static constexpr std::uint64_t world_size = 2;
    std::shared_ptr<const Source> source_;
    std::shared_ptr<const zero::Written> checkpoint_;
    std::shared_ptr<const View> view_;
};

TEST_P(PlantedFault, WithoutOneThereIsNoProblem) {
    EXPECT_THAT(problems_with(rank_1, [](std::vector<Piece>&) {}), IsEmpty());
}

TEST_P(PlantedFault, AShiftedPieceIsFoundByNameAndByCoverage) {
    const auto problems = problems_with(rank_1, [](std::vector<Piece>& pieces) {
        Piece& piece = pieces[data_pieces(pieces).front()];
        piece.offset -= 4;
    });
    EXPECT_THAT(problems, Contains(testing::ContainsRegex("^parameter '.*', .*: differs from the source")));
    EXPECT_THAT(problems, Contains(testing::ContainsRegex("^group [0-9]+, .*: bytes [0-9]+ to [0-9]+ of '.*' are")));
}

TEST_P(PlantedFault, SwappedPiecesAreFoundByName) {
    const auto problems = problems_with(rank_1, [](std::vector<Piece>& pieces) {
        const std::vector<std::size_t> data = data_pieces(pieces);
        ASSERT_GE(data.size(), 2U);
        ASSERT_EQ(pieces[data[0]].length, pieces[data[1]].length);
        std::swap(pieces[data[0]], pieces[data[1]]);
    });
    EXPECT_THAT(problems, Contains(testing::ContainsRegex("^parameter '.*', .*: differs from the source")));
}

TEST_P(PlantedFault, ZerosInsteadOfDataAreFound) {
    const auto problems = problems_with(rank_1, [](std::vector<Piece>& pieces) {
        Piece& piece = pieces[data_pieces(pieces).front()];
        piece = {.kind = Piece::Kind::zeros, .file = nullptr, .offset = 0, .length = piece.length};
    });
    EXPECT_THAT(problems, Contains(HasSubstr("are shown nowhere")));
    EXPECT_THAT(problems, Contains(HasSubstr("differs from the source")));
}

TEST_P(PlantedFault, ShiftedWeightsAreFoundInBothWays) {
    const auto problems = problems_with(model_states, [](std::vector<Piece>& pieces) {
        Piece& piece = pieces[data_pieces(pieces).front()];
        piece.offset -= 2;
    });
    EXPECT_THAT(problems, Contains(testing::ContainsRegex("^parameter '.*', weights: differs")));
    EXPECT_THAT(problems, Contains(testing::ContainsRegex("^tensor '.*' in 'module': differs")));
}

TEST_P(PlantedFault, AFileCutShortIsFound) {
    const auto problems = problems_with(rank_1, [](std::vector<Piece>& pieces) { pieces.pop_back(); });
    EXPECT_THAT(problems, Contains(HasSubstr(rank_1)));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PlantedFault,
                         testing::Values("stage1_bf16_ws3", "round_robin_ws3", "bf16_optimizer_ws3", "elastic_ws3"));

}  // namespace
}  // namespace ckptfs::verify
