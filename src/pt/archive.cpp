// Opening a .pt: directory, pickle, small records, and a place for every storage.
#include "pt/archive.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "util/checked.h"

namespace ckptfs::pt {
namespace {

constexpr std::string_view pickle_name = "data.pkl";
constexpr std::string_view storage_prefix = "data/";
/// Of one extra record, and of all of a file together: what is kept in memory.
constexpr std::uint64_t largest_kept_record = std::uint64_t{64} << 10;
constexpr std::uint64_t most_kept_records = std::uint64_t{256} << 10;

/// A tree takes up to about this many times the bytes of its pickle.
constexpr std::uint64_t tree_growth = 32;

std::uint64_t memory_nbytes() {
    const std::int64_t pages = ::sysconf(_SC_PHYS_PAGES);
    const std::int64_t page_nbytes = ::sysconf(_SC_PAGESIZE);
    return static_cast<std::uint64_t>(std::max<std::int64_t>(pages, 0)) * static_cast<std::uint64_t>(page_nbytes);
}

Error damaged(const File& file, const std::string& what) {
    return {ErrorCode::damaged, "'" + file.name() + "' is damaged: " + what};
}

Error within(const Error& error, const File& file) {
    return error.within("'" + file.name() + "'");
}

}  // namespace

Result<std::shared_ptr<const Archive>> Archive::open(std::shared_ptr<const File> file) {
    std::shared_ptr<Archive> archive(new Archive);
    archive->file_ = std::move(file);
    CKPTFS_ASSIGN(archive->records_, read_directory(*archive->file_));
    CKPTFS_TRY(archive->find_root());
    CKPTFS_TRY(archive->read_extra_records());
    CKPTFS_TRY(archive->find_storages());
    return std::shared_ptr<const Archive>(std::move(archive));
}

std::optional<std::size_t> Archive::storage_index(std::string_view key) const {
    const auto found = index_.find(std::string(key));
    return found == index_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string_view> Archive::name_in_root(const Record& record) const {
    std::string_view name = record.name;
    if (name.size() <= root_name_.size() || !name.starts_with(root_name_) || name[root_name_.size()] != '/') {
        return std::nullopt;
    }
    name.remove_prefix(root_name_.size() + 1);
    return name;
}

Result<void> Archive::find_root() {
    const Record* pickle = nullptr;
    for (const Record& record : records_) {
        const std::string_view name = record.name;
        const std::size_t slash = name.find('/');
        if (slash == std::string_view::npos) {
            continue;
        }
        if (name.substr(slash + 1) == "constants.pkl") {
            return Error(ErrorCode::unsupported,
                         "'" + file_->name() + "' is a TorchScript archive, not a file of torch.save");
        }
        if (name.substr(slash + 1) != pickle_name) {
            continue;
        }
        if (pickle != nullptr) {
            return damaged(*file_, "it has both '" + pickle->name + "' and '" + record.name + "'");
        }
        pickle = &record;
    }
    if (pickle == nullptr) {
        return damaged(*file_, "it is a zip archive without data.pkl, which torch.save always writes");
    }
    root_name_ = pickle->name.substr(0, pickle->name.find('/'));
    // A sparse file can claim any size, and memory that is only claimed is not refused until it is used.
    const std::uint64_t memory = memory_nbytes();
    if (pickle->nbytes > memory / 2 / tree_growth) {
        return damaged(*file_, "'" + pickle->name + "' claims " + std::to_string(pickle->nbytes) +
                                   " bytes; its tree could take " + std::to_string(tree_growth) +
                                   " times as much, more than half of the memory here (" + std::to_string(memory) +
                                   " bytes)");
    }
    CKPTFS_ASSIGN(const std::string bytes, read_record(*file_, *pickle));
    auto tree = pickle::Tree::parse(bytes);
    if (!tree.ok()) {
        return within(tree.error().within(pickle->name), *file_);
    }
    tree_ = std::move(tree).value();
    return {};
}

Result<void> Archive::read_extra_records() {
    std::uint64_t kept = 0;
    for (const Record& record : records_) {
        const auto name = name_in_root(record);
        if (!name || *name == pickle_name ||
            (name->starts_with(storage_prefix) && name->size() > storage_prefix.size())) {
            continue;
        }
        ExtraRecord extra{
            std::string(*name), std::nullopt, {file_.get(), record.data_offset, record.nbytes, record.crc32}};
        if (record.nbytes <= largest_kept_record && kept + record.nbytes <= most_kept_records) {
            CKPTFS_ASSIGN(extra.bytes, read_record(*file_, record));
            kept += record.nbytes;
        }
        if (*name == "byteorder" && extra.bytes != "little") {
            return Error(ErrorCode::unsupported, "'" + file_->name() + "' was written in the byte order '" +
                                                     extra.bytes.value_or("?") + "', not 'little'");
        }
        extra_records_.push_back(std::move(extra));
    }
    return {};
}

Result<void> Archive::find_storages() {
    std::unordered_map<std::string_view, const Record*> by_key;
    for (const Record& record : records_) {
        const auto name = name_in_root(record);
        if (name && name->starts_with(storage_prefix)) {
            by_key.emplace(name->substr(storage_prefix.size()), &record);
        }
    }
    const auto ids = pickle::Editor(tree_).persistent_ids();
    if (!ids.ok()) {
        return within(ids.error(), *file_);
    }
    for (const pickle::Node* id : *ids) {
        const auto ref = storage_ref(id);
        if (!ref.ok()) {
            return within(ref.error(), *file_);
        }
        const std::uint64_t nbytes = ref->numel * itemsize(ref->dtype);
        const auto [known, is_first] = index_.try_emplace(std::string(ref->key), storages_.size());
        if (!is_first) {
            const Storage& storage = storages_[known->second];
            const bool same = storage.dtype == ref->dtype && storage.numel == ref->numel;
            if (!same && (nbytes != 0 || storage.numel != 0)) {
                return damaged(*file_, "its pickle describes storage '" + storage.key + "' in two ways");
            }
            continue;
        }
        const auto record = by_key.find(ref->key);
        if (record == by_key.end()) {
            return damaged(*file_, "storage '" + std::string(ref->key) + "' has no record");
        }
        const Record& place = *record->second;
        if (place.nbytes < nbytes) {
            return damaged(*file_, "storage '" + std::string(ref->key) + "' should have " + std::to_string(nbytes) +
                                       " bytes, its record has " + std::to_string(place.nbytes));
        }
        storages_.push_back({std::string(ref->key),
                             ref->dtype,
                             ref->numel,
                             {file_.get(), place.data_offset, place.nbytes, place.crc32}});
    }
    return {};
}

}  // namespace ckptfs::pt
