// A PyTorch .pt file: its records, its object tree and its storages.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "model/dtype.h"
#include "pt/pickle.h"
#include "pt/record_places.h"
#include "pt/zip.h"
#include "util/memory_budget.h"

namespace ckptfs::pt {

class MetadataReads;

/// A storage as a pickle's persistent id describes it: ('storage', torch.<X>Storage, key, location, numel).
struct StorageRef {
    model::DType dtype = model::DType::uint8;
    std::string_view key;
    std::string_view location;
    std::uint64_t numel = 0;
};

/// `damaged` where the node is no persistent id, or not one of that tuple, `unsupported` for an unknown storage class.
/// Views point into the node.
Result<StorageRef> storage_ref(const pickle::Node* persistent_id);
/// The same, of the tuple that a persistent id holds.
Result<StorageRef> storage_ref_of_tuple(const pickle::Node* id);

/// A tensor in the tree: torch._utils._rebuild_tensor, _v2 or _v3 (also inside _rebuild_parameter and
/// _rebuild_from_type_v2).
struct TensorRef {
    const pickle::Node* node = nullptr;     ///< the outermost object: what hangs in the tree
    const pickle::Node* rebuild = nullptr;  ///< the _rebuild_tensor call's argument tuple
    const pickle::Node* storage_id = nullptr;
    StorageRef storage;
    std::uint64_t offset_numel = 0;
    std::vector<std::uint64_t> sizes;
    std::vector<std::int64_t> strides;
    model::DType dtype = model::DType::uint8;  ///< the storage's, unless that is untyped

    [[nodiscard]] std::uint64_t numel() const;
    [[nodiscard]] bool contiguous() const;
};

[[nodiscard]] bool is_tensor(const pickle::Node* node);
/// `damaged` if it looks like a tensor but reaches outside its storage or its numbers overflow, `unsupported` for an
/// unknown dtype, `damaged` if it is none.
Result<TensorRef> tensor_ref(const pickle::Node* node);

/// A record beside data.pkl and data/<key>: kept with its bytes where it is small, so that a template can be laid out
/// without reading its file again.
struct ExtraRecord {
    std::string name;  ///< without the archive's root directory
    std::optional<std::string> bytes;
    RecordPlace place;
};

/// What a .pt is before its pickle is parsed.
struct Container {
    std::shared_ptr<const File> file;
    std::vector<Record> records;
    std::string root_name;
    std::string pickle;                       ///< the bytes of data.pkl
    std::unique_ptr<MemoryReservation> held;  ///< for them

    /// Reads the directory and data.pkl. Errors as Archive::open().
    static Result<Container> read(std::shared_ptr<const File> file);
    /// The record's name below the root directory; nullopt for one outside it.
    [[nodiscard]] std::optional<std::string_view> name_in_root(const Record& record) const;

 private:
    static Result<Container> read(const std::shared_ptr<const File>& file, const MetadataReads& reads);
};

/// A parsed .pt. Holds its tree and directory, no tensor data. Immutable, safe for concurrent use.
class Archive {
 public:
    struct Storage {
        std::string key;
        model::DType dtype = model::DType::uint8;
        std::uint64_t numel = 0;
        RecordPlace place;
        std::size_t record = 0;  ///< index in records()
    };

    /// Reads the directory, data.pkl and the small records. Checks that every storage of the tree has its record, of at
    /// least numel elements. `unsupported` for TorchScript and big-endian files.
    static Result<std::shared_ptr<const Archive>> open(std::shared_ptr<const File> file);
    /// The same, of what was read already.
    static Result<std::shared_ptr<const Archive>> parse(Container container);

    /// Where the storages of this archive lie in `other`, whose pickle is known to be the same, byte for byte; nullopt
    /// where its records have other names or sizes.
    [[nodiscard]] std::optional<RecordPlaces> places_in(const Container& other) const;
    /// Where the storages lie in the archive's own file.
    [[nodiscard]] RecordPlaces own_places() const;

    [[nodiscard]] const std::shared_ptr<const File>& file() const { return container_.file; }
    [[nodiscard]] const std::vector<Record>& records() const { return container_.records; }
    /// In the order of the file; those outside the root directory are left out.
    [[nodiscard]] const std::vector<ExtraRecord>& extra_records() const { return extra_records_; }
    [[nodiscard]] const std::string& root_name() const { return container_.root_name; }
    [[nodiscard]] const pickle::Node* root() const { return tree_->root(); }
    [[nodiscard]] const std::shared_ptr<const pickle::Tree>& tree() const { return tree_; }
    /// In order of first appearance in the pickle.
    [[nodiscard]] const std::vector<Storage>& storages() const { return storages_; }
    /// The container that was read, without its pickle's bytes.
    [[nodiscard]] const Container& container() const { return container_; }
    /// The index in storages() of the storage with this key.
    [[nodiscard]] std::optional<std::size_t> storage_index(std::string_view key) const;

 private:
    Archive() = default;
    Result<void> read_extra_records();
    Result<void> find_storages();

    Container container_;  // its pickle's bytes dropped
    std::vector<ExtraRecord> extra_records_;
    std::shared_ptr<const pickle::Tree> tree_;
    std::vector<Storage> storages_;
    std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace ckptfs::pt
