// Tags and world-size views over the ZeRO reader.
#include "view/zero_tag.h"

#include <unordered_set>
#include <utility>
#include <vector>

#include "util/path.h"
#include "view/file_cache.h"
#include "view/world_size_view.h"
#include "view/zero12_files.h"
#include "view/zero3_files.h"
#include "zero/reader.h"
#include "zero/refusal.h"

namespace ckptfs::view {
namespace {

Result<std::shared_ptr<const View>> make_view(std::shared_ptr<const zero::Checkpoint> checkpoint,
                                              std::uint64_t world_size, const ViewOptions& options,
                                              std::shared_ptr<FileCache> cache) {
    if (world_size == 0 || world_size > max_world_size) {
        return Error(ErrorCode::invalid_argument, "a world size of " + std::to_string(world_size) +
                                                      " is not possible; give one from 1 to " +
                                                      std::to_string(max_world_size));
    }
    CKPTFS_ASSIGN(const std::uint64_t dp_world_size, dp_world_size_at(*checkpoint, world_size, options));
    std::unique_ptr<const Recut> recut;
    if (checkpoint->format == zero::Format::zero3) {
        CKPTFS_ASSIGN(recut, zero3_recut(checkpoint, dp_world_size, target_sub_group_size(options)));
    } else if (checkpoint->format != zero::Format::stage0) {
        CKPTFS_ASSIGN(recut, zero12_recut(checkpoint, dp_world_size, options.target));
    }
    // Where nothing is re-cut, each rank has its own.
    if (recut && !recut->same_as_source() && !checkpoint->rank_values.empty() && !checkpoint->rank_values_of) {
        return zero::refuse(zero::Refusal::rank_values, checkpoint->rank_values.front().path,
                            zero::rank_values_text(checkpoint->rank_values));
    }
    return std::shared_ptr<const View>(
        std::make_shared<WorldSizeView>(std::move(checkpoint), dp_world_size, std::move(recut), std::move(cache)));
}

class ZeroTag final : public Tag {
 public:
    ZeroTag(std::vector<std::string> replaced, std::vector<std::string> stamped, std::vector<FileStamp> stamps,
            Result<std::shared_ptr<const zero::Checkpoint>> checkpoint, ViewOptions options,
            std::shared_ptr<FileCache> cache)
        : replaced_(std::move(replaced)),
          stamped_(std::move(stamped)),
          stamps_(std::move(stamps)),
          checkpoint_(std::move(checkpoint)),
          options_(options),
          cache_(std::move(cache)) {
        if (!checkpoint_.ok()) {
            return;
        }
        for (const zero::ModelParallelRank& family : (*checkpoint_)->model_parallel) {
            of_save_.insert(family.model_states_name);
            for (const auto* ranks : {&family.model_states_shards, &family.optimizer, &family.layers}) {
                for (const zero::RankFile& rank : *ranks) {
                    of_save_.insert(rank.name);
                }
            }
        }
    }

    [[nodiscard]] const Error* problem() const override { return checkpoint_.ok() ? nullptr : &checkpoint_.error(); }
    [[nodiscard]] const std::vector<std::string>& warnings() const override {
        static const std::vector<std::string> none;
        return checkpoint_.ok() ? (*checkpoint_)->warnings : none;
    }
    [[nodiscard]] std::uint64_t world_size() const override {
        if (!checkpoint_.ok()) {
            return 0;
        }
        return options_.counts_data_parallel ? (*checkpoint_)->dp_world_size : (*checkpoint_)->world_size();
    }
    [[nodiscard]] const std::vector<std::string>& replaced_files() const override { return replaced_; }
    [[nodiscard]] const std::vector<std::string>& stamped_files() const override { return stamped_; }
    [[nodiscard]] const std::vector<FileStamp>& stamps() const override { return stamps_; }
    [[nodiscard]] bool is_of_save(std::size_t index) const override { return of_save_.contains(stamped_[index]); }
    [[nodiscard]] Result<std::shared_ptr<const View>> show(const ViewRequest& request) const override {
        if (!checkpoint_.ok()) {
            return checkpoint_.error();
        }
        return make_view(*checkpoint_, request.world_size, options_, cache_);
    }

