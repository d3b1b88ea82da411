// The records of a .pt put in order and laid out around its storages.
#include "pt/archive_layout.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "pt/zip_layout.h"

namespace ckptfs::pt {
namespace {

constexpr std::string_view serialization_id_name = ".data/serialization_id";
constexpr std::string_view format_version_name = ".format_version";

using Part = Frame::Part;

/// FNV-1a.
class Hash {
 public:
    Hash& add(std::string_view bytes) {
        for (const char byte : bytes) {
            value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
        }
        return *this;
    }

    /// In 20 decimal digits.
    [[nodiscard]] std::string digits() const {
        constexpr std::size_t width = 20;
        const std::string number = std::to_string(value_);
        return std::string(width - number.size(), '0') + number;
    }

 private:
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

const ExtraRecord* find_extra(const Frame& frame, std::string_view name) {
    for (const Frame::Slot& slot : frame.slots) {
        if (slot.part == Part::extra && slot.extra.name == name) {
            return &slot.extra;
        }
    }
    return nullptr;
}

/// The alignment that the frame declares, if this layout can keep it.
std::uint64_t declared_alignment(const Frame& frame) {
    const ExtraRecord* const extra = find_extra(frame, ".storage_alignment");
    return extra != nullptr && extra->bytes ? parse_alignment(*extra->bytes).value_or(default_alignment)
                                            : default_alignment;
}

/// The keys 0 … count - 1 in the order of their records.
std::vector<std::size_t> key_order(const Frame& frame, std::size_t count) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    // ".format_version" tells that storages lie in the order of their numbers; older writers sorted them as text.
    if (find_extra(frame, format_version_name) == nullptr) {
        std::sort(order.begin(), order.end(),
                  [](std::size_t a, std::size_t b) { return std::to_string(a) < std::to_string(b); });
    }
    return order;
}

Frame::Slot literal_slot(std::string_view name, std::string_view bytes) {
    return {Part::extra, {std::string(name), std::string(bytes), {}}};
}

}  // namespace

std::string root_name_of(std::string_view file_name) {
    // PyTorchStreamWriter's archive name is the file's without its last extension. torch.save hands it a stream, and
    // so no name, where the path is not ASCII.
    const bool ascii =
        std::all_of(file_name.begin(), file_name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    const std::string_view stem = file_name.substr(0, file_name.rfind('.'));
    return std::string(ascii && !stem.empty() ? stem : stream_root_name);
}

const Frame& Frame::of_torch_save() {
    static const Frame frame{{{Part::pickle, {}},
                              literal_slot(format_version_name, "1"),
                              literal_slot(".storage_alignment", std::to_string(default_alignment)),
                              literal_slot("byteorder", "little"),
                              {Part::storages, {}},
                              literal_slot("version", "3\n"),
                              literal_slot(serialization_id_name, "")}};
    return frame;
}

Frame Frame::of(const Archive& archive) {
    Frame frame;
    bool has_storages = false;
    const auto add_storages = [&] {
        if (!std::exchange(has_storages, true)) {
            frame.slots.push_back({Part::storages, {}});
        }
    };
    auto extra = archive.extra_records().begin();
    for (const Record& record : archive.records()) {
        const auto name = archive.container().name_in_root(record);
        if (!name) {
            continue;
        }
        if (*name == "data.pkl") {
            frame.slots.push_back({Part::pickle, {}});
        } else if (extra != archive.extra_records().end() && extra->name == *name) {
            if (*name == "version") {
                add_storages();
            }
            frame.slots.push_back({Part::extra, *extra++});
        } else {
            add_storages();
        }
    }
    add_storages();
    return frame;
}

PieceList lay_out_records(const Frame& frame, const std::string& root, const std::string& pickle,
                          const std::vector<StorageRecord>& storages) {
    ZipLayout layout(declared_alignment(frame));
    Hash names;
    const auto path = [&](std::string_view name, std::uint64_t nbytes) {
        names.add(name).add(" ").add(std::to_string(nbytes)).add("\n");
        return root + "/" + std::string(name);
    };
    const auto add_extra = [&](const ExtraRecord& extra) {
        if (extra.name == serialization_id_name) {
            constexpr std::uint64_t id_nbytes = 40;
            const std::string id_path = path(extra.name, id_nbytes);
            layout.add_literal(id_path, names.digits() + Hash().add(pickle).digits());
        } else if (extra.bytes) {
            layout.add_literal(path(extra.name, extra.bytes->size()), *extra.bytes);
        } else {
            PieceList content;
            content.add_source(extra.place.file, extra.place.offset, extra.place.nbytes);
            layout.add(path(extra.name, extra.place.nbytes), content, extra.place.crc32);
        }
    };
    for (const Frame::Slot& slot : frame.slots) {
        switch (slot.part) {
            case Part::pickle:
                layout.add_literal(path("data.pkl", pickle.size()), pickle);
                break;
            case Part::storages:
                for (const std::size_t key : key_order(frame, storages.size())) {
                    const PieceList& content = storages[key].content;
                    layout.add(path("data/" + std::to_string(key), content.nbytes()), content, storages[key].crc32);
                }
                break;
            case Part::extra:
                add_extra(slot.extra);
                break;
        }
    }
    return std::move(layout).finish();
}

}  // namespace ckptfs::pt
