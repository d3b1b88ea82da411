// Files whose pickles lack, repeat or have other opcodes than what DeepSpeed wrote: each is refused by name or served,
// and nothing takes the process down. The zip around them is right, so that the readers see every one.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "pt/pickle_opcodes.h"
#include "pt/pickle_reader.h"
#include "pt/zip_layout.h"
#include "support/memory_source.h"
#include "support/test_data.h"
#include "view/world_size_kind.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace {

namespace fs = std::filesystem;
using pickle::Op;

/// Skips the arguments of an opcode of protocol 2, which torch.save writes.
void skip_arguments(pickle::Reader& reader, Op op) {
    switch (op) {
        case Op::proto:
        case Op::binint1:
        case Op::binput:
        case Op::binget:
            reader.take(1);
            break;
        case Op::binint2:
            reader.take(2);
            break;
        case Op::binint:
        case Op::long_binput:
        case Op::long_binget:
            reader.take(4);
            break;
        case Op::binfloat:
            reader.take(8);
            break;
        case Op::binunicode:
            reader.counted(4);
            break;
        case Op::long1:
            reader.counted(1);
            break;
        case Op::global:
            reader.line();
            reader.line();
            break;
        default:
            break;
    }
}

std::vector<std::string> opcodes(std::string_view bytes) {
    std::vector<std::string> found;
    pickle::Reader reader(bytes);
    while (!reader.at_end()) {
        const std::size_t begin = reader.position();
        skip_arguments(reader, Op{static_cast<std::uint8_t>((*reader.take(1))[0])});
        found.emplace_back(bytes.substr(begin, reader.position() - begin));
    }
    return found;
}

using Records = std::vector<std::pair<std::string, std::string>>;

Records records(const std::string& bytes) {
    const auto file = std::make_shared<const test::MemoryFile>(bytes, "file");
    const auto container = pt::Container::read(file).value();
    Records found;
    for (const pt::Record& record : container.records) {
        found.emplace_back(record.name, bytes.substr(record.data_offset, record.nbytes));
    }
    return found;
}

std::string container(const Records& records) {
    pt::ZipLayout layout;
    for (const auto& [name, bytes] : records) {
        layout.add_literal(name, bytes);
    }
    const auto file = VirtualFile::create("container", std::move(layout).finish(), nullptr).value();
    std::string bytes(file->size(), '\0');
    EXPECT_TRUE(file->read(0, std::as_writable_bytes(std::span(bytes))).ok());
    return bytes;
}

/// A tag one of whose files is damaged again and again.
class DamagedTag {
 public:
    explicit DamagedTag(const std::string& fixture) {
        const fs::path root = test_data() / "zero" / fixture;
        std::string tag;
        std::ifstream(root / "latest") >> tag;
        for (const auto& entry : fs::directory_iterator(root / tag)) {
            files_[entry.path().filename().string()] = file_bytes(entry.path());
        }
    }

    [[nodiscard]] const std::map<std::string, std::string>& files() const { return files_; }

    /// Whether the tag is served with these records in the place of a file: every file at other world sizes is built
    /// and read.
    [[nodiscard]] bool is_served(const std::string& name, const Records& records) const {
        test::MemorySource source;
        for (const auto& [other, bytes] : files_) {
            source.add("tag/" + other, other == name ? container(records) : bytes);
        }
        const auto checkpoint = zero::read_checkpoint(source, "tag");
        if (!checkpoint) {
            EXPECT_NE(checkpoint.error().message(), "");
            return false;
        }
        bool served = true;
        for (const std::uint64_t world_size : {1U, 5U}) {
            const auto view = world_size_view(*checkpoint, world_size, {});
            for (std::size_t i = 0; view.ok() && i < (*view)->file_count(); ++i) {
                const auto file = (*view)->open(i);
                if (file) {
                    std::string bytes((*file)->size(), '\0');
                    EXPECT_TRUE((*file)->read(0, std::as_writable_bytes(std::span(bytes))).ok());
                }
                served = served && file.ok();
            }
            served = served && view.ok();
        }
        return served;
    }

 private:
    static std::string file_bytes(const fs::path& path) {
        std::ifstream stream(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    }

    std::map<std::string, std::string> files_;
};

/// What an opcode may become.
const std::vector<std::string>& replacements() {
    static const std::vector<std::string> all{"", "N", "}", "]", ")", "0", "K\x01", "R"};
    return all;
}

struct Counts {
    std::size_t served = 0;
    std::size_t refused = 0;
};

/// Damages every opcode whose number among those of all files is `first` more than a multiple of `stride`.
Counts damage_each(const DamagedTag& tag, std::size_t first, std::size_t stride) {
    Counts counts;
    std::size_t number = 0;
    for (const auto& [name, bytes] : tag.files()) {
        Records content = records(bytes);
        for (auto& record : content) {
            if (!record.first.ends_with("/data.pkl")) {
                continue;
            }
            const std::string whole = record.second;
            std::size_t offset = 0;
            for (const std::string& opcode : opcodes(whole)) {
                std::vector<std::string> variants = replacements();
                variants.push_back(opcode + opcode);
                for (const std::string& variant : variants) {
                    if (number++ % stride == first && variant != opcode) {
                        record.second = std::string(whole).replace(offset, opcode.size(), variant);
                        ++(tag.is_served(name, content) ? counts.served : counts.refused);
                    }
                }
                offset += opcode.size();
            }
            record.second = whole;
        }
    }
    return counts;
}

class DamagedPickle : public testing::TestWithParam<std::string> {};

TEST_P(DamagedPickle, IsServedOrRefused) {
    constexpr std::size_t stride = 709;  // prime: all kinds of opcodes and replacements have their turn
    const DamagedTag tag(GetParam());
    const Counts counts = damage_each(tag, 7, stride);
    EXPECT_GT(counts.served, 0U);  // a name in the client state, say
    EXPECT_GT(counts.refused, 0U);
}

// A storage's description is a plain tuple where the opcode that makes a persistent id of it is missing.
TEST_P(DamagedPickle, PersistentIdsThatAreNone) {
    const DamagedTag tag(GetParam());
    for (const auto& [name, bytes] : tag.files()) {
        Records content = records(bytes);
        for (auto& record : content) {
            if (!record.first.ends_with("/data.pkl")) {
                continue;
            }
            const std::string whole = record.second;
            std::string without;
            std::size_t offset = 0;
            for (const std::string& opcode : opcodes(whole)) {
                if (opcode == "Q") {
                    record.second = std::string(whole).erase(offset, 1);
                    static_cast<void>(tag.is_served(name, content));  // where nothing depends on that tensor
                }
                without += opcode == "Q" ? "" : opcode;
                offset += opcode.size();
            }
            record.second = without;
            if (without.size() != whole.size() && name.find("optim_states") != std::string::npos) {
                EXPECT_FALSE(tag.is_served(name, content)) << name;
            }
            record.second = whole;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, DamagedPickle,
                         testing::Values("stage1_bf16_ws3", "stage2_fp16_ws3", "bf16_optimizer_ws3", "elastic_ws3",
                                         "round_robin_alignment_ws3", "muon_ws3", "frozen_tied_ws2",
                                         "stage3_sub_groups_ws3", "stage3_frozen_tied_ws2", "stage3_groups_ws3"),
                         [](const auto& fixture) { return fixture.param; });

}  // namespace
}  // namespace ckptfs::view
