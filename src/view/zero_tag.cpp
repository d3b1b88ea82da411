// Tags and world-size views over the ZeRO reader.
#include "view/zero_tag.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "view/file_cache.h"
#include "view/zero12_files.h"
#include "zero/file_names.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace {

constexpr std::size_t model_states_index = 0;

/// Sizes that were computed once, 8 bytes each, in blocks that exist where somebody asked. 0: not known.
class SizeTable {
 public:
    [[nodiscard]] std::uint64_t find(std::size_t index) const {
        const std::lock_guard lock(mutex_);
        const auto block = blocks_.find(index / block_count);
        return block == blocks_.end() ? 0 : block->second[index % block_count];
    }
    void set(std::size_t index, std::uint64_t size) {
        const std::lock_guard lock(mutex_);
        auto& block = blocks_[index / block_count];
        block.resize(block_count);
        block[index % block_count] = size;
    }

 private:
    static constexpr std::size_t block_count = 256;
    mutable std::mutex mutex_;
    std::unordered_map<std::size_t, std::vector<std::uint64_t>> blocks_;
};

// File 0 is the model states, file 1 + r the optimizer file of rank r.
class WorldSizeView final : public View {
 public:
    WorldSizeView(std::shared_ptr<const zero::Checkpoint> checkpoint, std::uint64_t world_size, TargetLayout target,
                  std::shared_ptr<FileCache> cache)
        : checkpoint_(std::move(checkpoint)),
          rank_count_(checkpoint_->format == zero::Format::stage0 ? 0 : world_size),
          pass_through_(checkpoint_->format == zero::Format::stage0 || target.same_as_source),
          target_(std::move(target)),
          cache_(std::move(cache)) {
        for (const zero::RankFile& rank : family().optimizer) {
            newest_.stamp.mtime_ns = std::max(newest_.stamp.mtime_ns, rank.info.stamp.mtime_ns);
            newest_.stamp.ctime_ns = std::max(newest_.stamp.ctime_ns, rank.info.stamp.ctime_ns);
            newest_.atime_ns = std::max(newest_.atime_ns, rank.info.atime_ns);
        }
    }

    ~WorldSizeView() override { cache_->forget(this); }

    [[nodiscard]] std::size_t file_count() const override { return 1 + rank_count_; }

    [[nodiscard]] std::string file_name(std::size_t index) const override {
        if (index == model_states_index) {
            return family().model_states_name;
        }
        return zero::optimizer_file_name(checkpoint_->optimizer_prefix, index - 1, model_rank(),
                                         checkpoint_->optimizer_suffix);
    }

    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const override {
        if (name == family().model_states_name) {
            return model_states_index;
        }
        const auto parsed = zero::parse_shard_name(name);
        if (!parsed || parsed->role != zero::FileRole::optimizer_shard || parsed->data_rank >= rank_count_) {
            return std::nullopt;
        }
        const std::size_t index = 1 + parsed->data_rank;
        return file_name(index) == name ? std::optional(index) : std::nullopt;
    }

    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override {
        if (const std::uint64_t known = sizes_.find(index)) {
            return known;
        }
        CKPTFS_ASSIGN(const std::shared_ptr<const File> file, open(index));
        sizes_.set(index, file->size());
        return file->size();
    }

    [[nodiscard]] FileInfo file_info(std::size_t index) const override {
        if (index == model_states_index) {
            return family().model_states_info;
        }
        FileInfo info = family().optimizer[(index - 1) % checkpoint_->world_size].info;
        if (!pass_through_) {
            info.stamp.mtime_ns = newest_.stamp.mtime_ns;
            info.stamp.ctime_ns = newest_.stamp.ctime_ns;
            info.atime_ns = newest_.atime_ns;
        }
        return info;
    }

    [[nodiscard]] bool read_once(std::size_t index) const override { return index != model_states_index; }

    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        if (pass_through_) {
            return index == model_states_index ? family().model_states->file() : family().optimizer[index - 1].file;
        }
        if (auto cached = cache_->find(this, index)) {
            return std::shared_ptr<const File>(std::move(cached));
        }
        CKPTFS_ASSIGN(std::shared_ptr<const VirtualFile> built, build(index));
        cache_->insert(this, index, built);
        return std::shared_ptr<const File>(std::move(built));
    }

 private:
    [[nodiscard]] const zero::ModelParallelRank& family() const { return checkpoint_->model_parallel.front(); }
    [[nodiscard]] std::string model_rank() const {
        return zero::parse_shard_name(family().model_states_name)->model_rank;
    }

    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> build(std::size_t index) const {
        const std::string name = file_name(index);
        return index == model_states_index ? recut_model_states_file(checkpoint_, target_, name)
                                           : recut_optimizer_file(checkpoint_, target_, index - 1, name);
    }

    std::shared_ptr<const zero::Checkpoint> checkpoint_;
    std::uint64_t rank_count_;
    bool pass_through_;
    TargetLayout target_;
    FileInfo newest_;
    mutable SizeTable sizes_;
    std::shared_ptr<FileCache> cache_;
};

