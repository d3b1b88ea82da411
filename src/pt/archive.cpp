// Opening a .pt: directory, pickle, small records, and a place for every storage.
#include "pt/archive.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "pt/damaged.h"
#include "pt/metadata_reads.h"
#include "util/checked.h"
#include "util/memory_budget.h"

namespace ckptfs::pt {
namespace {

constexpr std::string_view pickle_name = "data.pkl";
constexpr std::string_view storage_prefix = "data/";
/// Of one extra record, and of all of a file together: what is kept in memory.
constexpr std::uint64_t largest_kept_record = std::uint64_t{64} << 10;
constexpr std::uint64_t most_kept_records = std::uint64_t{256} << 10;

/// The bytes of a pickle are there twice: as they were read, and as they are written again to compare and to edit them.
constexpr std::uint64_t pickle_copies = 2;

Error within(const Error& error, const File& file) {
    return error.within("'" + file.name() + "'");
}

}  // namespace

Result<std::shared_ptr<const Archive>> Archive::open(std::shared_ptr<const File> file) {
    CKPTFS_ASSIGN(Container container, Container::read(std::move(file)));
    return parse(std::move(container));
}

Result<std::shared_ptr<const Archive>> Archive::parse(Container container) {
    std::shared_ptr<Archive> archive(new Archive);
    const std::string pickle = std::exchange(container.pickle, {});
    const auto held = std::exchange(container.held, {});
    archive->container_ = std::move(container);
    auto tree = pickle::Tree::parse(pickle);
    if (!tree.ok()) {
        return within(tree.error().within(archive->root_name() + "/" + std::string(pickle_name)), *archive->file());
    }
    archive->tree_ = std::move(tree).value();
    CKPTFS_TRY(archive->read_extra_records());
    CKPTFS_TRY(archive->find_storages());
    return std::shared_ptr<const Archive>(std::move(archive));
}

std::optional<std::size_t> Archive::storage_index(std::string_view key) const {
    const auto found = index_.find(std::string(key));
    return found == index_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string_view> Container::name_in_root(const Record& record) const {
    std::string_view name = record.name;
    if (name.size() <= root_name.size() || !name.starts_with(root_name) || name[root_name.size()] != '/') {
        return std::nullopt;
    }
    name.remove_prefix(root_name.size() + 1);
    return name;
}

Result<Container> Container::read(std::shared_ptr<const File> file) {
    const std::shared_ptr<const File> opened = std::move(file);
    const MetadataReads reads(*opened);
    auto container = read(opened, reads);
    // What is not of one generation seems damaged: that it has changed says more.
    CKPTFS_TRY(reads.check());
    return container;
}

Result<Container> Container::read(const std::shared_ptr<const File>& file, const MetadataReads& reads) {
    Container container;
    CKPTFS_ASSIGN(container.records, read_directory(reads));
    container.file = file;
    const Record* pickle = nullptr;
    for (const Record& record : container.records) {
        const std::string_view name = record.name;
        const std::size_t slash = name.find('/');
        if (slash == std::string_view::npos) {
            continue;
        }
        if (name.substr(slash + 1) == "constants.pkl") {
            return Error(ErrorCode::unsupported,
                         "'" + container.file->name() + "' is a TorchScript archive, not a file of torch.save");
        }
        if (name.substr(slash + 1) != pickle_name) {
            continue;
        }
        if (pickle != nullptr) {
            return damaged(*container.file, "it has both '" + pickle->name + "' and '" + record.name + "'");
        }
        pickle = &record;
    }
    if (pickle == nullptr) {
        return damaged(*container.file, "it is a zip archive without data.pkl, which torch.save always writes");
    }
    container.root_name = pickle->name.substr(0, pickle->name.find('/'));
    // A sparse file can claim any size, and memory that is only claimed is not refused until it is used.
    MemoryBudget& budget = MemoryBudget::of_process();
    container.held = std::make_unique<MemoryReservation>(budget);
    if (pickle->nbytes > budget.limit() || !container.held->resize(pickle_copies * pickle->nbytes)) {
        return Error(ErrorCode::io,
                     "'" + container.file->name() + "': '" + pickle->name + "' claims " +
                         std::to_string(pickle->nbytes) + " bytes, where all files together may take " +
                         std::to_string(budget.limit()) + " " + MemoryBudget::how_to_raise_limit() +
                         ", or restore the file",
                     ENOMEM);
    }
    CKPTFS_ASSIGN(container.pickle, read_record(reads, *pickle));
    return container;
}

Result<void> Archive::read_extra_records() {
    std::uint64_t kept = 0;
    for (const Record& record : records()) {
        const auto name = container_.name_in_root(record);
        if (!name || *name == pickle_name ||
            (name->starts_with(storage_prefix) && name->size() > storage_prefix.size())) {
            continue;
        }
        ExtraRecord extra{
            std::string(*name), std::nullopt, {file().get(), record.data_offset, record.nbytes, record.crc32}};
        if (record.nbytes <= largest_kept_record && kept + record.nbytes <= most_kept_records) {
            CKPTFS_ASSIGN(extra.bytes, read_record(*file(), record));
            kept += record.nbytes;
        }
        if (*name == "byteorder" && extra.bytes != "little") {
            return Error(ErrorCode::unsupported, "'" + file()->name() + "' was written in the byte order '" +
                                                     extra.bytes.value_or("?") + "', not 'little'");
        }
        extra_records_.push_back(std::move(extra));
    }
    return {};
}

Result<void> Archive::find_storages() {
    std::unordered_map<std::string_view, std::size_t> by_key;
    for (std::size_t i = 0; i < records().size(); ++i) {
        const auto name = container_.name_in_root(records()[i]);
        if (name && name->starts_with(storage_prefix)) {
            by_key.emplace(name->substr(storage_prefix.size()), i);
        }
    }
    const auto ids = pickle::Editor(tree_).persistent_ids();
    if (!ids.ok()) {
        return within(ids.error(), *file());
    }
    for (const pickle::Node* id : *ids) {
        const auto ref = storage_ref(id);
        if (!ref.ok()) {
            return within(ref.error(), *file());
        }
        const std::uint64_t nbytes = ref->numel * model::itemsize(ref->dtype);
        const auto [known, is_first] = index_.try_emplace(std::string(ref->key), storages_.size());
        if (!is_first) {
            const Storage& storage = storages_[known->second];
            const bool same = storage.dtype == ref->dtype && storage.numel == ref->numel;
            if (!same && (nbytes != 0 || storage.numel != 0)) {
                return damaged(*file(), "its pickle describes storage '" + storage.key + "' in two ways");
            }
            continue;
        }
        const auto record = by_key.find(ref->key);
        if (record == by_key.end()) {
            return damaged(*file(), "storage '" + std::string(ref->key) + "' has no record");
        }
        const Record& place = records()[record->second];
        if (place.nbytes < nbytes) {
            return damaged(*file(), "storage '" + std::string(ref->key) + "' should have " + std::to_string(nbytes) +
                                        " bytes, its record has " + std::to_string(place.nbytes));
        }
        storages_.push_back({std::string(ref->key),
                             ref->dtype,
                             ref->numel,
                             {file().get(), place.data_offset, place.nbytes, place.crc32},
                             record->second});
    }
    return {};
}

std::optional<RecordPlaces> Archive::places_in(const Container& other) const {
    const bool same = std::equal(records().begin(), records().end(), other.records.begin(), other.records.end(),
                                 [&](const Record& mine, const Record& theirs) {
                                     return mine.nbytes == theirs.nbytes &&
                                            container_.name_in_root(mine) == other.name_in_root(theirs);
                                 });
    if (!same) {
        return std::nullopt;
    }
    std::vector<RecordPlace> places;
    places.reserve(storages_.size());
    for (const Storage& storage : storages_) {
        const Record& record = other.records[storage.record];
        places.push_back({other.file.get(), record.data_offset, record.nbytes, record.crc32});
    }
    return RecordPlaces(places);
}

RecordPlaces Archive::own_places() const {
    std::vector<RecordPlace> places;
    places.reserve(storages_.size());
    for (const Storage& storage : storages_) {
        places.push_back(storage.place);
    }
    return RecordPlaces(places);
}

}  // namespace ckptfs::pt
