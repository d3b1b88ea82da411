// What a picture says of real checkpoints: every element once, and the bytes where they are.
#include "report/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "io/posix_source.h"
#include "report/picture_text.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "view/world_size_kind.h"
#include "zero/reader.h"

namespace ckptfs::report {
namespace {

namespace fs = std::filesystem;

const fs::path data = test_data() / "zero";

struct Loaded {
    std::shared_ptr<const io::DirectorySource> source;
    std::shared_ptr<const zero::Written> checkpoint;
};

Loaded load(const fs::path& root) {
    Loaded loaded;
    loaded.source = *io::DirectorySource::open_directory(root.string());
    auto checkpoint = zero::read_checkpoint(*loaded.source, test::file_bytes((root / "latest").string()));
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    loaded.checkpoint = *checkpoint;
    return loaded;
}

std::vector<fs::path> sources() {
    std::vector<fs::path> result;
    for (const auto& entry : fs::directory_iterator(data)) {
        const std::string name = entry.path().filename().string();
        if (fs::exists(entry.path() / "latest") && name != "universal" && name.find("_at_ws") == std::string::npos) {
            result.push_back(entry.path());
        }
    }
    std::sort(result.begin(), result.end());
    EXPECT_GE(result.size(), 20U);
    return result;
}

/// A checkpoint at a world size, with everything that a page needs.
struct Drawn {
    std::shared_ptr<const View> view;
    Picture picture;
};

std::optional<Drawn> draw(const Loaded& loaded, std::uint64_t dp_world_size) {
    const view::ViewOptions options{.counts_data_parallel = true};
    const auto view = view::world_size_view(loaded.checkpoint, dp_world_size, options);
    auto picture = make_picture(*loaded.checkpoint, dp_world_size, options);
    EXPECT_EQ(view.ok(), picture.ok());
    if (!view.ok() || !picture.ok()) {
        return std::nullopt;
    }
    const auto placed = place_files(*loaded.checkpoint, **view, *picture);
    EXPECT_TRUE(placed.ok()) << placed.error().message();
    return Drawn{*view, *std::move(picture)};
}

/// Marks the elements of `stretch` on one side, each of which must be free.
void take_places(const PartitionPlace& place, std::uint64_t numel, const Partitions& side, std::vector<bool>& taken) {
    ASSERT_LT(place.rank, side.ranks);
    ASSERT_LE(place.numel + numel, side.partition_numel);
    const auto first = static_cast<std::ptrdiff_t>(place.rank * side.partition_numel + place.numel);
    const auto begin = taken.begin() + first;
    const auto end = begin + static_cast<std::ptrdiff_t>(numel);
    EXPECT_EQ(std::find(begin, end, true), end);
    std::fill(begin, end, true);
}

void expect_every_element_once(const DrawnGroup& group) {
    std::vector<bool> before(group.before.ranks * group.before.partition_numel);
    std::vector<bool> after(group.after.ranks * group.after.partition_numel);
    for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        std::uint64_t numel = 0;
        for_each_stretch(group, p, [&](const Stretch& stretch) {
            EXPECT_EQ(stretch.element, numel);
            numel += stretch.numel;
            take_places(stretch.before, stretch.numel, group.before, before);
            take_places(stretch.after, stretch.numel, group.after, after);
        });
        EXPECT_EQ(numel, group.parameters[p].numel);
    }
    for (const std::vector<bool>& taken : {before, after}) {
        EXPECT_EQ(static_cast<std::uint64_t>(std::count(taken.begin(), taken.end(), true)), group.numel);
    }
}

void expect_flows(const DrawnGroup& group, std::uint64_t bundle_before, std::uint64_t bundle_after) {
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> expected;
    for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        for_each_stretch(group, p, [&](const Stretch& stretch) {
            expected[{stretch.after.rank / bundle_after, stretch.before.rank / bundle_before}] += stretch.numel;
        });
    }
    std::vector<Flow> sums;
    for (const auto& [ranks, numel] : expected) {
        sums.push_back({ranks.second, ranks.first, numel});
    }
    const std::vector<Flow> found = flows(group, bundle_before, bundle_after);
    EXPECT_EQ(found, sums);
    std::uint64_t padding = 0;
    for (const std::uint64_t numel : bundle_padding(group.after, bundle_after, found, &Flow::after)) {
        padding += numel;
    }
    EXPECT_EQ(padding, group.after.ranks * group.after.partition_numel - group.numel);
}

