// Tags that are cut over ranks, in three lines: model.shard, and rank_K.shard for each K of their world size. Each
// holds
// what saved_files() says, or the tag is not whole. layer_K.shard belongs to the save, and passes through.
#pragma once

#include <algorithm>
#include <atomic>
#include <charconv>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "support/fake_files.h"

namespace ckptfs::test {

inline std::string rank_shard(std::uint64_t rank) {
    return "rank_" + std::to_string(rank) + ".shard";
}

inline std::string saved_text(std::uint64_t world_size, const std::string& save, const std::string& part) {
    return std::to_string(world_size) + " " + save + " " + part;
}

/// What a trainer of `world_size` ranks writes, in the order in which it does.
inline std::vector<std::pair<std::string, std::string>> saved_files(std::uint64_t world_size, const std::string& save) {
    std::vector<std::pair<std::string, std::string>> files{{"model.shard", saved_text(world_size, save, "model")}};
    for (std::uint64_t rank = 0; rank < world_size; ++rank) {
        files.emplace_back(rank_shard(rank), saved_text(world_size, save, "rank " + std::to_string(rank)));
    }
    return files;
}

/// What the file `name` of the view at `world_size` holds of such a save.
inline std::string cut_text(const std::string& name, std::uint64_t world_size, std::uint64_t saved_at,
                            const std::string& save) {
    return name + " of " + std::to_string(world_size) + " from " + std::to_string(saved_at) + " " + save;
}

/// The rank of a shard's name; nullopt: it has none.
inline std::optional<std::uint64_t> rank_of(std::string_view name) {
    if (!name.starts_with("rank_") || !name.ends_with(".shard")) {
        return std::nullopt;
    }
    name.remove_prefix(5);
    name.remove_suffix(6);
    std::uint64_t rank = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), rank);
    return error == std::errc() && end == name.data() + name.size() ? std::optional(rank) : std::nullopt;
}

/// What a tag was read from.
struct CutSave {
    std::uint64_t world_size = 0;
    std::string save;
    std::map<std::string, std::shared_ptr<const File>> files;
    std::map<std::string, FileInfo> infos;
};

class CutView final : public View {
 public:
    CutView(std::shared_ptr<const CutSave> save, std::uint64_t world_size)
        : save_(std::move(save)), world_size_(world_size) {}

    [[nodiscard]] std::size_t file_count() const override { return world_size_ + 1; }
    [[nodiscard]] std::string file_name(std::size_t index) const override {
        return index == 0 ? "model.shard" : rank_shard(index - 1);
    }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const override {
        if (name == "model.shard") {
            return 0;
        }
        const auto rank = rank_of(name);
        return rank && *rank < world_size_ && rank_shard(*rank) == name ? std::optional<std::size_t>(*rank + 1)
                                                                        : std::nullopt;
    }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override {
        CKPTFS_ASSIGN(const auto file, open(index));
        return file->size();
    }
    [[nodiscard]] FileInfo file_info(std::size_t index) const override {
        return save_->infos.at(index == 0 ? "model.shard" : "rank_0.shard");
    }
    [[nodiscard]] bool read_once(std::size_t index) const override { return index > 0; }
    [[nodiscard]] bool is_as_saved() const override { return world_size_ == save_->world_size; }
    [[nodiscard]] std::optional<std::size_t> file_set(std::string_view name) const override {
        return name == "model.shard" ? std::optional<std::size_t>(0)
               : rank_of(name)       ? std::optional<std::size_t>(1)
                                     : std::nullopt;
    }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        const std::string name = file_name(index);
        if (is_as_saved()) {
            return save_->files.at(name);
        }
        return std::shared_ptr<const File>(
            std::make_shared<CutFile>(save_, index == 0, cut_text(name, world_size_, save_->world_size, save_->save)));
    }

 private:
    /// Stale as soon as one of the shards is that it is cut from.
    class CutFile final : public File {
     public:
        CutFile(std::shared_ptr<const CutSave> save, bool is_of_model, std::string text)
            : save_(std::move(save)), is_of_model_(is_of_model), text_(std::move(text)) {}
        [[nodiscard]] const std::string& name() const override { return text_; }
        [[nodiscard]] std::uint64_t size() const override { return text_.size(); }
        Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
            for (const auto& [name, file] : save_->files) {
                const auto rank = rank_of(name);
                if (is_of_model_ ? name == "model.shard" : rank && *rank < save_->world_size) {
                    std::byte first{};
                    CKPTFS_TRY(file->read(0, std::span(&first, 1)));
                }
            }
            return read_text(text_, offset, out);
        }

     private:
        static Result<void> read_text(const std::string& text, std::uint64_t offset, std::span<std::byte> out) {
            if (offset > text.size() || out.size() > text.size() - offset) {
                return Error(ErrorCode::invalid_argument, "past the end");
            }
            text.copy(reinterpret_cast<char*>(out.data()), out.size(), offset);
            return {};
        }
        std::shared_ptr<const CutSave> save_;
        bool is_of_model_;
        std::string text_;
    };

    std::shared_ptr<const CutSave> save_;
    std::uint64_t world_size_;
};

