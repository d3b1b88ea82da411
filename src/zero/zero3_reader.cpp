// Opens the ranks' files one after the other and keeps one tree for all that share it.
#include "zero/zero3_reader.h"

#include <list>
#include <memory>
#include <utility>

#include "util/path.h"
#include "zero/zero3_join.h"
#include "zero/zero3_values.h"

namespace ckptfs::zero {
namespace {

/// Of the trees of one kind of a family's files: ranks differ in the device that they name, and rank 0 in what only it
/// saves, which makes a handful. What exceeds this is parsed again when a file is opened.
constexpr std::uint64_t kept_trees_nbytes = std::uint64_t{48} << 20U;

/// The files of one kind.
template <class Parsed>
class Files {
 public:
    using Parse = Result<Parsed> (*)(std::shared_ptr<const pt::Archive>);

    Files(const Source& source, const std::string& directory, Parse parse)
        : source_(source), directory_(directory), parse_(parse) {}

    struct Rank {
        RankFile file;
        std::shared_ptr<const Parsed> parsed;
        std::vector<pt::RecordPlace> places;
    };

    Result<Rank> read(const std::string& name) {
        Rank rank;
        rank.file.name = name;
        const std::string path = join_path(directory_, name);
        CKPTFS_ASSIGN(rank.file.info, source_.stat_target(path));
        CKPTFS_ASSIGN(rank.file.info.mode, source_.granted_mode(path, rank.file.info));
        CKPTFS_ASSIGN(rank.file.file, source_.open(path));
        CKPTFS_ASSIGN(pt::Container container, pt::Container::read(rank.file.file));
        for (const Known& known : known_) {
            if (known.pickle != container.pickle) {
                continue;
            }
            if (auto places = known.archive->places_in(container)) {
                rank.file.structure = known.archive;
                rank.file.places = *places;
                rank.places = *std::move(places);
                rank.parsed = known.parsed;
                return rank;
            }
        }
        std::string pickle = container.pickle;
        CKPTFS_ASSIGN(std::shared_ptr<const pt::Archive> archive, pt::Archive::parse(std::move(container)));
        CKPTFS_ASSIGN(Parsed parsed, parse_(archive));
        for (const pt::Archive::Storage& storage : archive->storages()) {
            rank.places.push_back(storage.place);
        }
        if (known_.empty() || nbytes_ + archive->tree()->memory_nbytes() <= kept_trees_nbytes) {
            nbytes_ += archive->tree()->memory_nbytes();
            rank.file.structure = archive;
            rank.file.places = rank.places;
            rank.parsed = std::make_shared<const Parsed>(std::move(parsed));
            known_.push_back({std::move(pickle), std::move(archive), rank.parsed});
            return rank;
        }
        forget_tree(parsed);
        rank.parsed = std::make_shared<const Parsed>(std::move(parsed));
        return rank;
    }

 private:
    struct Known {
        std::string pickle;
        std::shared_ptr<const pt::Archive> archive;
        std::shared_ptr<const Parsed> parsed;
    };

    const Source& source_;
    const std::string& directory_;
    Parse parse_;
    std::list<Known> known_;
    std::uint64_t nbytes_ = 0;
};

}  // namespace

Result<FamilyValues> read_zero3_family(const Source& source, const std::string& directory, const Zero3Names& names,
                                       ModelParallelRank& family) {
    Files<Zero3ModelStates> model_states(source, directory, read_zero3_model_states);
    Files<Zero3OptimizerFile> optimizers(source, directory, read_zero3_optimizer_file);
    std::vector<Zero3Rank> ranks;
    for (std::size_t r = 0; r < names.model_states.size(); ++r) {
        CKPTFS_ASSIGN(auto states, model_states.read(names.model_states[r]));
        CKPTFS_ASSIGN(auto optimizer, optimizers.read(names.optimizer[r]));
        ranks.push_back({states.file.file->name(), std::move(states.parsed), std::move(states.places),
                         optimizer.file.file->name(), std::move(optimizer.parsed), std::move(optimizer.places)});
        family.model_states_shards.push_back(std::move(states.file));
        family.optimizer.push_back(std::move(optimizer.file));
    }
    family.model_states_name = family.model_states_shards.front().name;
    family.model_states = family.model_states_shards.front().structure;
    family.model_states_info = family.model_states_shards.front().info;
    CKPTFS_TRY(join_zero3_ranks(ranks, family));
    return compare_zero3_values(ranks, family);
}

}  // namespace ckptfs::zero
