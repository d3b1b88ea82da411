// Tags and their views over the ZeRO reader.
#include "view/zero_tag.h"

#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "util/path.h"
#include "view/file_cache.h"
#include "view/kind.h"
#include "zero/latest.h"
#include "zero/rank_files.h"
#include "zero/reader.h"

namespace ckptfs::view {
namespace {

/// Whether some files may be broken and others whole. Files of two saves, and what is refused, are not shown in part.
bool leaves_weights(const Error& problem) {
    return problem.code() == ErrorCode::incomplete || problem.code() == ErrorCode::damaged;
}

/// Those that can be had of a tag with `problem`; nullptr where none can: the problem says more than why.
std::shared_ptr<const zero::WeightsOnly> weights_beside(const Error& problem, const Source& source,
                                                        const std::string& directory, zero::OpenedFamilies opened) {
    if (!leaves_weights(problem)) {
        return nullptr;
    }
    auto read = zero::read_weights(source, directory, std::move(opened));
    return read ? *std::move(read) : nullptr;
}

/// `directory` may be a symbolic link. False where nothing is there.
Result<bool> is_tag_directory(const Source& source, const TagReader& reader, const std::string& directory) {
    const auto real = source.resolve(directory);
    const auto listing = real ? source.list(*real) : Result<std::vector<DirectoryEntry>>(real.error());
    if (!listing) {
        return listing.error().code() == ErrorCode::not_found ? Result(false) : listing.error();
    }
    return reader.recognises(*listing);
}

class ZeroTag final : public Tag {
 public:
    /// `display`: the tag directory `directory`, for messages.
    ZeroTag(std::string directory, std::string display, std::vector<std::string> replaced,
            std::vector<std::string> stamped, std::vector<FileStamp> stamps,
            Result<std::shared_ptr<const zero::Written>> checkpoint, std::shared_ptr<const zero::WeightsOnly> weights,
            std::shared_ptr<const ViewOptions> options, std::shared_ptr<FileCache> cache)
        : directory_(std::move(directory)),
          display_(std::move(display)),
          replaced_(std::move(replaced)),
          stamped_(std::move(stamped)),
          stamps_(std::move(stamps)),
          checkpoint_(std::move(checkpoint)),
          weights_(std::move(weights)),
          options_(std::move(options)),
          cache_(std::move(cache)) {
        if (!checkpoint_.ok()) {
            return;
        }
        std::unordered_map<std::string_view, std::size_t> index_of;
        for (std::size_t i = 0; i < stamped_.size(); ++i) {
            index_of.emplace(stamped_[i], i);
        }
        const auto add = [&](const std::string& name, const File* file) {
            of_save_.insert(name);
            if (const auto known = index_of.find(name); known != index_of.end()) {
                by_file_.emplace(file, known->second);
            }
        };
        for (const zero::Family& family : (*checkpoint_)->families) {
            add(family.model_states_name, family.model_states->file().get());
            for (const zero::RankFile* rank : family.rank_files()) {
                add(rank->name, rank->file.get());
            }
        }
        // Data-parallel rank 0 of model-parallel rank 0 saves model states however many ranks there are.
        if (const auto first = index_of.find((*checkpoint_)->families.front().model_states_name);
            first != index_of.end()) {
            in_every_save_ = first->second;
        }
    }

