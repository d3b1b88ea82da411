// The records of an edited .pt put in order and laid out around the storages' pieces.
#include <algorithm>
#include <numeric>
#include <utility>

#include "pt/archive.h"
#include "pt/zip_layout.h"
#include "util/checked.h"

namespace ckptfs::pt {
namespace {

constexpr std::string_view fallback_root = "archive";
constexpr std::string_view serialization_id_name = ".data/serialization_id";

/// PyTorchStreamWriter's archive name for a file: the name without its last extension. torch.save hands it a stream,
/// and so no name, where the path is not ASCII.
std::string root_of(std::string_view file_name) {
    const bool ascii =
        std::all_of(file_name.begin(), file_name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    const std::string_view stem = file_name.substr(0, file_name.rfind('.'));
    return std::string(ascii && !stem.empty() ? stem : fallback_root);
}

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

/// The alignment that the template declares, if this layout can keep it.
std::uint64_t declared_alignment(const std::vector<ExtraRecord>& extras) {
    for (const ExtraRecord& extra : extras) {
        if (extra.name == ".storage_alignment" && extra.bytes) {
            return parse_alignment(*extra.bytes).value_or(default_alignment);
        }
    }
    return default_alignment;
}

}  // namespace

Result<std::shared_ptr<const VirtualFile>> ArchiveEditor::lay_out(const std::string& file_name,
                                                                  std::shared_ptr<const void> owner) {
    if (misuse_) {
        return *misuse_;
    }
    if (std::exchange(laid_out_, true)) {
        return Error(ErrorCode::internal, "'" + file_name + "' was laid out twice");
    }
    auto owners = std::make_shared<std::pair<std::shared_ptr<const void>, std::shared_ptr<const File>>>(
        std::move(owner), base_->file());
    CKPTFS_ASSIGN(const std::vector<const pickle::Node*> ids, pickle_.persistent_ids());
    CKPTFS_ASSIGN(const std::vector<EmittedStorage> storages, find_storages(ids));
    CKPTFS_TRY(check_storages(storages));
    CKPTFS_ASSIGN(const bool unedited, is_unedited(storages));
    if (unedited) {
        PieceList whole;
        whole.add_source(base_->file().get(), 0, base_->file()->size());
        return VirtualFile::create(file_name, std::move(whole), std::move(owners));
    }
    CKPTFS_TRY(number(ids, storages));
    CKPTFS_ASSIGN(const std::string written, pickle_.write());
    const std::string root = base_->root_name() == fallback_root ? std::string(fallback_root) : root_of(file_name);
    return VirtualFile::create(file_name, lay_out_records(root, written, storages), std::move(owners));
}

Result<bool> ArchiveEditor::is_unedited(const std::vector<EmittedStorage>& storages) const {
    const bool kept = places_.empty() && std::none_of(storages.begin(), storages.end(),
                                                      [](const EmittedStorage& storage) { return storage.is_new; });
    if (!kept) {
        return false;
    }
    CKPTFS_ASSIGN(const std::string written, pickle_.write());
    CKPTFS_ASSIGN(const std::string pristine, pickle::Editor(base_->tree()).write());
    return written == pristine;
}

RecordPlace ArchiveEditor::place_of(std::size_t base_storage) const {
    return places_.empty() ? base_->storages()[base_storage].place : places_[base_storage];
}

Result<void> ArchiveEditor::check_storages(const std::vector<EmittedStorage>& storages) const {
    if (!places_.empty() && places_.size() != base_->storages().size()) {
        return Error(ErrorCode::internal, "a template of " + std::to_string(base_->storages().size()) +
                                              " storages was given " + std::to_string(places_.size()) + " places");
    }
    for (const EmittedStorage& storage : storages) {
        if (storage.is_new) {
            const NewStorage& made = new_storages_[storage.index];
            if (checked_multiply(made.numel, model::itemsize(made.dtype)) != made.content.nbytes()) {
                return Error(ErrorCode::internal, "a new storage of " + std::to_string(made.numel) + " " +
                                                      std::string(name(made.dtype)) + " elements was filled with " +
                                                      std::to_string(made.content.nbytes()) + " bytes");
            }
            continue;
        }
        const Archive::Storage& kept = base_->storages()[storage.index];
        const RecordPlace place = place_of(storage.index);
        if (place.file == nullptr || place.nbytes < kept.numel * model::itemsize(kept.dtype)) {
            return Error(ErrorCode::internal, "storage '" + kept.key + "' was given a place of " +
                                                  std::to_string(place.nbytes) + " bytes, too small for it");
        }
    }
    return {};
}

PieceList ArchiveEditor::lay_out_records(const std::string& root, const std::string& pickle,
                                         const std::vector<EmittedStorage>& storages) const {
    const std::vector<ExtraRecord>& extras = base_->extra_records();
    ZipLayout layout(declared_alignment(extras));
    Hash names;
    const auto path = [&](std::string_view name, std::uint64_t nbytes) {
        names.add(name).add(" ").add(std::to_string(nbytes)).add("\n");
        return root + "/" + std::string(name);
    };

    // ".format_version" tells that storages lie in the order of their numbers; older writers sorted them as text.
    std::vector<std::size_t> order(storages.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const bool numeric = std::any_of(extras.begin(), extras.end(),
                                     [](const ExtraRecord& extra) { return extra.name == ".format_version"; });
    if (!numeric) {
        std::sort(order.begin(), order.end(),
                  [](std::size_t a, std::size_t b) { return std::to_string(a) < std::to_string(b); });
    }
    bool storages_done = false;
    const auto add_storages = [&] {
        if (std::exchange(storages_done, true)) {
            return;
        }
        for (const std::size_t key : order) {
            const EmittedStorage& storage = storages[key];
            const std::string name = "data/" + std::to_string(key);
            if (storage.is_new) {
                const PieceList& content = new_storages_[storage.index].content;
                layout.add(path(name, content.nbytes()), content, 0);
                continue;
            }
            const RecordPlace place = place_of(storage.index);
            PieceList content;
            content.add_source(place.file, place.offset, place.nbytes);
            layout.add(path(name, place.nbytes), content, place.crc32);
        }
    };
    const auto add_extra = [&](const ExtraRecord& extra) {
        if (extra.name == "version") {
            add_storages();
        }
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

    auto extra = extras.begin();
    for (const Record& record : base_->records()) {
        const auto name = base_->container_.name_in_root(record);
        if (!name) {
            continue;
        }
        if (*name == "data.pkl") {
            layout.add_literal(path(*name, pickle.size()), pickle);
        } else if (extra != extras.end() && extra->name == *name) {
            add_extra(*extra++);
        } else {
            add_storages();
        }
    }
    add_storages();
    return std::move(layout).finish();
}

}  // namespace ckptfs::pt
