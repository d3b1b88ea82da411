// ArchiveEditor: nothing edited gives the file back; edits keep everything else.
#include "pt/archive_editor.h"

#include <gmock/gmock.h>

#include "pt/crc32.h"
#include "support/archives.h"

namespace ckptfs::pt {
namespace {

using test::golden;
using test::MemoryFile;
using test::read_all;
using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Archive> opened(std::shared_ptr<const File> file) {
    auto archive = Archive::open(std::move(file));
    EXPECT_TRUE(archive.ok()) << (archive.ok() ? "" : archive.error().message());
    return archive.ok() ? *archive : nullptr;
}

std::shared_ptr<const VirtualFile> laid_out(ArchiveEditor& editor, const std::string& name) {
    auto file = editor.lay_out(name, nullptr);
    EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message());
    return file.ok() ? *file : nullptr;
}

std::vector<RecordPlace> own_places(const Archive& archive) {
    std::vector<RecordPlace> places;
    for (const Archive::Storage& storage : archive.storages()) {
        places.push_back(storage.place);
    }
    return places;
}

/// Replaces record `name` (of the same size) of a container by `bytes`, CRCs included.
std::string with_record(std::string file, const std::string& name, const std::string& bytes) {
    const MemoryFile memory(file);
    const std::vector<Record> records = *read_directory(memory);
    for (const Record& record : records) {
        if (record.name != name) {
            continue;
        }
        const auto number = [](std::uint32_t value) {
            return std::string{static_cast<char>(value), static_cast<char>(value >> 8U),
                               static_cast<char>(value >> 16U), static_cast<char>(value >> 24U)};
        };
        file.replace(record.data_offset, bytes.size(), bytes);
        file.replace(record.data_offset + bytes.size() + 4, 4, number(crc32_of(bytes)));
        file.replace(file.rfind(name) - 46 + 16, 4, number(crc32_of(bytes)));
    }
    return file;
}

std::string record_bytes(const File& file, const std::string& name) {
    const std::vector<Record> records = *read_directory(file);
    for (const Record& record : records) {
        if (record.name == name) {
            return *read_record(file, record);
        }
    }
    return "no record " + name;
}

std::vector<std::string> record_names(const File& file) {
    std::vector<std::string> names;
    const std::vector<Record> records = *read_directory(file);
    for (const Record& record : records) {
        names.push_back(record.name);
    }
    return names;
}

TEST(ArchiveEditor, UneditedFilesComeBackByteForByte) {
    int count = 0;
    for (const std::string& path : test::pt_files("")) {
        const auto file = std::make_shared<MemoryFile>(test::file_bytes(path), test::base_name(path));
        const auto archive = Archive::open(file);
        if (!archive.ok()) {
            EXPECT_THAT(path, testing::Not(HasSubstr("/good/"))) << archive.error().message();
            continue;
        }
        ArchiveEditor editor(*archive);
        EXPECT_EQ(*read_all(*laid_out(editor, test::base_name(path))), file->bytes()) << path;
        ++count;
    }
    EXPECT_GE(count, 15);
}

TEST(ArchiveEditor, LaysOutWhatPyTorchWrote) {
    // With places given, every byte is laid out anew; only the serialization id is the editor's own.
    int count = 0;
    for (const std::string& path : test::pt_files("")) {
        const std::string name = test::base_name(path);
        if (name == "zipfile.pt" || name == "without_crc.pt" || name == "claims.pt") {
            continue;  // not in PyTorch's layout, or not with its CRCs
        }
        const auto file = std::make_shared<MemoryFile>(test::file_bytes(path), name);
        const auto archive = Archive::open(file);
        if (!archive.ok() || (*archive)->storages().empty()) {
            continue;
        }
        ArchiveEditor editor(*archive, RecordPlaces(own_places(**archive)));
        const auto result = laid_out(editor, name);
        const std::string id_name = (*archive)->root_name() + "/.data/serialization_id";
        const std::string id = record_bytes(*result, id_name);
        EXPECT_EQ(*read_all(*result), with_record(file->bytes(), id_name, id)) << path;
        if (name != "many_text_order.pt") {  // older writers had no id
            EXPECT_NE(record_bytes(*file, id_name), id) << path;
        }
        ++count;
    }
    EXPECT_GE(count, 12);
}

class EditTest : public testing::Test {
 protected:
    static constexpr std::string_view content = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";

