// Archive: what is in a .pt, and what is wrong with one.
#include "pt/archive.h"

#include <gmock/gmock.h>

#include <random>

#include "support/archives.h"

namespace ckptfs::pt {
namespace {

using test::golden;
using test::MemoryFile;
using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Archive> opened(std::string_view path) {
    auto archive = Archive::open(golden(path));
    EXPECT_TRUE(archive.ok()) << (archive.ok() ? "" : archive.error().message());
    return archive.ok() ? *archive : nullptr;
}

Error open_error(std::string_view path) {
    const auto archive = Archive::open(golden(path));
    return archive.ok() ? Error(ErrorCode::verification, "no error") : archive.error();
}

TEST(Archive, KnowsStoragesAndTensors) {
    const auto archive = opened("pt/good/plain.pt");
    EXPECT_EQ(archive->root_name(), "plain");
    ASSERT_EQ(archive->storages().size(), 3U);
    EXPECT_EQ(archive->storages()[0].key, "0");
    EXPECT_EQ(archive->storages()[0].dtype, model::DType::float32);
    EXPECT_EQ(archive->storages()[0].numel, 12U);
    EXPECT_EQ(archive->storage_index("2"), 2U);
    EXPECT_EQ(archive->storage_index("3"), std::nullopt);

    const auto weight = tensor_ref(find(archive->root(), "weight"));
    ASSERT_TRUE(weight.ok()) << weight.error().message();
    EXPECT_THAT(weight->sizes, ElementsAre(3, 4));
    EXPECT_THAT(weight->strides, ElementsAre(4, 1));
    EXPECT_TRUE(weight->contiguous());
    EXPECT_EQ(weight->numel(), 12U);
    EXPECT_EQ(weight->storage.location, "cpu");
    const auto step = tensor_ref(find(archive->root(), "step"));
    EXPECT_THAT(step->sizes, ElementsAre());
    EXPECT_EQ(step->numel(), 1U);
    EXPECT_TRUE(step->contiguous());
}

TEST(Archive, FindsItsStoragesInAFileOfTheSamePickle) {
    const auto archive = opened("pt/good/plain.pt");
    const auto other = Container::read(golden("pt/good/plain.pt"));
    ASSERT_TRUE(other.ok());
    const auto places = archive->places_in(*other);
    ASSERT_TRUE(places.has_value());
    ASSERT_EQ(places->size(), archive->storages().size());
    for (std::size_t i = 0; i < places->size(); ++i) {
        EXPECT_EQ((*places)[i].file, other->file.get());
        EXPECT_EQ((*places)[i].offset, archive->storages()[i].place.offset);
        EXPECT_EQ((*places)[i].nbytes, archive->storages()[i].place.nbytes);
    }

    auto longer = Container::read(golden("pt/good/plain.pt")).value();
    ++longer.records.back().nbytes;
    EXPECT_FALSE(archive->places_in(longer).has_value()) << "a record of another size";
    auto fewer = Container::read(golden("pt/good/plain.pt")).value();
    fewer.records.pop_back();
    EXPECT_FALSE(archive->places_in(fewer).has_value()) << "a record is missing";
}

TEST(Archive, KeepsSmallRecordsWithTheirBytes) {
    const auto archive = opened("pt/good/plain.pt");
    std::vector<std::pair<std::string, std::string>> extras;
    for (const ExtraRecord& extra : archive->extra_records()) {
        extras.emplace_back(extra.name, extra.bytes.value_or("not kept"));
    }
    ASSERT_EQ(extras.size(), 5U);
    EXPECT_EQ(extras[0], std::pair(std::string(".format_version"), std::string("1")));
    EXPECT_EQ(extras[1], std::pair(std::string(".storage_alignment"), std::string("64")));
    EXPECT_EQ(extras[2], std::pair(std::string("byteorder"), std::string("little")));
    EXPECT_EQ(extras[3], std::pair(std::string("version"), std::string("3\n")));
    EXPECT_EQ(extras[4].first, ".data/serialization_id");
    EXPECT_EQ(extras[4].second.size(), 40U);
}

TEST(Archive, ViewsShareTheirStorage) {
    const auto archive = opened("pt/good/shared.pt");
    ASSERT_EQ(archive->storages().size(), 1U);
    const auto view = *tensor_ref(find(archive->root(), "view"));
    EXPECT_EQ(view.offset_numel, 3U);
    EXPECT_EQ(view.storage.key, "0");
    const auto strided = *tensor_ref(find(archive->root(), "strided"));
    EXPECT_THAT(strided.strides, ElementsAre(2));
    EXPECT_FALSE(strided.contiguous());
    EXPECT_FALSE(tensor_ref(find(archive->root(), "matrix"))->contiguous());
    EXPECT_FALSE(is_tensor(find(archive->root(), "zero")));
    EXPECT_FALSE(is_tensor(find(archive->root(), "tied")));
    EXPECT_FALSE(is_tensor(nullptr));
    EXPECT_EQ(tensor_ref(find(archive->root(), "zero")).error().code(), ErrorCode::damaged);
}

TEST(Archive, EmptyStoragesHaveRecordsOfNoBytes) {
    const auto archive = opened("pt/good/empty.pt");
    const auto a = *tensor_ref(find(archive->root(), "a"));
    const auto b = *tensor_ref(find(archive->root(), "b"));
    EXPECT_EQ(a.storage.key, b.storage.key);
    EXPECT_EQ(archive->storages()[*archive->storage_index(a.storage.key)].place.nbytes, 0U);
    EXPECT_EQ(a.numel(), 0U);
    EXPECT_TRUE(a.contiguous());
}

TEST(Archive, EveryDtypeOfPyTorch) {
    const auto archive = opened("pt/good/dtypes.pt");
    const auto items = pickle::dict_items(archive->root());
    ASSERT_EQ(items.size(), 21U);
    for (const auto& [key, value] : items) {
        const auto tensor = tensor_ref(value);
        ASSERT_TRUE(tensor.ok()) << key->text << ": " << tensor.error().message();
        EXPECT_EQ("torch." + std::string(name(tensor->dtype)), key->text);
        EXPECT_EQ(tensor->numel(), 3U);
        EXPECT_EQ(archive->storages()[*archive->storage_index(tensor->storage.key)].place.nbytes,
                  3 * model::itemsize(tensor->dtype));
    }
}

TEST(Archive, TensorsInsideParametersAndSubclasses) {
    const auto archive = opened("pt/good/wrapped.pt");
    for (const std::string name : {"tagged", "parameter", "with_state"}) {
        const pickle::Node* const node = find(archive->root(), name);
        ASSERT_TRUE(is_tensor(node)) << name;
        const auto tensor = tensor_ref(node);
        ASSERT_TRUE(tensor.ok()) << tensor.error().message();
        EXPECT_EQ(tensor->node, node);
        EXPECT_NE(tensor->rebuild, nullptr);
        EXPECT_EQ(tensor->dtype, model::DType::float32);
    }
    EXPECT_FALSE(is_tensor(find(archive->root(), "module_storage")));
    EXPECT_EQ(archive->storages().size(), 4U) << "a storage that no tensor wraps is one all the same";
}

TEST(Archive, TensorsOutsideTheirStorageAreDamage) {
    const auto archive = opened("pt/good/claims.pt");
    const std::vector<const pickle::Node*>& claims = archive->root()->items;
    ASSERT_EQ(claims.size(), 11U);
    for (std::size_t i = 0; i < 8; ++i) {
        ASSERT_TRUE(is_tensor(claims[i])) << i;
        const auto tensor = tensor_ref(claims[i]);
        ASSERT_FALSE(tensor.ok()) << i;
        EXPECT_EQ(tensor.error().code(), ErrorCode::damaged) << i;
    }
    for (std::size_t i = 8; i < claims.size(); ++i) {
        EXPECT_TRUE(tensor_ref(claims[i]).ok()) << i << ": " << tensor_ref(claims[i]).error().message();
    }
    EXPECT_FALSE(tensor_ref(claims[9])->contiguous()) << "an expanded tensor";
}

TEST(Archive, BadFilesSayWhy) {
    const std::vector<std::tuple<std::string, ErrorCode, std::string>> expected = {
        {"big_endian", ErrorCode::unsupported, "byte order 'big'"},
        {"deflated", ErrorCode::unsupported, "deflated"},
        {"huge_storage", ErrorCode::damaged, "elements"},
        {"legacy", ErrorCode::unsupported, "legacy pickle"},
        {"legacy_tar", ErrorCode::unsupported, "legacy tar"},
        {"missing_storage", ErrorCode::damaged, "storage '1' has no record"},
        {"no_pickle", ErrorCode::damaged, "without data.pkl"},
        {"not_a_pickle", ErrorCode::damaged, "data.pkl"},
        {"short_storage", ErrorCode::damaged, "should have 48 bytes, its record has 47"},
        {"torchscript", ErrorCode::unsupported, "TorchScript"},
        {"two_pickles", ErrorCode::damaged, "other/data.pkl"},
    };
    EXPECT_EQ(test::pt_files("pt/bad").size(), expected.size()) << "each bad file has its line here";
    for (const auto& [name, code, part] : expected) {
        const Error error = open_error("pt/bad/" + name + ".pt");
        EXPECT_EQ(error.code(), code) << name << ": " << error.message();
        EXPECT_THAT(error.message(), HasSubstr(part)) << name;
        EXPECT_THAT(error.message(), HasSubstr(name + ".pt")) << name;
    }
}

TEST(Archive, AFlippedBitInThePickleIsNoticed) {
    std::string bytes = golden("pt/good/plain.pt")->bytes();
    const std::size_t at = bytes.find("weight");
    bytes[at] = 'W';
    const auto archive = Archive::open(std::make_shared<MemoryFile>(bytes, "flipped"));
    ASSERT_FALSE(archive.ok());
    EXPECT_EQ(archive.error().code(), ErrorCode::damaged);
    EXPECT_THAT(archive.error().message(), HasSubstr("CRC"));
}

TEST(Archive, APickleTooLargeForMemoryIsRefusedUnread) {
    constexpr std::uint64_t claimed = std::uint64_t{900} << 30;
    const test::SparseFile hole(claimed);
    PieceList content;
    content.add_source(&hole, 0, claimed);
    ZipLayout layout;
    layout.add("a/data.pkl", content, 0);
    const auto archive = Archive::open(*VirtualFile::create("sparse.pt", std::move(layout).finish(), nullptr));
    ASSERT_FALSE(archive.ok());
    EXPECT_EQ(archive.error().code(), ErrorCode::io);
    EXPECT_EQ(archive.error().system_errno(), ENOMEM);
    EXPECT_THAT(archive.error().message(), HasSubstr("claims " + std::to_string(claimed) + " bytes"));
}

TEST(Archive, LargeExtraRecordsAreNotKept) {
    std::vector<std::pair<std::string, std::string>> records = {{"a/data.pkl", "\x80\x02N."}};
    for (int i = 0; i < 10; ++i) {
        records.emplace_back("a/extra" + std::to_string(i), std::string(60'000, 'x'));
    }
    records.emplace_back("a/large", std::string(70'000, 'y'));
    records.emplace_back("elsewhere/x", "z");
    const auto archive = *Archive::open(std::make_shared<MemoryFile>(test::container(records)));
    ASSERT_EQ(archive->extra_records().size(), 11U) << "records outside the root are left out";
    std::uint64_t kept = 0;
    for (const ExtraRecord& extra : archive->extra_records()) {
        kept += extra.bytes ? extra.bytes->size() : 0;
        EXPECT_EQ(extra.place.nbytes, extra.name == "large" ? 70'000U : 60'000U);
    }
    EXPECT_EQ(kept, 240'000U);
    EXPECT_FALSE(archive->extra_records().back().bytes.has_value());
}

TEST(Archive, MutatedFilesNeverCrash) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    // Without CRCs, so that mutations reach the pickle.
    const std::string whole = golden("pt/good/without_crc.pt")->bytes();
    int errors = 0;
    int tensors = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string bytes = whole;
        for (std::uint64_t i = 0; i < 1 + random() % 3; ++i) {
            bytes[random() % 500] = static_cast<char>(random() & 0xFFU);
        }
        const auto archive = Archive::open(std::make_shared<MemoryFile>(bytes));
        errors += archive.ok() ? 0 : 1;
        if (!archive.ok()) {
            continue;
        }
        for (const auto& [key, value] : pickle::dict_items((*archive)->root())) {
            if (is_tensor(value)) {
                const auto tensor = tensor_ref(value);
                tensors += tensor.ok() ? 1 : 0;
            }
        }
    }
    EXPECT_GT(errors, 300);
    EXPECT_GT(tensors, 300);
}

}  // namespace
}  // namespace ckptfs::pt
