// New tensors, and the numbering of the storages that a new pickle refers to.
#include "pt/archive_writer.h"

#include <unordered_set>
#include <utility>

#include "util/checked.h"

namespace ckptfs::pt {
namespace {

using pickle::Kind;
using pickle::Node;

constexpr std::size_t key_item = 2;
constexpr std::size_t location_item = 3;

bool counts_bytes(model::DType dtype) {
    return model::storage_class(dtype) == "UntypedStorage";
}

const Node* id_tuple(const pickle::Editor& editor, const Node* persistent_id) {
    return persistent_id->items.empty() ? nullptr : editor.resolve(persistent_id->items.front());
}

/// All nodes that can be reached from `node`, itself included.
std::vector<const Node*> nodes_below(const Node* node) {
    std::vector<const Node*> found;
    std::vector<const Node*> left{node};
    std::unordered_set<const Node*> seen{node};
    const auto visit = [&](const std::vector<const Node*>& items) {
        for (const Node* item : items) {
            if (seen.insert(item).second) {
                left.push_back(item);
            }
        }
    };
    while (!left.empty()) {
        found.push_back(left.back());
        left.pop_back();
        const Node& next = *found.back();
        visit(next.items);
        for (const pickle::Mutation& mutation : next.mutations) {
            visit(mutation.items);
        }
    }
    return found;
}

}  // namespace

ArchiveWriter::ArchiveWriter(std::shared_ptr<const pickle::Tree> tree, std::shared_ptr<const Archive> base,
                             RecordPlaces places)
    : pickle_(std::move(tree)), has_base_(base != nullptr) {
    if (has_base_) {
        origins_.push_back({std::move(base), std::move(places)});
    }
}

std::size_t ArchiveWriter::add_storage(model::DType dtype, std::uint64_t numel, std::string_view location,
                                       PieceList content) {
    new_storages_.push_back({dtype, numel, std::string(location), std::move(content)});
    return new_storages_.size() - 1;
}

const Node* ArchiveWriter::tensor(std::size_t storage, std::uint64_t offset_numel,
                                  const std::vector<std::uint64_t>& sizes, bool requires_grad) {
    const model::DType dtype = new_storages_[storage].dtype;
    NewStorage& target = new_storages_[storage];
    if (target.class_node == nullptr) {
        target.class_node = storage_class_node(dtype);
        target.location_node = pickle_.literal(target.location);
    }
    std::vector<const Node*> arguments = {
        storage_id(storage, pickle_.literal("storage")),
        pickle_.integer(static_cast<std::int64_t>(offset_numel)),
        integers(sizes),
        integers(contiguous_strides(sizes)),
        pickle_.boolean(requires_grad),
        pickle_.reduce(pickle_.global("collections", "OrderedDict"), pickle_.tuple({}))};
    // As torch.Tensor._reduce_ex_internal does it: an untyped storage does not tell the element type.
    if (counts_bytes(dtype)) {
        arguments.push_back(pickle_.global("torch", name(dtype)));
    }
    const char* const rebuild = counts_bytes(dtype) ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2";
    return pickle_.reduce(pickle_.global("torch._utils", rebuild), pickle_.tuple(std::move(arguments)));
}

const Node* ArchiveWriter::integers(const std::vector<std::uint64_t>& values) {
    std::vector<const Node*> nodes;
    nodes.reserve(values.size());
    for (const std::uint64_t value : values) {
        nodes.push_back(pickle_.integer(static_cast<std::int64_t>(value)));
    }
    return pickle_.tuple(std::move(nodes));
}

std::vector<std::uint64_t> contiguous_strides(const std::vector<std::uint64_t>& sizes) {
    std::vector<std::uint64_t> strides(sizes.size());
    std::uint64_t stride = 1;
    for (std::size_t i = sizes.size(); i-- > 0;) {
        strides[i] = stride;
        stride *= sizes[i] == 0 ? 1 : sizes[i];
    }
    return strides;
}

const Node* ArchiveWriter::storage_class_node(model::DType dtype) {
    return pickle_.global(counts_bytes(dtype) ? "torch.storage" : "torch", model::storage_class(dtype));
}

/// The tuple that describes the storage. torch.save makes a new one for each reference, around the same key string.
const Node* ArchiveWriter::storage_id(std::size_t storage, const Node* kind) {
    NewStorage& target = new_storages_[storage];
    if (target.key_node == nullptr) {
        target.key_node = pickle_.copy(pickle_.string(""));
    }
    const std::uint64_t numel =
        counts_bytes(target.dtype) ? target.numel * model::itemsize(target.dtype) : target.numel;
    const Node* const id =
        pickle_.persistent_id(pickle_.tuple({kind, target.class_node, target.key_node, target.location_node,
                                             pickle_.integer(static_cast<std::int64_t>(numel))}));
    new_ids_.emplace(id, storage);
    return id;
}

Result<const Node*> ArchiveWriter::take(const std::shared_ptr<const Archive>& archive, const Node* node) {
    const Origin* const origin = origin_of(archive);
    if (has_base_ && origin == &origins_.front()) {
        return node;
    }
    for (const Node* below : nodes_below(node)) {
        if (below->kind == Kind::persistent_id) {
            CKPTFS_ASSIGN(const StorageRef ref, storage_ref(below));
            if (!archive->storage_index(ref.key)) {
                return Error(ErrorCode::damaged, "'" + archive->file()->name() + "' has no storage '" +
                                                     std::string(ref.key) + "', which its pickle names");
            }
            taken_ids_.emplace(below, origin);
        } else if (const auto global = global_name(below)) {
            // A class is one object in Python, whichever file named it.
            pickle_.replace(below, pickle_.global(global->module, global->name));
        }
    }
    return node;
}

const ArchiveWriter::Origin* ArchiveWriter::origin_of(const std::shared_ptr<const Archive>& archive) {
    for (const Origin& origin : origins_) {
        if (origin.archive == archive) {
            return &origin;
        }
    }
    pickle_.take_from(archive->tree());
    return &origins_.emplace_back(Origin{archive, {}});
}

Result<ArchiveWriter::EmittedStorage> ArchiveWriter::identify(const Node* id) const {
    const auto made_here = new_ids_.find(id);
    if (made_here != new_ids_.end()) {
        return EmittedStorage{nullptr, made_here->second};
    }
    const auto taken = taken_ids_.find(id);
    const Origin* const origin = taken != taken_ids_.end() ? taken->second : (has_base_ ? &origins_.front() : nullptr);
    CKPTFS_ASSIGN(const StorageRef ref, storage_ref_of_tuple(id_tuple(pickle_, id)));
    const auto index = origin != nullptr ? origin->archive->storage_index(ref.key) : std::nullopt;
    if (!index) {
        return Error(ErrorCode::internal, "storage '" + std::string(ref.key) + "' is nobody's");
    }
    return EmittedStorage{origin, *index};
}

/// Gives the storages their numbers as they come up, in the ids that are about to be written.
class ArchiveWriter::Numbering {
 public:
    explicit Numbering(ArchiveWriter& writer) : writer_(writer) {}

