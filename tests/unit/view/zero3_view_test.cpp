// Views of real stage-3 checkpoints against what DeepSpeed itself saved at the other world size, and what the formulas
// promise beyond those (tests/data/zero/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/graph_compare.h"
#include "support/memory_source.h"
#include "support/stage3_padding.h"
#include "support/test_data.h"
#include "view/world_size_kind.h"
#include "view/zero3_files.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace zero3 {
namespace {

namespace fs = std::filesystem;
using test::graph_differences;
using test::with_blank_padding;

const fs::path data = test_data() / "zero";

struct Loaded {
    std::shared_ptr<const io::DirectorySource> source;
    std::shared_ptr<const zero::Written> checkpoint;
    std::string tag;
};

Loaded load(const std::string& name) {
    Loaded loaded;
    std::ifstream(data / name / "latest") >> loaded.tag;
    loaded.source = io::DirectorySource::open_directory((data / name).string()).value();
    auto checkpoint = zero::read_checkpoint(*loaded.source, loaded.tag);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message();
    loaded.checkpoint = *checkpoint;
    return loaded;
}

std::shared_ptr<const View> view_at(const Loaded& loaded, std::uint64_t world_size, ViewOptions options = {}) {
    auto view = world_size_view(loaded.checkpoint, world_size, options);
    EXPECT_TRUE(view.ok()) << view.error().message();
    return *view;
}

std::string whole(const File& file) {
    std::string bytes(file.size(), '\0');
    EXPECT_TRUE(file.read(0, std::as_writable_bytes(std::span(bytes))).ok());
    return bytes;
}

/// A copy of a view, read as the checkpoint that it is.
std::shared_ptr<const zero::Written> read_back(const View& view, test::MemorySource& copy) {
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        copy.add("tag/" + view.file_name(i), whole(**view.open(i)));
    }
    auto again = zero::read_checkpoint(copy, "tag");
    EXPECT_TRUE(again.ok()) << again.error().message();
    return *again;
}

std::string bytes_of(const model::Elements& elements) {
    PieceList pieces;
    elements.append(pieces);
    std::string bytes;
    for (const Piece piece : pieces.pieces()) {
        std::string part(piece.length, '\0');
        EXPECT_TRUE(piece.file->read(piece.offset, std::as_writable_bytes(std::span(part))).ok());
        bytes += part;
    }
    return bytes;
}

/// Every parameter's bytes of every state, under "name/state".
std::map<std::string, std::string> contents(const zero::Written& checkpoint) {
    std::map<std::string, std::string> found;
    for (const model::Rank& rank : checkpoint.content.ranks) {
        for (const model::Group& group : rank.groups) {
            for (const model::Parameter& parameter : group.parameters) {
                found[rank.name + parameter.name + "/fp32"] = bytes_of(*parameter.master);
                for (std::size_t s = 0; s < group.states.size(); ++s) {
                    found[rank.name + parameter.name + "/" + group.states[s]] = bytes_of(parameter.states.at(s));
                }
            }
        }
        for (const model::Parameter& frozen : rank.frozen) {
            found[rank.name + frozen.name + "/frozen"] = bytes_of(*frozen.weight);
        }
    }
    return found;
}

std::vector<std::string> sources() {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(data)) {
        const std::string name = entry.path().filename();
        if (name.find("stage3") != std::string::npos && name.find("_at_ws") == std::string::npos) {
            found.push_back(name);
        }
    }
    return found;
}

class Stage3 : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Real, Stage3, testing::ValuesIn(sources()),
                         [](const auto& param_info) { return param_info.param; });

TEST_P(Stage3, KeepsEveryElementAtEveryWorldSize) {
    const Loaded source = load(GetParam());
    const auto expected = contents(*source.checkpoint);
    const std::size_t degree = source.checkpoint->families.size();
    for (const std::uint64_t ranks : {1U, 2U, 3U, 4U, 5U, 8U, 64U}) {
        for (const std::uint64_t sub_group_size : {std::uint64_t{7}, zero::default_sub_group_size}) {
            test::MemorySource copy;
            ViewOptions options;
            options.sub_group_size = sub_group_size;
            const auto again = read_back(*view_at(source, ranks * degree, options), copy);
            EXPECT_EQ(again->format, zero::Format::zero3);
            EXPECT_EQ(again->dp_world_size, ranks);
            EXPECT_EQ(again->config.sub_group_size, sub_group_size);
            EXPECT_EQ(contents(*again), expected) << ranks;
        }
    }
}

