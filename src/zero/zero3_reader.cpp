// Reads the ranks' two kinds of files and joins them.
#include "zero/zero3_reader.h"

#include <utility>

#include "zero/rank_files.h"
#include "zero/zero3_join.h"
#include "zero/zero3_values.h"

namespace ckptfs::zero {
namespace {

template <class Parsed>
Result<std::vector<ParsedRankFile<Parsed>>> read_files(const Source& source, const std::string& directory,
                                                       const std::vector<std::string>& names,
                                                       Result<Parsed> (*parse)(std::shared_ptr<const pt::Archive>)) {
    RankFileKind<Parsed> kind;
    kind.parse = parse;
    kind.forget_tree = [](Parsed& parsed) { forget_tree(parsed); };
    return RankFiles<Parsed>(source, directory, std::move(kind)).read(names);
}

}  // namespace

Result<FamilyValues> read_zero3_family(const Source& source, const std::string& directory, const Zero3Names& names,
                                       Family& family, model::Rank& content) {
    CKPTFS_ASSIGN(auto model_states, read_files(source, directory, names.model_states, read_zero3_model_states));
    CKPTFS_ASSIGN(auto optimizers, read_files(source, directory, names.optimizer, read_zero3_optimizer_file));
    family.zero3.emplace();
    std::vector<Zero3Rank> ranks;
    for (std::size_t r = 0; r < model_states.size(); ++r) {
        ranks.push_back({model_states[r].file.file->name(), std::move(model_states[r].parsed),
                         std::move(model_states[r].places), optimizers[r].file.file->name(),
                         std::move(optimizers[r].parsed), std::move(optimizers[r].places)});
        family.zero3->model_states.push_back(std::move(model_states[r].file));
        family.optimizer.push_back(std::move(optimizers[r].file));
    }
    const RankFile& first = family.zero3->model_states.front();
    family.model_states_name = first.name;
    family.model_states = first.structure;
    family.model_states_info = first.info;
    CKPTFS_TRY(join_zero3_ranks(ranks, family, content));
    return compare_zero3_values(ranks, family);
}

}  // namespace ckptfs::zero