    /// plain.pt with `weight` replaced by 6 elements of a new storage of 8, of which 6 come from another file.
    std::shared_ptr<const VirtualFile> edit(const std::string& name) {
        ArchiveEditor editor(archive_);
        PieceList pieces;
        pieces.add_source(&other_, 4, 24);
        pieces.add_zeros(8);
        const std::size_t storage = editor.add_storage(model::DType::float32, 8, "cpu", std::move(pieces));
        const TensorRef weight = *tensor_ref(find(archive_->root(), "weight"));
        EXPECT_TRUE(
            editor.pickle().set_item(editor.pickle().root(), "weight", editor.tensor(weight, storage, 1, {2, 3})).ok());
        return laid_out(editor, name);
    }

    MemoryFile other_{std::string(content)};
    std::shared_ptr<const Archive> archive_ = opened(golden("pt/good/plain.pt"));
};

TEST_F(EditTest, ReplacesOneTensorAndKeepsTheRest) {
    const auto file = edit("rank_1.pt");
    const auto result = opened(file);
    EXPECT_EQ(result->root_name(), "rank_1");
    EXPECT_THAT(record_names(*file),
                ElementsAre("rank_1/data.pkl", "rank_1/.format_version", "rank_1/.storage_alignment",
                            "rank_1/byteorder", "rank_1/data/0", "rank_1/data/1", "rank_1/data/2", "rank_1/version",
                            "rank_1/.data/serialization_id"));
    const auto weight = *tensor_ref(find(result->root(), "weight"));
    EXPECT_THAT(weight.sizes, ElementsAre(2, 3));
    EXPECT_THAT(weight.strides, ElementsAre(3, 1));
    EXPECT_EQ(weight.offset_numel, 1U);
    EXPECT_EQ(weight.storage.numel, 8U);
    EXPECT_EQ(weight.storage.key, "0");
    EXPECT_EQ(record_bytes(*file, "rank_1/data/0"), std::string(content.substr(4, 24)) + std::string(8, '\0'));
    EXPECT_EQ(record_bytes(*file, "rank_1/data/1"), record_bytes(*archive_->file(), "plain/data/1"));
    EXPECT_EQ(tensor_ref(find(result->root(), "bias"))->storage.key, "1");
    EXPECT_EQ(record_bytes(*file, "rank_1/version"), "3\n");
}

TEST_F(EditTest, CrcsAreTrueExceptOnGatheredRecords) {
    const auto file = edit("rank_1.pt");
    const std::vector<Record> records = *read_directory(*file);
    for (const Record& record : records) {
        const std::uint32_t truth = crc32_of(*test::read_range(*file, record.data_offset, record.nbytes));
        EXPECT_EQ(record.crc32, record.name == "rank_1/data/0" ? 0U : truth) << record.name;
    }
}

TEST_F(EditTest, TheIdDependsOnTheContentAlone) {
    const std::string id = record_bytes(*edit("a.pt"), "a/.data/serialization_id");
    EXPECT_EQ(id.size(), 40U);
    EXPECT_EQ(id.find_first_not_of("0123456789"), std::string::npos);
    EXPECT_EQ(record_bytes(*edit("b.pt"), "b/.data/serialization_id"), id);
    ArchiveEditor other(archive_);
    ASSERT_TRUE(other.pickle().set_item(other.pickle().root(), "step", other.pickle().integer(9)).ok());
    EXPECT_NE(record_bytes(*laid_out(other, "a.pt"), "a/.data/serialization_id"), id);
}

TEST_F(EditTest, RootNamesFollowTorchSave) {
    EXPECT_EQ(opened(edit("model.states.pt"))->root_name(), "model.states");
    EXPECT_EQ(opened(edit("no_extension"))->root_name(), "no_extension");
    EXPECT_EQ(opened(edit("größe.pt"))->root_name(), "archive");
    archive_ = opened(golden("pt/good/stream.pt"));
    EXPECT_EQ(opened(edit("rank_1.pt"))->root_name(), "archive");
}

TEST_F(EditTest, StoragesAreNumberedByFirstAppearance) {
    ArchiveEditor editor(archive_);
    ASSERT_TRUE(editor.pickle().set_item(editor.pickle().root(), "weight", editor.pickle().none()).ok());
    const auto result = opened(laid_out(editor, "plain.pt"));
    ASSERT_EQ(result->storages().size(), 2U);
    EXPECT_EQ(tensor_ref(find(result->root(), "bias"))->storage.key, "0");
    EXPECT_EQ(tensor_ref(find(result->root(), "step"))->storage.key, "1");
    EXPECT_EQ(record_bytes(*result->file(), "plain/data/1"), record_bytes(*archive_->file(), "plain/data/2"));
}

TEST(ArchiveEditor, RenumberingLeavesEqualStringsAlone) {
    // "0" is a key of the user's dict, a string value, and the name of a storage; Python shares one object for all.
    const auto archive = opened(golden("pt/good/shared.pt"));
    ArchiveEditor editor(archive);
    PieceList zeros;
    zeros.add_zeros(4);
    const std::size_t storage = editor.add_storage(model::DType::float32, 1, "cpu", std::move(zeros));
    const TensorRef flat = *tensor_ref(find(archive->root(), "flat"));
    ASSERT_TRUE(editor.pickle().set_item(editor.pickle().root(), "flat", editor.tensor(flat, storage, 0, {1})).ok());
    const auto result = opened(laid_out(editor, "shared.pt"));
    EXPECT_EQ(tensor_ref(find(result->root(), "flat"))->storage.key, "0");
    EXPECT_EQ(tensor_ref(find(result->root(), "view"))->storage.key, "1");
    EXPECT_EQ(find(result->root(), "zero")->text, "0");
    EXPECT_NE(find(find(result->root(), "keys"), "0"), nullptr);
    ASSERT_EQ(result->storages().size(), 2U);
    EXPECT_EQ(result->storages()[1].numel, 20U);
}

TEST(ArchiveEditor, TensorsOfOneStorageShareItsKeyString) {
    const auto archive = opened(golden("pt/good/shared.pt"));
    ArchiveEditor editor(archive);
    PieceList zeros;
    zeros.add_zeros(80);
    const std::size_t storage = editor.add_storage(model::DType::float32, 20, "cpu", std::move(zeros));
    for (const std::string key : {"flat", "view", "strided", "matrix"}) {
        const TensorRef like = *tensor_ref(find(archive->root(), key));
        ASSERT_TRUE(editor.pickle()
                        .set_item(editor.pickle().root(), key, editor.tensor_view(like, storage, like.offset_numel))
                        .ok());
    }
    const pickle::Node* const tied = find(archive->root(), "tied");
    ASSERT_TRUE(editor.pickle().set_item(editor.pickle().root(), "tied", editor.pickle().none()).ok());
    ASSERT_NE(tied, nullptr);
    const auto result = opened(laid_out(editor, "shared.pt"));
    ASSERT_EQ(result->storages().size(), 1U);
    const auto matrix = *tensor_ref(find(result->root(), "matrix"));
    EXPECT_THAT(matrix.sizes, ElementsAre(4, 3));
    EXPECT_THAT(matrix.strides, ElementsAre(1, 4));
    EXPECT_EQ(matrix.offset_numel, 4U);
    const auto flat = *tensor_ref(find(result->root(), "flat"));
    EXPECT_EQ(flat.storage_id->items.front()->items[2], matrix.storage_id->items.front()->items[2]);
    EXPECT_NE(flat.rebuild->items[5], matrix.rebuild->items[5]) << "hooks are each tensor's own";
}

TEST(ArchiveEditor, PlacesPointIntoAnotherFile) {
    const auto archive = opened(golden("pt/good/plain.pt"));
    const MemoryFile other(test::random_bytes(1000, 9));
    std::vector<RecordPlace> places = own_places(*archive);
    std::uint64_t offset = 100;
    for (RecordPlace& place : places) {
        place = {&other, offset, place.nbytes, crc32_of(other.bytes().substr(offset, place.nbytes))};
        offset += place.nbytes + 1;
    }
    ASSERT_LE(offset, other.size());
    ArchiveEditor editor(archive, RecordPlaces(places));
    const auto file = laid_out(editor, "plain.pt");
    EXPECT_EQ(record_bytes(*file, "plain/data/0"), other.bytes().substr(100, 48));
    EXPECT_EQ(record_bytes(*file, "plain/data/1"), other.bytes().substr(149, places[1].nbytes));
}

TEST(ArchiveEditor, WrappersKeepTheirForm) {
    const auto archive = opened(golden("pt/good/wrapped.pt"));
    ArchiveEditor editor(archive);
    const std::vector<std::string> names = {"tagged", "parameter", "with_state"};
    for (const std::string& name : names) {
        PieceList zeros;
        zeros.add_zeros(28);
        const std::size_t storage = editor.add_storage(model::DType::float32, 7, "cuda:3", std::move(zeros));
        const TensorRef like = *tensor_ref(find(archive->root(), name));
        ASSERT_TRUE(editor.pickle().set_item(editor.pickle().root(), name, editor.tensor(like, storage, 0, {7})).ok());
    }
    const auto result = opened(laid_out(editor, "wrapped.pt"));
    for (const std::string& name : names) {
        const pickle::Node* const before = find(archive->root(), name);
        const pickle::Node* const after = find(result->root(), name);
        const auto tensor = *tensor_ref(after);
        EXPECT_THAT(tensor.sizes, ElementsAre(7)) << name;
        EXPECT_EQ(tensor.storage.location, "cuda:3");
        EXPECT_EQ(after->items[0]->text, before->items[0]->text) << name;
        EXPECT_EQ(after->items[1]->items.size(), before->items[1]->items.size()) << name;
    }
    const pickle::Node* const state = find(result->root(), "tagged")->items[1]->items[3];
    EXPECT_EQ(find(state, "ds_id")->text, "3_5");
}

TEST(ArchiveEditor, NewDtypesAreWrittenAsPyTorchDoes) {
    const auto archive = opened(golden("pt/good/dtypes.pt"));
    ArchiveEditor editor(archive);
    PieceList zeros;
    zeros.add_zeros(10);
    const std::size_t storage = editor.add_storage(model::DType::uint16, 5, "cpu", zeros);
    const TensorRef like = *tensor_ref(find(archive->root(), "torch.uint16"));
    ASSERT_TRUE(
        editor.pickle().set_item(editor.pickle().root(), "torch.uint16", editor.tensor(like, storage, 0, {5})).ok());
    const auto result = opened(laid_out(editor, "dtypes.pt"));
    const auto tensor = *tensor_ref(find(result->root(), "torch.uint16"));
    EXPECT_EQ(tensor.dtype, model::DType::uint16);
    EXPECT_EQ(tensor.storage.numel, 10U) << "an untyped storage counts bytes";
    EXPECT_THAT(tensor.sizes, ElementsAre(5));

    ArchiveEditor wrong(archive);
    const std::size_t unfit = wrong.add_storage(model::DType::uint16, 5, "cpu", zeros);
    const TensorRef typed = *tensor_ref(find(archive->root(), "torch.float32"));
    wrong.tensor(typed, unfit, 0, {5});
    EXPECT_EQ(wrong.lay_out("dtypes.pt", nullptr).error().code(), ErrorCode::internal);
}

TEST(ArchiveEditor, OlderWritersSortedRecordsAsText) {
    const auto old = opened(golden("pt/good/many_text_order.pt"));
    const auto current = opened(golden("pt/good/many.pt"));
    for (const auto& archive : {old, current}) {
        ArchiveEditor editor(archive);
        ASSERT_TRUE(editor.pickle().set_item(editor.pickle().root(), 0, editor.pickle().none()).ok());
        const auto names = record_names(*laid_out(editor, "x.pt"));
        const auto third = std::find(names.begin(), names.end(), "x/data/1") + 1;
        EXPECT_EQ(*third, archive == old ? "x/data/10" : "x/data/2");
    }
}

TEST(ArchiveEditor, MistakesOfTheCallerAreNamed) {
    const auto archive = opened(golden("pt/good/plain.pt"));
    ArchiveEditor few_places(archive, RecordPlaces(std::vector<RecordPlace>(1)));
    EXPECT_EQ(few_places.lay_out("plain.pt", nullptr).error().code(), ErrorCode::internal);

    std::vector<RecordPlace> places = own_places(*archive);
    places[1].nbytes -= 1;
    ArchiveEditor small_place(archive, RecordPlaces(places));
    EXPECT_THAT(small_place.lay_out("plain.pt", nullptr).error().message(), HasSubstr("too small"));

    ArchiveEditor wrong_content(archive);
    PieceList three;
    three.add_zeros(3);
    const std::size_t storage = wrong_content.add_storage(model::DType::float32, 1, "cpu", three);
    const TensorRef like = *tensor_ref(find(archive->root(), "bias"));
    ASSERT_TRUE(wrong_content.pickle()
                    .set_item(wrong_content.pickle().root(), "bias", wrong_content.tensor(like, storage, 0, {1}))
                    .ok());
    EXPECT_THAT(wrong_content.lay_out("plain.pt", nullptr).error().message(), HasSubstr("3 bytes"));

    ArchiveEditor twice(archive);
    EXPECT_TRUE(twice.lay_out("plain.pt", nullptr).ok());
    EXPECT_EQ(twice.lay_out("plain.pt", nullptr).error().code(), ErrorCode::internal);
}

}  // namespace
}  // namespace ckptfs::pt