TEST_P(Stage3, ComesBackAsItWas) {
    const Loaded source = load(GetParam());
    const std::size_t degree = source.checkpoint->families.size();
    for (const std::uint64_t ranks : {1U, 5U}) {
        test::MemorySource copy;
        const auto there = read_back(*view_at(source, ranks * degree), copy);
        const auto back = world_size_view(there, source.checkpoint->world_size(), {});
        ASSERT_TRUE(back.ok());
        for (std::size_t i = 0; i < (*back)->file_count(); ++i) {
            const auto original = source.source->open(source.tag + "/" + (*back)->file_name(i));
            ASSERT_TRUE(original.ok());
            // Buffers of ranks that were not there in between are those of others.
            std::set<std::string> ignored;
            if (ranks < source.checkpoint->dp_world_size) {
                ignored = {"drifting", "count"};
            }
            if (GetParam().find("zero_init") != std::string::npos) {
                ignored.insert("ds_id");
            }
            EXPECT_THAT(
                graph_differences(*(*back)->open(i), with_blank_padding(*original, *source.checkpoint), ignored),
                testing::IsEmpty());
        }
    }
}

TEST_P(Stage3, SizesAreThoseOfTheFiles) {
    const Loaded source = load(GetParam());
    const std::uint64_t world_size = 112 * source.checkpoint->families.size();
    const auto sized = view_at(source, world_size);
    const auto opened = view_at(source, world_size);
    for (std::size_t i = 0; i < sized->file_count(); ++i) {
        ASSERT_EQ(*sized->file_size(i), (*opened->open(i))->size()) << sized->file_name(i);
    }
}

TEST(Zero3View, OwnWorldSizePassesTheBytesThroughUnlessTheSubGroupsDiffer) {
    const Loaded source = load("stage3_sub_groups_ws3");
    const auto same = view_at(source, 3);
    ViewOptions options;
    options.sub_group_size = 40;
    const auto other = view_at(source, 3, options);
    ASSERT_EQ(same->file_count(), 6U);
    for (std::size_t i = 0; i < same->file_count(); ++i) {
        const auto original = source.source->open(source.tag + "/" + same->file_name(i));
        EXPECT_EQ(whole(**same->open(i)), whole(**original));
        EXPECT_NE(whole(**other->open(i)), whole(**original));
    }
}

// A stored config need not be what the engine did: whoever says what it does gets that.
TEST(Zero3View, ASizeThatIsGivenIsCutForEvenWhereTheStoredOneIsThatAndTheFilesAreNot) {
    const Loaded source = load("stage3_sub_groups_ws3");
    const auto misdescribed = std::const_pointer_cast<zero::Written>(source.checkpoint);
    misdescribed->config.sub_group_size = 40;
    EXPECT_TRUE(zero3_target(*misdescribed, 3, std::nullopt)->same_as_source);
    const auto given = zero3_target(*misdescribed, 3, 40);
    EXPECT_FALSE(given->same_as_source);
    EXPECT_NE(given->families.front(), misdescribed->families.front().zero3->sub_groups);
}

TEST(Zero3View, TheSizeGivenAloneWinsOverTheConfig) {
    ViewOptions options;
    EXPECT_EQ(target_sub_group_size(options), std::nullopt);
    options.target = zero::LayoutConfig{.sub_group_size = 7};
    EXPECT_EQ(target_sub_group_size(options), 7U);
    options.sub_group_size = 9;
    EXPECT_EQ(target_sub_group_size(options), 9U);
}

TEST(Zero3View, ReadsNoTensorToBuildItsFiles) {
    std::string tag;
    std::ifstream(data / "stage3_frozen_tied_ws2" / "latest") >> tag;
    const io::CountingSource source(*io::DirectorySource::open_directory((data / "stage3_frozen_tied_ws2").string()));
    const auto checkpoint = zero::read_checkpoint(source, tag);
    ASSERT_TRUE(checkpoint.ok());
    const std::uint64_t read_by_reader = source.counters().nbytes;
    EXPECT_GT(read_by_reader, 0U);
    const auto view = world_size_view(*checkpoint, 3, {});
    ASSERT_TRUE(view.ok());
    ASSERT_EQ((*view)->file_count(), 6U);
    std::vector<std::shared_ptr<const File>> files;
    for (std::size_t i = 0; i < (*view)->file_count(); ++i) {
        ASSERT_TRUE((*view)->file_size(i).ok());
        files.push_back((*view)->open(i).value());
    }
    EXPECT_EQ(source.counters().nbytes, read_by_reader);
    whole(*files.front());
    EXPECT_GT(source.counters().nbytes, read_by_reader) << "the counter counts";
}

}  // namespace
}  // namespace zero3
}  // namespace ckptfs::view