    [[nodiscard]] const Error* problem() const override { return checkpoint_.ok() ? nullptr : &checkpoint_.error(); }
    [[nodiscard]] const std::vector<std::string>& warnings() const override {
        static const std::vector<std::string> none;
        return checkpoint_.ok() ? (*checkpoint_)->warnings : none;
    }
    [[nodiscard]] const std::vector<std::string>& replaced_files() const override { return replaced_; }
    [[nodiscard]] const std::vector<std::string>& stamped_files() const override { return stamped_; }
    [[nodiscard]] const std::vector<FileStamp>& stamps() const override { return stamps_; }
    [[nodiscard]] std::vector<std::size_t> stamped_behind(const File& file) const override {
        std::vector<const File*> origins;
        file.add_origins(origins);
        std::set<std::size_t> behind;
        for (const File* const origin : origins) {
            const auto found = by_file_.find(origin);
            if (found == by_file_.end()) {
                return all_stamped();
            }
            behind.insert(found->second);
        }
        return {behind.begin(), behind.end()};
    }
    [[nodiscard]] std::vector<std::size_t> in_every_save() const override {
        return in_every_save_ ? std::vector{*in_every_save_} : all_stamped();
    }
    [[nodiscard]] bool is_of_save(std::size_t index) const override { return of_save_.contains(stamped_[index]); }
    [[nodiscard]] Result<std::shared_ptr<const View>> show(const ViewRequest& request) const override {
        if (!checkpoint_.ok()) {
            return show_weights(request);
        }
        return kind_of(request.kind).make(ingredients(), request);
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions() const override {
        std::vector<ViewRequest> all;
        if (checkpoint_.ok()) {
            for (const ViewKind kind : view_kinds()) {
                const auto some = kind_of(kind).suggestions(ingredients());
                all.insert(all.end(), some.begin(), some.end());
            }
        }
        return all;
    }

 private:
    // Of a whole tag.
    [[nodiscard]] Ingredients ingredients() const { return {*checkpoint_, *options_, cache_, directory_, display_}; }

    // What does not need the files that are broken.
    [[nodiscard]] Result<std::shared_ptr<const View>> show_weights(const ViewRequest& request) const {
        if (weights_) {
            CKPTFS_ASSIGN(
                std::shared_ptr<const View> view,
                kind_of(request.kind).make_without_optimizer({weights_, *options_, cache_, display_}, request));
            if (view) {
                return view;
            }
        }
        return checkpoint_.error();
    }

    std::string directory_;
    std::string display_;
    std::vector<std::string> replaced_;
    std::vector<std::string> stamped_;
    std::vector<FileStamp> stamps_;
    Result<std::shared_ptr<const zero::Written>> checkpoint_;
    std::shared_ptr<const zero::WeightsOnly> weights_;  // of a broken tag, where they can be had
    std::shared_ptr<const ViewOptions> options_;
    std::shared_ptr<FileCache> cache_;
    std::unordered_set<std::string> of_save_;
    std::unordered_map<const File*, std::size_t> by_file_;  // indices of stamped_
    std::optional<std::size_t> in_every_save_;              // index of stamped_
};

class ZeroTagReader final : public TagReader {
 public:
    explicit ZeroTagReader(ViewOptions options) : options_(std::make_shared<const ViewOptions>(std::move(options))) {}

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
            const std::vector<std::string> names = shard_files(listing);
            CKPTFS_ASSIGN(const std::vector<FileInfo> infos, zero::look_at_all(source, directory, names));
            stamped = names;
            for (const FileInfo& info : infos) {
                stamps.push_back(info.stamp);
            }
            return {};
        }();
        zero::OpenedFamilies opened;
        auto checkpoint = taken.ok() ? zero::read_checkpoint(source, directory, options_->read, &opened)
                                     : Result<std::shared_ptr<const zero::Written>>(taken.error());
        auto weights = taken.ok() && !checkpoint.ok()
                           ? weights_beside(checkpoint.error(), source, directory, std::move(opened))
                           : nullptr;
        return std::make_shared<ZeroTag>(directory, source.display(directory), std::move(replaced), std::move(stamped),
                                         std::move(stamps), std::move(checkpoint), std::move(weights), options_,
                                         cache_);
    }
    [[nodiscard]] Placement placement(const ViewRequest& request) const override {
        return kind_of(request.kind).placement(request);
    }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& request) const override {
        return kind_of(request.kind).names_of_unshown(request, *options_);
    }
    [[nodiscard]] Result<std::optional<std::string>> named_tag(const Source& source,
                                                               const std::string& holder) const override {
        if (options_->tag) {
            CKPTFS_ASSIGN(auto directory, zero::tag_directory(source, holder, *options_->tag));
            CKPTFS_ASSIGN(const bool is_there, is_tag_directory(source, *this, directory));
            if (is_there) {
                return std::optional(std::move(directory));
            }
        }
        // What cannot be looked at may name another tag than the newest: only its absence says that nothing does.
        if (const auto latest = source.stat(join_path(holder, zero::latest_name)); !latest) {
            return latest.error().code() == ErrorCode::not_found ? Result(std::optional<std::string>())
                                                                 : latest.error();
        }
        CKPTFS_ASSIGN(auto directory, zero::read_latest(source, holder));
        return std::optional(std::move(directory));
    }

 private:
    std::shared_ptr<const ViewOptions> options_;
    std::shared_ptr<FileCache> cache_ = std::make_shared<FileCache>();
};

}  // namespace

std::shared_ptr<const Tag> broken_tag(const Source& source, const std::string& directory, const Error& problem,
                                      zero::OpenedFamilies opened, const ViewOptions& options) {
    return std::make_shared<ZeroTag>(directory, source.display(directory), std::vector<std::string>(),
                                     std::vector<std::string>(), std::vector<FileStamp>(), problem,
                                     weights_beside(problem, source, directory, std::move(opened)),
                                     std::make_shared<const ViewOptions>(options), std::make_shared<FileCache>());
}

std::unique_ptr<TagReader> zero_tag_reader(ViewOptions options) {
    return std::make_unique<ZeroTagReader>(std::move(options));
}

}  // namespace ckptfs::view