    Result<void> begin(const Node* id) {
        const Node* const tuple = id_tuple(writer_.pickle_, id);
        if (done_.contains(tuple)) {
            return {};
        }
        CKPTFS_ASSIGN(const EmittedStorage storage, writer_.identify(id));
        const auto [at, is_new] = numbers_[storage.origin].try_emplace(storage.index, Number{storages_.size()});
        if (is_new) {
            storages_.push_back(storage);
        }
        done_.insert(tuple);
        rename(storage, at->second, tuple);
        return {};
    }
    [[nodiscard]] std::vector<EmittedStorage> storages() && { return std::move(storages_); }

 private:
    struct Number {
        std::size_t number = 0;
        const Node* key = nullptr;  ///< where it is not the key that the storage has
    };

    void rename(const EmittedStorage& storage, Number& number, const Node* tuple) {
        const std::string key = std::to_string(number.number);
        if (storage.origin == nullptr) {
            writer_.new_storages_[storage.index].key_node->text = key;
            return;
        }
        const bool is_base = writer_.is_base(storage);
        if (is_base && storage.origin->archive->storages()[storage.index].key == key) {
            return;
        }
        pickle::Editor& pickle = writer_.pickle_;
        if (number.key == nullptr) {
            number.key = pickle.string(key);
        }
        Node* const renamed = pickle.copy(tuple);
        renamed->items[key_item] = number.key;
        if (!is_base) {
            renamed->items[0] = pickle.literal(renamed->items[0]->text);
            renamed->items[location_item] = pickle.literal("cpu");
        }
        pickle.replace(tuple, renamed);
        done_.insert(renamed);
    }