Result<std::shared_ptr<const View>> make_view(std::shared_ptr<const zero::Checkpoint> checkpoint,
                                              std::uint64_t world_size, const ViewOptions& options,
                                              std::shared_ptr<FileCache> cache) {
    if (world_size == 0 || world_size > max_world_size) {
        return Error(ErrorCode::invalid_argument, "a world size of " + std::to_string(world_size) +
                                                      " is not possible; give one from 1 to " +
                                                      std::to_string(max_world_size));
    }
    CKPTFS_ASSIGN(TargetLayout target, target_layout(*checkpoint, world_size, options.target));
    return std::shared_ptr<const View>(
        std::make_shared<WorldSizeView>(std::move(checkpoint), world_size, std::move(target), std::move(cache)));
}

class ZeroTag final : public Tag {
 public:
    ZeroTag(std::vector<std::string> names, std::vector<FileStamp> stamps,
            Result<std::shared_ptr<const zero::Checkpoint>> checkpoint, ViewOptions options,
            std::shared_ptr<FileCache> cache)
        : names_(std::move(names)),
          stamps_(std::move(stamps)),
          checkpoint_(std::move(checkpoint)),
          options_(options),
          cache_(std::move(cache)) {}

    [[nodiscard]] const Error* problem() const override { return checkpoint_.ok() ? nullptr : &checkpoint_.error(); }
    [[nodiscard]] std::uint64_t world_size() const override {
        return checkpoint_.ok() ? (*checkpoint_)->world_size : 0;
    }
    [[nodiscard]] const std::vector<std::string>& replaced_files() const override { return names_; }
    [[nodiscard]] const std::vector<FileStamp>& stamps() const override { return stamps_; }
    [[nodiscard]] Result<std::shared_ptr<const View>> at_world_size(std::uint64_t world_size) const override {
        if (!checkpoint_.ok()) {
            return checkpoint_.error();
        }
        return make_view(*checkpoint_, world_size, options_, cache_);
    }

 private:
    std::vector<std::string> names_;
    std::vector<FileStamp> stamps_;
    Result<std::shared_ptr<const zero::Checkpoint>> checkpoint_;
    ViewOptions options_;
    std::shared_ptr<FileCache> cache_;
};

class ZeroTagReader final : public TagReader {
 public:
    explicit ZeroTagReader(ViewOptions options) : options_(options) {}

    [[nodiscard]] bool recognises(const std::vector<DirectoryEntry>& listing) const override {
        return zero::is_tag(listing);
    }
    [[nodiscard]] std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) const override {
        return zero::shard_files(listing);
    }

    [[nodiscard]] std::shared_ptr<const Tag> read(const Source& source, const std::string& directory) const override {
        std::vector<std::string> names;
        std::vector<FileStamp> stamps;
        // Stamps are taken first: if a file changes while it is read, the stamp differs and the tag is read again.
        const auto taken = [&]() -> Result<void> {
            CKPTFS_ASSIGN(const std::vector<DirectoryEntry> listing, source.list(directory));
            for (const std::string& name : zero::shard_files(listing)) {
                std::string path = directory;
                path.append(directory.empty() ? "" : "/").append(name);
                CKPTFS_ASSIGN(const FileInfo info, source.stat_target(path));
                names.push_back(name);
                stamps.push_back(info.stamp);
            }
            return {};
        }();
        auto checkpoint = taken.ok() ? zero::read_checkpoint(source, directory)
                                     : Result<std::shared_ptr<const zero::Checkpoint>>(taken.error());
        return std::make_shared<ZeroTag>(std::move(names), std::move(stamps), std::move(checkpoint), options_, cache_);
    }

 private:
    ViewOptions options_;
    std::shared_ptr<FileCache> cache_ = std::make_shared<FileCache>();
};

}  // namespace

Result<std::shared_ptr<const View>> world_size_view(std::shared_ptr<const zero::Checkpoint> checkpoint,
                                                    std::uint64_t world_size, const ViewOptions& options) {
    return make_view(std::move(checkpoint), world_size, options, std::make_shared<FileCache>());
}

std::unique_ptr<TagReader> zero_tag_reader(ViewOptions options) {
    return std::make_unique<ZeroTagReader>(options);
}

}  // namespace ckptfs::view