 private:
    std::vector<std::string> replaced_;
    std::vector<std::string> stamped_;
    std::vector<FileStamp> stamps_;
    Result<std::shared_ptr<const zero::Checkpoint>> checkpoint_;
    ViewOptions options_;
    std::shared_ptr<FileCache> cache_;
    std::unordered_set<std::string> of_save_;
};

class ZeroTagReader final : public TagReader {
 public:
    explicit ZeroTagReader(ViewOptions options) : options_(options) {}

    [[nodiscard]] bool recognises(const std::vector<DirectoryEntry>& listing) const override {
        return zero::is_tag(listing);
    }
    [[nodiscard]] std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) const override {
        std::vector<std::string> names = zero::shard_files(listing);
        const std::vector<std::string> layers = zero::layer_files(listing);
        names.insert(names.end(), layers.begin(), layers.end());
        return names;
    }

    [[nodiscard]] std::shared_ptr<const Tag> read(const Source& source, const std::string& directory) const override {
        std::vector<std::string> replaced;
        std::vector<std::string> stamped;
        std::vector<FileStamp> stamps;
        // Stamps are taken first: if a file changes while it is read, the stamp differs and the tag is read again.
        const auto taken = [&]() -> Result<void> {
            CKPTFS_ASSIGN(const std::vector<DirectoryEntry> listing, source.list(directory));
            replaced = zero::shard_files(listing);
            for (const std::string& name : shard_files(listing)) {
                CKPTFS_ASSIGN(const FileInfo info, source.stat_target(join_path(directory, name)));
                stamped.push_back(name);
                stamps.push_back(info.stamp);
            }
            return {};
        }();
        auto checkpoint = taken.ok() ? zero::read_checkpoint(source, directory, options_.read)
                                     : Result<std::shared_ptr<const zero::Checkpoint>>(taken.error());
        return std::make_shared<ZeroTag>(std::move(replaced), std::move(stamped), std::move(stamps),
                                         std::move(checkpoint), options_, cache_);
    }

 private:
    ViewOptions options_;
    std::shared_ptr<FileCache> cache_ = std::make_shared<FileCache>();
};

}  // namespace

std::optional<std::uint64_t> target_sub_group_size(const ViewOptions& options) {
    if (options.sub_group_size || !options.target) {
        return options.sub_group_size;
    }
    return options.target->sub_group_size;
}

Result<std::uint64_t> dp_world_size_at(const zero::Checkpoint& checkpoint, std::uint64_t world_size,
                                       const ViewOptions& options) {
    const std::uint64_t degree = checkpoint.degree();
    if (options.counts_data_parallel) {
        return world_size;
    }
    if (world_size % degree != 0) {
        const std::string ranks = checkpoint.sequence_parallel > 1
                                      ? " model- and sequence-parallel ranks to each data-parallel one"
                                      : " model-parallel ranks";
        return Error(ErrorCode::invalid_argument,
                     "a world size of " + std::to_string(world_size) + " does not fit a checkpoint of " +
                         std::to_string(degree) + ranks + ", whose degree must divide it; give a multiple of " +
                         std::to_string(degree) + ", or the data-parallel size with --dp-size");
    }
    return world_size / degree;
}

Result<std::shared_ptr<const View>> world_size_view(std::shared_ptr<const zero::Checkpoint> checkpoint,
                                                    std::uint64_t world_size, const ViewOptions& options) {
    return make_view(std::move(checkpoint), world_size, options, std::make_shared<FileCache>());
}

std::unique_ptr<TagReader> zero_tag_reader(ViewOptions options) {
    return std::make_unique<ZeroTagReader>(options);
}

}  // namespace ckptfs::view
