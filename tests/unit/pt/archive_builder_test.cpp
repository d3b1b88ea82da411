// ArchiveBuilder: what torch.save wrote, byte for byte.
#include "pt/archive_builder.h"

#include <gmock/gmock.h>

#include <cstring>

#include "support/archives.h"

namespace ckptfs::pt {
namespace {

using model::DType;
using pickle::Node;
using testing::HasSubstr;

/// The values 0, 1, 2 … as a file.
template <class Value>
class Counting {
 public:
    explicit Counting(std::size_t count) : count_(count), file_(bytes(count)) {}

    [[nodiscard]] PieceList pieces() const {
        PieceList list;
        list.add_source(&file_, 0, count_ * sizeof(Value));
        return list;
    }

 private:
    static std::string bytes(std::size_t count) {
        std::string text(count * sizeof(Value), '\0');
        for (std::size_t i = 0; i < count; ++i) {
            const auto value = static_cast<Value>(i);
            std::memcpy(text.data() + i * sizeof(Value), &value, sizeof(Value));
        }
        return text;
    }

    std::size_t count_;
    test::MemoryFile file_;
};

/// `bytes` with the serialization id of a golden file, which depends on how torch computes it.
std::string with_golden_id(std::string bytes, const std::string& golden, const std::string& root) {
    const std::string name = root + "/.data/serialization_id";
    const test::MemoryFile file(golden);
    const std::vector<Record> records = *read_directory(file);
    const Record& id = records.back();
    EXPECT_EQ(id.name, name);
    // Its bytes, its checksum behind them, and that in the directory.
    bytes.replace(id.data_offset, id.nbytes, golden, id.data_offset, id.nbytes);
    bytes.replace(id.data_offset + id.nbytes + 4, 4, golden, id.data_offset + id.nbytes + 4, 4);
    const std::size_t entry = golden.rfind(name) - 46 + 16;
    return bytes.replace(entry, 4, golden, entry, 4);
}

/// With 0 in the place of all checksums: those of tensors are not known to the builder.
std::string without_crcs(std::string bytes) {
    const test::MemoryFile file(bytes);
    const std::vector<Record> records = *read_directory(file);
    for (const Record& record : records) {
        if (record.nbytes > 0) {
            bytes.replace(record.data_offset + record.nbytes + 4, 4, 4, '\0');
        }
        bytes.replace(bytes.rfind(record.name) - 46 + 16, 4, 4, '\0');
    }
    return bytes;
}

void expect_golden(ArchiveBuilder& builder, const Node* root, const std::string& name) {
    const auto file = builder.lay_out(root, name + ".pt", nullptr);
    ASSERT_TRUE(file.ok()) << file.error().message();
    const std::string bytes = *test::read_all(**file);
    const std::string golden = test::file_bytes(test::data_path("pt/built/" + name + ".pt"));
    ASSERT_EQ(bytes.size(), golden.size());
    EXPECT_EQ(without_crcs(with_golden_id(bytes, golden, name)), without_crcs(golden));
}

TEST(ArchiveBuilder, WritesADictWithATensor) {
    ArchiveBuilder builder;
    const Counting<float> content(12);
    const std::size_t storage = builder.add_storage(DType::float32, 12, "cpu", content.pieces());
    pickle::Editor& pickle = builder.pickle();
    const Node* const root = pickle.dict(
        {pickle.literal("param"), builder.tensor(storage, 0, {3, 4}), pickle.literal("cat_dim"), pickle.integer(0)});
    expect_golden(builder, root, "fp32");
}

TEST(ArchiveBuilder, WritesABareTensor) {
    ArchiveBuilder builder;
    test::MemoryFile file(std::string("\x00\x00\x80\x3f\x00\x40\x40\x40\x80\x40\xa0\x40", 12));
    PieceList pieces;
    pieces.add_source(&file, 0, 12);
    const std::size_t storage = builder.add_storage(DType::bfloat16, 6, "cpu", std::move(pieces));
    expect_golden(builder, builder.tensor(storage, 0, {6}), "tensor");
}

TEST(ArchiveBuilder, WritesAScalarTensor) {
    ArchiveBuilder builder;
    const test::MemoryFile file(std::string("\x00\x00\xe0\x40", 4));
    PieceList pieces;
    pieces.add_source(&file, 0, 4);
    const std::size_t storage = builder.add_storage(DType::float32, 1, "cpu", std::move(pieces));
    expect_golden(builder, builder.tensor(storage, 0, {}), "step");
}

TEST(ArchiveBuilder, TensorsShareStorages) {
    ArchiveBuilder builder;
    const Counting<float> content(8);
    const test::MemoryFile halves(std::string("\x00\x00\x00\x3c\x00\x40", 6));
    PieceList half_pieces;
    half_pieces.add_source(&halves, 0, 6);
    PieceList zeros;
    zeros.add_zeros(4);
    const std::size_t flat = builder.add_storage(DType::float32, 8, "cpu", content.pieces());
    const std::size_t none = builder.add_storage(DType::float32, 0, "cpu", {});
    const std::size_t half = builder.add_storage(DType::float16, 3, "cpu", half_pieces);
    const std::size_t wide = builder.add_storage(DType::uint16, 2, "cpu", zeros);
    pickle::Editor& pickle = builder.pickle();
    const Node* const root =
        pickle.ordered_dict({pickle.literal("a"), builder.tensor(flat, 0, {2, 3}), pickle.literal("b"),
                             builder.tensor(flat, 6, {2}), pickle.literal("tied"), builder.tensor(flat, 0, {2, 3}),
                             pickle.literal("none"), builder.tensor(none, 0, {0, 5}), pickle.literal("half"),
                             builder.tensor(half, 0, {3}), pickle.literal("wide"), builder.tensor(wide, 0, {2})});
    expect_golden(builder, root, "tied");
}

TEST(ArchiveBuilder, WritesPlainValues) {
    ArchiveBuilder builder;
    pickle::Editor& pickle = builder.pickle();
    const auto integer = [&](std::int64_t value) { return pickle.integer(value); };
    const Node* const root = pickle.dict(
        {pickle.literal("shape"),
         builder.size({3, 4}),
         pickle.literal("scalar"),
         builder.size({}),
         pickle.literal("list"),
         pickle.list({integer(1), integer(-1), integer(256), integer(70000), integer(std::int64_t{1} << 40)}),
         pickle.literal("tuple"),
         pickle.tuple({pickle.real(0.9), pickle.real(0.999)}),
         pickle.literal("bool"),
         pickle.boolean(true),
         pickle.literal("no"),
         pickle.boolean(false),
         pickle.literal("none"),
         pickle.none(),
         pickle.literal("text"),
         pickle.literal("na\xc3\xafve"),
         pickle.literal("empty"),
         pickle.dict({}),
         pickle.literal("ordered"),
         pickle.ordered_dict({}),
         integer(0),
         pickle.literal("text"),
         pickle.literal("nothing"),
         pickle.tuple({})});
    expect_golden(builder, root, "values");
}

TEST(ArchiveBuilder, TakesValuesOfOtherArchivesWithTheirStorages) {
    const auto wrapped = *Archive::open(test::golden("pt/good/wrapped.pt"));
    const auto shared = *Archive::open(test::golden("pt/good/shared.pt"));
    ArchiveBuilder builder;
    const Counting<float> content(2);
    const std::size_t storage = builder.add_storage(DType::float32, 2, "cpu", content.pieces());
    pickle::Editor& pickle = builder.pickle();
    const auto take = [&](const std::shared_ptr<const Archive>& archive, const char* key) {
        return *builder.take(archive, find(archive->root(), key));
    };
    const Node* const root = pickle.dict(
        {pickle.literal("new"), builder.tensor(storage, 0, {2}), pickle.literal("tagged"), take(wrapped, "tagged"),
         pickle.literal("parameter"), take(wrapped, "parameter"), pickle.literal("tied"), take(shared, "tied")});
    expect_golden(builder, root, "taken");
}

TEST(ArchiveBuilder, TheResultReadsBack) {
    ArchiveBuilder builder;
    const Counting<float> content(12);
    const std::size_t storage = builder.add_storage(DType::float32, 12, "cpu", content.pieces());
    const auto file = builder.lay_out(builder.tensor(storage, 0, {3, 4}), "x.pt", nullptr);
    ASSERT_TRUE(file.ok());
    const auto archive = Archive::open(*file);
    ASSERT_TRUE(archive.ok()) << archive.error().message();
    EXPECT_EQ((*archive)->root_name(), "x");
    EXPECT_THAT(tensor_ref((*archive)->root())->sizes, testing::ElementsAre(3, 4));
}

TEST(ArchiveBuilder, MistakesOfTheCallerAreNamed) {
    ArchiveBuilder builder;
    PieceList three;
    three.add_zeros(3);
    const std::size_t storage = builder.add_storage(DType::float32, 1, "cpu", three);
    const Node* const root = builder.tensor(storage, 0, {1});
    EXPECT_THAT(builder.lay_out(root, "x.pt", nullptr).error().message(), HasSubstr("3 bytes"));
    EXPECT_THAT(builder.lay_out(root, "x.pt", nullptr).error().message(), HasSubstr("twice"));
}

}  // namespace
}  // namespace ckptfs::pt
