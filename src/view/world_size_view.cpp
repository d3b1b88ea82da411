// Names, sizes and times of the files of a world size.
#include "view/world_size_view.h"

#include <algorithm>
#include <utility>

#include "zero/file_names.h"

namespace ckptfs::view {
namespace {

Permissions common_permissions(const std::vector<zero::RankFile>& ranks) {
    std::vector<Permissions> all;
    all.reserve(ranks.size());
    for (const zero::RankFile& rank : ranks) {
        all.push_back(permissions_of(rank.info));
    }
    return all.empty() ? Permissions() : ckptfs::common_permissions(all);
}

}  // namespace

std::uint64_t SizeTable::find(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(index / block_count);
    return block == blocks_.end() ? 0 : block->second[index % block_count];
}

void SizeTable::set(std::size_t index, std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    auto& block = blocks_[index / block_count];
    block.resize(block_count);
    block[index % block_count] = size;
}

WorldSizeView::WorldSizeView(std::shared_ptr<const zero::Written> checkpoint, std::uint64_t dp_world_size,
                             std::unique_ptr<const Recut> recut, std::shared_ptr<FileCache> cache)
    : checkpoint_(std::move(checkpoint)),
      recut_(std::move(recut)),
      model_states_count_(recut_ ? recut_->model_states_count() : 1),
      optimizer_count_(recut_ ? dp_world_size : 0),
      pass_through_(!recut_ || recut_->same_as_source()),
      cache_(std::move(cache)) {
    for (const zero::Family& family : checkpoint_->families) {
        permissions_.push_back(
            {common_permissions(family.model_states_of_ranks()), common_permissions(family.optimizer)});
        for (const auto* ranks : {&family.optimizer, &family.model_states_of_ranks()}) {
            for (const zero::RankFile& rank : *ranks) {
                newest_.stamp.mtime_ns = std::max(newest_.stamp.mtime_ns, rank.info.stamp.mtime_ns);
                newest_.stamp.ctime_ns = std::max(newest_.stamp.ctime_ns, rank.info.stamp.ctime_ns);
                newest_.atime_ns = std::max(newest_.atime_ns, rank.info.atime_ns);
            }
        }
    }
}

WorldSizeView::~WorldSizeView() {
    cache_->forget(this);
}

WorldSizeView::Place WorldSizeView::place(std::size_t index) const {
    const std::size_t within = index % files_per_family();
    const bool optimizer = within >= model_states_count_;
    return {index / files_per_family(), optimizer, optimizer ? within - model_states_count_ : within};
}

std::size_t WorldSizeView::index_of(const Place& place) const {
    return place.family * files_per_family() + (place.optimizer ? model_states_count_ : 0) + place.rank;
}

const zero::Family& WorldSizeView::family(const Place& place) const {
    return checkpoint_->families[place.family];
}

std::size_t WorldSizeView::file_count() const {
    return checkpoint_->families.size() * files_per_family();
}

std::string WorldSizeView::file_name(std::size_t index) const {
    const Place at = place(index);
    if (at.optimizer) {
        return zero::optimizer_file_name(checkpoint_->optimizer_prefix, at.rank, family(at).rank,
                                         checkpoint_->optimizer_suffix);
    }
    return family(at).model_states_of_ranks().empty() ? family(at).model_states_name
                                                      : zero::model_states_shard_name(at.rank, family(at).rank);
}

std::optional<std::size_t> WorldSizeView::find(std::string_view name) const {
    const auto parsed = zero::parse_shard_name(name);
    if (!parsed) {
        return std::nullopt;
    }
    const auto family_index = find_family(parsed->model_rank);
    if (!family_index) {
        return std::nullopt;
    }
    const Place at{*family_index, parsed->role == zero::FileRole::optimizer_shard, parsed->data_rank};
    if (at.rank >= (at.optimizer ? optimizer_count_ : model_states_count_)) {
        return std::nullopt;
    }
    const std::size_t index = index_of(at);
    return file_name(index) == name ? std::optional(index) : std::nullopt;
}

std::optional<std::size_t> WorldSizeView::find_family(std::string_view model_rank) const {
    const auto& families = checkpoint_->families;
    const auto found = std::find_if(families.begin(), families.end(),
                                    [&](const zero::Family& family) { return family.rank == model_rank; });
    return found == families.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - families.begin()));
}

std::optional<std::size_t> WorldSizeView::file_set(std::string_view name) const {
    const auto parsed = zero::parse_shard_name(name);
    const bool is_optimizer = parsed && parsed->role == zero::FileRole::optimizer_shard;
    const bool is_model_states =
        parsed && (parsed->role == zero::FileRole::model_states || parsed->role == zero::FileRole::model_states_shard);
    const auto family = is_optimizer || is_model_states ? find_family(parsed->model_rank) : std::nullopt;
    return family ? std::optional(2 * *family + (is_optimizer ? 1U : 0U)) : std::nullopt;
}

Result<std::uint64_t> WorldSizeView::file_size(std::size_t index) const {
    if (const std::uint64_t known = sizes_.find(index)) {
        return known;
    }
    if (!pass_through_) {
        const Place at = place(index);
        const std::uint64_t like = recut_->sized_like(at.family, at.optimizer, at.rank);
        if (like != at.rank) {
            return file_size(index_of({at.family, at.optimizer, like}));
        }
    }
    CKPTFS_ASSIGN(const std::shared_ptr<const File> file, open(index));
    sizes_.set(index, file->size());
    return file->size();
}

FileInfo WorldSizeView::file_info(std::size_t index) const {
    const Place at = place(index);
    const auto& ranks = at.optimizer ? family(at).optimizer : family(at).model_states_of_ranks();
    if (ranks.empty()) {
        return family(at).model_states_info;
    }
    FileInfo info = ranks[at.rank % checkpoint_->dp_world_size].info;
    if (!pass_through_) {
        info.stamp.mtime_ns = newest_.stamp.mtime_ns;
        info.stamp.ctime_ns = newest_.stamp.ctime_ns;
        info.atime_ns = newest_.atime_ns;
        const FamilyPermissions& common = permissions_[at.family];
        info = with_permissions(info, at.optimizer ? common.optimizer : common.model_states);
    }
    return info;
}

bool WorldSizeView::read_once(std::size_t index) const {
    return place(index).optimizer;
}

Result<std::shared_ptr<const File>> WorldSizeView::open(std::size_t index) const {
    const Place at = place(index);
    if (pass_through_) {
        const auto& ranks = at.optimizer ? family(at).optimizer : family(at).model_states_of_ranks();
        return ranks.empty() ? family(at).model_states->file() : ranks[at.rank].file;
    }
    if (auto cached = cache_->find(this, index)) {
        return cached;
    }
    CKPTFS_ASSIGN(const std::shared_ptr<const VirtualFile> built, build(at, file_name(index)));
    return cache_->insert(this, index, built, built->memory_nbytes());
}

Result<std::shared_ptr<const VirtualFile>> WorldSizeView::build(const Place& place, const std::string& name) const {
    return place.optimizer ? recut_->optimizer(place.family, place.rank, name)
                           : recut_->model_states(place.family, place.rank, name);
}

}  // namespace ckptfs::view
