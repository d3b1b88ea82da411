// What a new .pt is made of, whether it is edited from another or built from nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/extent.h"
#include "pt/archive.h"
#include "pt/archive_layout.h"

namespace ckptfs::pt {

/// Of a contiguous tensor, in elements.
[[nodiscard]] std::vector<std::uint64_t> contiguous_strides(const std::vector<std::uint64_t>& sizes);

/// An object tree whose storages are new ones, filled with pieces, or those of archives that were read. Base of
/// ArchiveEditor and ArchiveBuilder. Not thread-safe; make one per file.
class ArchiveWriter {
 public:
    [[nodiscard]] pickle::Editor& pickle() { return pickle_; }

    /// A storage of its own, filled by `content` (source pieces and zeros; nbytes() must be numel × itemsize).
    /// Returns the key under which tensor() finds it. `location` as in torch: "cpu", "cuda:0".
    std::size_t add_storage(model::DType dtype, std::uint64_t numel, std::string_view location, PieceList content);
    /// A contiguous plain tensor over elements [offset_numel, …) of a new storage. Its dtype is the storage's.
    const pickle::Node* tensor(std::size_t storage, std::uint64_t offset_numel, const std::vector<std::uint64_t>& sizes,
                               bool requires_grad = false);
    /// `node`, a value of `archive`, to be hung into this tree with all that is below it; its storages follow with the
    /// bytes that they have there, and are said to be of the CPU, as after torch.load(map_location="cpu"). `damaged`
    /// where it has a persistent id that is no storage of the archive.
    Result<const pickle::Node*> take(const std::shared_ptr<const Archive>& archive, const pickle::Node* node);

 protected:
    ArchiveWriter(std::shared_ptr<const pickle::Tree> tree, std::shared_ptr<const Archive> base, RecordPlaces places);
    ~ArchiveWriter() = default;

    struct NewStorage {
        model::DType dtype = model::DType::uint8;
        std::uint64_t numel = 0;
        std::string location;
        PieceList content;
        // Parts of its persistent ids, made with the first tensor. The key's text is set when storages are numbered.
        pickle::Node* key_node = nullptr;
        const pickle::Node* class_node = nullptr;
        const pickle::Node* location_node = nullptr;
    };
    /// An archive whose storages the tree refers to. `places`: where their bytes lie instead; empty: in its own file.
    struct Origin {
        std::shared_ptr<const Archive> archive;
        RecordPlaces places;
    };
    /// A storage of the emitted pickle: a new one, or one of an origin.
    struct EmittedStorage {
        const Origin* origin = nullptr;  ///< nullptr: a new one
        std::size_t index = 0;

        bool operator==(const EmittedStorage&) const = default;
    };
    struct Emitted {
        std::string pickle;
        std::vector<EmittedStorage> storages;  ///< as they are numbered: in the order of their first appearance
    };

    /// A tuple of them.
    const pickle::Node* integers(const std::vector<std::uint64_t>& values);
    /// The persistent id ('storage', class, key, location, numel) of a new storage whose class_node and location_node
    /// are set; `kind` is its first word.
    const pickle::Node* storage_id(std::size_t storage, const pickle::Node* kind);
    const pickle::Node* storage_class_node(model::DType dtype);

    /// Writes the pickle and numbers the storages, in one pass over the tree. Call it once.
    Result<Emitted> emit();
    /// `owner` and the files of all origins.
    [[nodiscard]] std::shared_ptr<const void> with_files(std::shared_ptr<const void> owner) const;
    /// Lays out what was emitted. `owner` and all origins' files are kept.
    Result<std::shared_ptr<const VirtualFile>> lay_out_in(const Frame& frame, const std::string& root,
                                                          const std::string& file_name, const Emitted& emitted,
                                                          std::shared_ptr<const void> owner) const;
    /// `internal` where it was called before, or tensors were made wrongly.
    Result<void> begin_layout(const std::string& file_name);

    [[nodiscard]] bool is_base(const EmittedStorage& storage) const;
    [[nodiscard]] bool is_base_moved() const { return !origins_.front().places.empty(); }

    pickle::Editor pickle_;
    std::vector<NewStorage> new_storages_;
    std::optional<Error> misuse_;

 private:
    class Numbering;

    [[nodiscard]] Result<EmittedStorage> identify(const pickle::Node* id) const;
    [[nodiscard]] Result<void> check_storages(const std::vector<EmittedStorage>& storages) const;
    [[nodiscard]] static RecordPlace place_of(const EmittedStorage& storage);
    [[nodiscard]] std::vector<StorageRecord> records_of(const std::vector<EmittedStorage>& storages) const;
    const Origin* origin_of(const std::shared_ptr<const Archive>& archive);

    std::deque<Origin> origins_;  // the first is the base, if there is one
    std::unordered_map<const pickle::Node*, std::size_t> new_ids_;
    std::unordered_map<const pickle::Node*, const Origin*> taken_ids_;
    bool has_base_;
    bool laid_out_ = false;
};

}  // namespace ckptfs::pt