/// Alignment lies between parameters; DeepSpeed counts the end's padding alone.
void expect_cut(const Partitions& side, std::uint64_t numel, const GroupCut& cut) {
    EXPECT_EQ(side.partition_numel, cut.partition_numel);
    EXPECT_EQ(side.sub_groups, cut.sub_groups);
    std::uint64_t padding = 0;
    for (const std::uint64_t of_rank : cut.padding_numel) {
        padding += of_rank;
    }
    EXPECT_GE(side.ranks * side.partition_numel - numel, padding);
}

/// What byte `offset` of `file` is: a byte of a source file, and how many more follow it there.
struct Origin {
    const File* file = nullptr;
    std::uint64_t offset = 0;
    std::uint64_t left = 0;
};

Origin origin_of(const File& file, std::uint64_t offset) {
    const auto* virtual_file = dynamic_cast<const VirtualFile*>(&file);
    if (virtual_file == nullptr) {
        return {&file, offset, file.size() - offset};
    }
    std::uint64_t at = 0;
    for (const Piece piece : virtual_file->pieces()) {
        if (offset < at + piece.length) {
            EXPECT_EQ(piece.kind, Piece::Kind::source);
            return {piece.file, piece.offset + (offset - at), at + piece.length - offset};
        }
        at += piece.length;
    }
    ADD_FAILURE() << "no such byte";
    return {};
}

/// The byte of the rank's file where `place` is; nullopt where the picture does not say.
std::optional<std::uint64_t> byte_of(const Partitions& side, const StatePlaces& state, const PartitionPlace& place) {
    std::uint64_t start = 0;
    std::size_t index = 0;
    while (index + 1 < side.sub_groups.size() && place.numel >= start + side.sub_groups[index]) {
        start += side.sub_groups[index++];
    }
    const auto offset = state.offsets[index][place.rank];
    return offset ? std::optional(*offset + (place.numel - start) * state.itemsize) : std::nullopt;
}

/// How often the picture says where a stretch of a state is, and how often it does not.
struct Told {
    std::uint64_t yes = 0;
    std::uint64_t no = 0;
};

/// Of optimizer files, by rank.
using Files = std::map<std::uint64_t, std::shared_ptr<const File>>;

void expect_bytes(const DrawnGroup& group, const zero::Family& family, const Files& files, Told& told) {
    ASSERT_EQ(group.before.states.size(), group.after.states.size());
    EXPECT_EQ(group.before.states.front().key, "fp32");
    const auto expect_state = [&](const Stretch& stretch, std::size_t index) {
        const StatePlaces& state = group.before.states[index];
        const auto from = byte_of(group.before, state, stretch.before);
        const auto to = byte_of(group.after, group.after.states[index], stretch.after);
        ++(from && to ? told.yes : told.no);
        if (from && to) {
            const Origin shown = origin_of(*files.at(stretch.after.rank), *to);
            EXPECT_EQ(shown.file, family.optimizer[stretch.before.rank].file.get());
            EXPECT_EQ(shown.offset, *from);
            EXPECT_GE(shown.left, stretch.numel * state.itemsize);
        }
    };
    for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        for_each_stretch(group, p, [&](const Stretch& stretch) {
            for (std::size_t index = 0; index < group.before.states.size(); ++index) {
                expect_state(stretch, index);
            }
        });
    }
}