    ArchiveWriter& writer_;
    std::vector<EmittedStorage> storages_;
    std::unordered_map<const Origin*, std::unordered_map<std::size_t, Number>> numbers_;
    std::unordered_set<const Node*> done_;  // tuples
};

Result<ArchiveWriter::Emitted> ArchiveWriter::emit() {
    Numbering numbering(*this);
    CKPTFS_ASSIGN(std::string written, pickle_.write([&](const Node* id) { return numbering.begin(id); }));
    return Emitted{std::move(written), std::move(numbering).storages()};
}

bool ArchiveWriter::is_base(const EmittedStorage& storage) const {
    return has_base_ && storage.origin == &origins_.front();
}

RecordPlace ArchiveWriter::place_of(const EmittedStorage& storage) {
    const Origin& origin = *storage.origin;
    return origin.places.empty() ? origin.archive->storages()[storage.index].place : origin.places[storage.index];
}

Result<void> ArchiveWriter::check_storages(const std::vector<EmittedStorage>& storages) const {
    for (const Origin& origin : origins_) {
        const std::size_t count = origin.archive->storages().size();
        if (!origin.places.empty() && origin.places.size() != count) {
            return Error(ErrorCode::internal, "a template of " + std::to_string(count) + " storages was given " +
                                                  std::to_string(origin.places.size()) + " places");
        }
    }
    for (const EmittedStorage& storage : storages) {
        if (storage.origin == nullptr) {
            const NewStorage& made = new_storages_[storage.index];
            if (checked_multiply(made.numel, model::itemsize(made.dtype)) != made.content.nbytes()) {
                return Error(ErrorCode::internal, "a new storage of " + std::to_string(made.numel) + " " +
                                                      std::string(name(made.dtype)) + " elements was filled with " +
                                                      std::to_string(made.content.nbytes()) + " bytes");
            }
            continue;
        }
        const Archive::Storage& kept = storage.origin->archive->storages()[storage.index];
        const RecordPlace place = place_of(storage);
        if (place.file == nullptr || place.nbytes < kept.numel * model::itemsize(kept.dtype)) {
            return Error(ErrorCode::internal, "storage '" + kept.key + "' was given a place of " +
                                                  std::to_string(place.nbytes) + " bytes, too small for it");
        }
    }
    return {};
}

std::vector<StorageRecord> ArchiveWriter::records_of(const std::vector<EmittedStorage>& storages) const {
    std::vector<StorageRecord> records;
    records.reserve(storages.size());
    for (const EmittedStorage& storage : storages) {
        if (storage.origin == nullptr) {
            records.push_back({new_storages_[storage.index].content, 0});
            continue;
        }
        const RecordPlace place = place_of(storage);
        records.push_back({{}, place.crc32});
        records.back().content.add_source(place.file, place.offset, place.nbytes);
    }
    return records;
}

Result<void> ArchiveWriter::begin_layout(const std::string& file_name) {
    if (misuse_) {
        return *misuse_;
    }
    if (std::exchange(laid_out_, true)) {
        return Error(ErrorCode::internal, "'" + file_name + "' was laid out twice");
    }
    return {};
}

Result<std::shared_ptr<const VirtualFile>> ArchiveWriter::lay_out_in(const Frame& frame, const std::string& root,
                                                                     const std::string& file_name,
                                                                     const Emitted& emitted,
                                                                     std::shared_ptr<const void> owner) const {
    CKPTFS_TRY(check_storages(emitted.storages));
    PieceList pieces = lay_out_records(frame, root, emitted.pickle, records_of(emitted.storages));
    for (const Origin& origin : origins_) {
        pieces.add_origin(origin.places.empty() ? origin.archive->file().get() : origin.places.file());
    }
    return VirtualFile::create(file_name, std::move(pieces), with_files(std::move(owner)));
}

std::shared_ptr<const void> ArchiveWriter::with_files(std::shared_ptr<const void> owner) const {
    using Owners = std::pair<std::shared_ptr<const void>, std::vector<std::shared_ptr<const File>>>;
    auto owners = std::make_shared<Owners>(std::move(owner), Owners::second_type{});
    for (const Origin& origin : origins_) {
        owners->second.push_back(origin.archive->file());
    }
    return owners;
}

}  // namespace ckptfs::pt