class CutTag final : public Tag {
 public:
    [[nodiscard]] const Error* problem() const override { return problem_ ? &*problem_ : nullptr; }
    [[nodiscard]] const std::vector<std::string>& warnings() const override { return warnings_; }
    [[nodiscard]] const std::vector<std::string>& replaced_files() const override { return replaced_; }
    [[nodiscard]] const std::vector<std::string>& stamped_files() const override { return stamped_; }
    [[nodiscard]] const std::vector<FileStamp>& stamps() const override { return stamps_; }
    [[nodiscard]] bool is_of_save(std::size_t index) const override {
        const auto rank = rank_of(stamped_[index]);
        return stamped_[index] == "model.shard" || (rank && save_ && *rank < save_->world_size);
    }
    [[nodiscard]] Result<std::shared_ptr<const View>> show(const ViewRequest& request) const override {
        if (problem_) {
            return *problem_;
        }
        if (request.world_size == 13) {
            return Error(ErrorCode::unsupported, "thirteen is not supported");
        }
        return std::shared_ptr<const View>(std::make_shared<CutView>(save_, request.world_size));
    }

    std::optional<Error> problem_;
    std::vector<std::string> warnings_;
    std::vector<std::string> replaced_;
    std::vector<std::string> stamped_;
    std::vector<FileStamp> stamps_;
    std::shared_ptr<const CutSave> save_;
};

class CutReader final : public TagReader {
 public:
    [[nodiscard]] bool recognises(const std::vector<DirectoryEntry>& listing) const override {
        return std::any_of(listing.begin(), listing.end(), [](const DirectoryEntry& entry) {
            return entry.type == FileType::regular && (entry.name == "model.shard" || rank_of(entry.name));
        });
    }
    [[nodiscard]] std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) const override {
        std::vector<std::string> names;
        for (const DirectoryEntry& entry : listing) {
            if (entry.type != FileType::directory && entry.name.ends_with(".shard")) {
                names.push_back(entry.name);
            }
        }
        return names;
    }
    [[nodiscard]] std::shared_ptr<const Tag> read(const Source& source, const std::string& directory) const override {
        ++reads_;
        auto tag = std::make_shared<CutTag>();
        auto read = read_save(source, directory, *tag);
        if (read) {
            tag->save_ = std::move(read).value();
        } else {
            tag->problem_ = read.error();
        }
        return tag;
    }
    [[nodiscard]] int reads() const { return reads_; }

 private:
    static Result<std::shared_ptr<const CutSave>> read_save(const Source& source, const std::string& directory,
                                                            CutTag& tag) {
        auto save = std::make_shared<CutSave>();
        CKPTFS_ASSIGN(const auto listing, source.list(directory));
        for (const std::string& name : CutReader().shard_files(listing)) {
            const std::string path = directory.empty() ? name : directory + "/" + name;
            CKPTFS_ASSIGN(save->infos[name], source.stat(path));
            tag.stamped_.push_back(name);
            tag.stamps_.push_back(save->infos[name].stamp);
            if (!name.starts_with("layer_")) {
                tag.replaced_.push_back(name);
            }
        }
        for (const auto& [name, info] : save->infos) {
            const std::string path = directory.empty() ? name : directory + "/" + name;
            CKPTFS_ASSIGN(save->files[name], source.open(path));
        }
        const auto model = save->files.find("model.shard");
        if (model == save->files.end()) {
            return Error(ErrorCode::incomplete, "there is no model");
        }
        CKPTFS_ASSIGN(const std::string text, read_all(*model->second));
        if (!(std::istringstream(text) >> save->world_size >> save->save) ||
            text != saved_text(save->world_size, save->save, "model")) {
            return Error(ErrorCode::incomplete, "the model is not whole");
        }
        for (std::uint64_t rank = 0; rank < save->world_size; ++rank) {
            const auto shard = save->files.find(rank_shard(rank));
            if (shard == save->files.end()) {
                return Error(ErrorCode::incomplete, "a rank is missing");
            }
            CKPTFS_ASSIGN(const std::string of_rank, read_all(*shard->second));
            if (of_rank != saved_text(save->world_size, save->save, "rank " + std::to_string(rank))) {
                return Error(ErrorCode::inconsistent, "a rank is of another save, or not whole");
            }
        }
        return std::shared_ptr<const CutSave>(std::move(save));
    }

    mutable std::atomic<int> reads_ = 0;
};

}  // namespace ckptfs::test
