// What a view is made of: how it cuts the ranks anew, and which source files each virtual file comes from.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "ckptfs/extent.h"
#include "report/cut_file.h"
#include "report/description.h"
#include "zero/file_names.h"

namespace ckptfs::report {
namespace {

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

// With several model-parallel ranks the number alone would not say which file it is.
std::optional<std::uint64_t> rank_of(const zero::Written& checkpoint, const std::string& file) {
    if (checkpoint.families.size() > 1) {
        return std::nullopt;
    }
    const auto parsed = zero::parse_shard_name(file);
    if (!parsed) {
        return std::nullopt;
    }
    const zero::Family& family = checkpoint.families.front();
    const bool is_optimizer = parsed->role == zero::FileRole::optimizer_shard;
    const std::vector<zero::RankFile>& files = is_optimizer ? family.optimizer : family.model_states_of_ranks();
    const std::uint64_t rank = parsed->data_rank;
    return rank < files.size() && files[rank].name == file ? std::optional(rank) : std::nullopt;
}

Result<std::vector<CutFile>> describe_files(const zero::Written& checkpoint, const View& view) {
    std::vector<CutFile> files;
    for (std::size_t index = 0; index < std::min(view.file_count(), max_listed_files); ++index) {
        CKPTFS_ASSIGN(const auto file, view.open(index));
        files.push_back(describe_file(checkpoint, view, index, *file));
    }
    return files;
}

}  // namespace

CutFile describe_file(const zero::Written& checkpoint, const View& view, std::size_t index, const File& file) {
    CutFile result{.name = view.file_name(index), .nbytes = file.size(), .original = false, .parts = {}};
    const auto* virtual_file = dynamic_cast<const VirtualFile*>(&file);
    if (virtual_file == nullptr) {
        result.original = true;
        return result;
    }
    std::unordered_map<const File*, std::size_t> known;
    for (const Piece piece : virtual_file->pieces()) {
        if (piece.kind != Piece::Kind::source) {
            continue;
        }
        const auto [part, is_new] = known.emplace(piece.file, result.parts.size());
        if (is_new) {
            const std::string name = base_name(piece.file->name());
            result.parts.push_back({name, rank_of(checkpoint, name), 0});
        }
        result.parts[part->second].nbytes += piece.length;
    }
    return result;
}

Result<Cuts> describe_cuts(const zero::Written& checkpoint, const View& view, std::uint64_t dp_world_size,
                           const view::ViewOptions& options) {
    Cuts result;
    result.world_size = dp_world_size * checkpoint.degree();
    CKPTFS_ASSIGN(result.groups, group_cuts(checkpoint, dp_world_size, options));
    result.file_count = view.file_count();
    CKPTFS_ASSIGN(result.files, describe_files(checkpoint, view));
    return result;
}

Result<ShownView> describe_shown(const zero::Written& checkpoint, const View& view, const ViewRequest& request) {
    ShownView result{.name = request.name(), .file_count = view.file_count(), .files = {}};
    CKPTFS_ASSIGN(result.files, describe_files(checkpoint, view));
    return result;
}

}  // namespace ckptfs::report