std::size_t width_of(const std::string& line) {
    std::size_t result = 0;
    for (const char byte : line) {
        result += (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U ? 1U : 0U;
    }
    return result;
}

void expect_text_fits(const Picture& picture, std::size_t columns) {
    std::istringstream text(as_text(picture, columns));
    std::size_t bars = 0;
    for (std::string line; std::getline(text, line);) {
        EXPECT_LE(width_of(line), std::max<std::size_t>(columns, 72)) << line;
        bars += line.find("│") != std::string::npos ? 1U : 0U;
    }
    EXPECT_EQ(bars, 2U * std::min<std::size_t>(picture.groups.size(), 8));
}

void expect_right(const Loaded& loaded, const Drawn& at, Told& told) {
    std::map<std::string, Files> files;  // by model-parallel rank
    for (std::size_t index = 0; index < at.picture.files_after.size(); ++index) {
        const DrawnFile& file = at.picture.files_after[index];
        EXPECT_EQ(file.file.name, at.view->file_name(index));
        if (file.optimizer_rank) {
            files[file.model_rank][*file.optimizer_rank] = *at.view->open(index);
        }
    }
    const auto cuts = group_cuts(*loaded.checkpoint, loaded.checkpoint->dp_world_size, {});
    ASSERT_TRUE(cuts.ok());
    ASSERT_EQ(cuts->size(), at.picture.groups.size());
    for (std::size_t index = 0; index < at.picture.groups.size(); ++index) {
        const DrawnGroup& group = at.picture.groups[index];
        const auto family = std::find_if(loaded.checkpoint->families.begin(), loaded.checkpoint->families.end(),
                                         [&](const auto& of) { return of.rank == group.model_rank; });
        expect_cut(group.before, group.numel, (*cuts)[index]);
        expect_every_element_once(group);
        expect_flows(group, 1, 1);
        expect_flows(group, 2, 3);
        expect_bytes(group, *family, files[group.model_rank], told);
    }
    for (const std::size_t columns : std::initializer_list<std::size_t>{40, 80, 132}) {
        expect_text_fits(at.picture, columns);
    }
}

// One test, as reading all of the checkpoints takes longer than looking at them.
TEST(Picture, SaysOfEveryElementOnceWhereItIsAndWhereItGoes) {
    Told told;
    std::size_t drawn = 0;
    for (const fs::path& root : sources()) {
        const Loaded loaded = load(root);
        for (const std::uint64_t dp_world_size : std::initializer_list<std::uint64_t>{1, 2, 3, 4, 7}) {
            SCOPED_TRACE(root.filename().string() + " at " + std::to_string(dp_world_size));
            if (const auto at = draw(loaded, dp_world_size)) {
                ++drawn;
                expect_right(loaded, *at, told);
            }
        }
    }
    EXPECT_GT(drawn, 100U);
    EXPECT_GT(told.yes, 10000U);
    EXPECT_LT(told.no, told.yes / 50) << "only what Muon keeps whole has no place in a partition";
}

TEST(Picture, PartsOfTheFilesAreWhatTheViewIsMadeOf) {
    const Loaded loaded = load(data / "stage3_sub_groups_ws3");
    const auto at = draw(loaded, 2);
    ASSERT_TRUE(at);
    ASSERT_EQ(at->picture.files_before.size(), 6U);
    ASSERT_EQ(at->picture.files_after.size(), 4U);
    const DrawnFile& last = at->picture.files_after.back();
    EXPECT_EQ(last.optimizer_rank, 1U);
    ASSERT_EQ(last.file.parts.size(), 2U);
    EXPECT_EQ(last.file.parts[0].file, "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt");
    EXPECT_EQ(last.file.nbytes, *at->view->file_size(3));
}

/// One parameter in one group, as stages 1 and 2 cut it.
Picture flat_picture(std::uint64_t numel, std::uint64_t ranks_before, std::uint64_t ranks_after) {
    const auto side = [&](std::uint64_t ranks) {
        const std::uint64_t share = (numel + 2 * ranks - 1) / (2 * ranks) * 2;
        return Partitions{.ranks = ranks,
                          .partition_numel = share,
                          .is_flat = true,
                          .dealt = {{0, share, 0}},
                          .sub_groups = {},
                          .states = {}};
    };
    Picture picture;
    picture.world_size_before = ranks_before;
    picture.world_size_after = ranks_after;
    picture.groups.push_back({"00", 0, {{"weight", {numel}, numel}}, numel, side(ranks_before), side(ranks_after)});
    return picture;
}

TEST(Picture, BarsStandAboveEachOther) {
    const std::string text = as_text(flat_picture(48, 4, 3), 59);
    EXPECT_THAT(text, testing::HasSubstr("  4 x 12  │███████████│▓▓▓▓▓▓▓▓▓▓▓│▒▒▒▒▒▒▒▒▒▒▒│░░░░░░░░░░░│\n"
                                         "  3 x 16  │███████████▓▓▓▓│▓▓▓▓▓▓▓▓▒▒▒▒▒▒▒│▒▒▒▒░░░░░░░░░░░│\n"));
    EXPECT_THAT(text, testing::HasSubstr("\n           0           1           2           3\n"));
    EXPECT_THAT(text, testing::HasSubstr("\n           0               1               2\n"));
    EXPECT_THAT(text, testing::HasSubstr("  padding 0 -> padding 0\n"));
}

TEST(Picture, ManyRanksShareABox) {
    const std::string text = as_text(flat_picture(std::uint64_t{1} << 40, 1024, 100'000), 80);
    EXPECT_THAT(text, testing::ContainsRegex("a box: [0-9]+ ranks above, [0-9,]+ below"));
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(width_of(line), 80U) << line;
    }
}

}  // namespace
}  // namespace ckptfs::report
