// Ranks against rank 0, and rank 0's sub-groups against the first one of their group.
#include "zero/zero3_values.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "zero/rank_files.h"

namespace ckptfs::zero {
namespace {

/// Of files whose values were read and are not yet compared.
constexpr std::size_t most_held_at_a_time = 128;

template <class Parsed>
struct FileOf {
    const std::string& path;
    const std::shared_ptr<const Parsed>& parsed;
    const SavedValues& values;
    const pt::RecordPlaces& places;
};

FileOf<Zero3ModelStates> model_states_of(const Zero3Rank& rank) {
    return {rank.model_states_path, rank.model_states, rank.model_states->states.values, rank.model_states_places};
}

FileOf<Zero3OptimizerFile> optimizer_of(const Zero3Rank& rank) {
    return {rank.optimizer_path, rank.optimizer, rank.optimizer->values, rank.optimizer_places};
}

// The values of rank 0, once those of all others were compared with them.
template <class Of>
Result<FileValues> compare(const std::vector<Zero3Rank>& ranks, const Of& of, std::vector<RankValue>& own) {
    const auto first = of(ranks.front());
    CKPTFS_ASSIGN(FileValues expected, values_of_file(first.path, first.values, first.places));
    std::unordered_set<const void*> seen{first.parsed.get()};
    struct Asked {
        std::size_t rank = 0;
        // A pickle that some other rank has was compared, and where it differs in what belongs to a rank, that is
        // known.
        bool stored_only = false;
    };
    std::vector<Asked> asked;
    for (std::size_t r = 1; r < ranks.size(); ++r) {
        const auto file = of(ranks[r]);
        const bool known = !seen.insert(file.parsed.get()).second;
        const auto is_stored = [](const SavedValue& value) { return value.stored.has_value(); };
        if (!known || std::any_of(file.values.begin(), file.values.end(), is_stored)) {
            asked.push_back({r, known});
        }
    }
    for (std::size_t begun = 0; begun < asked.size(); begun += most_held_at_a_time) {
        const std::size_t count = std::min(most_held_at_a_time, asked.size() - begun);
        const auto answers = ask_each<FileValues>(count, [&](std::size_t i) {
            const auto file = of(ranks[asked[begun + i].rank]);
            return values_of_file(file.path, file.values, file.places, asked[begun + i].stored_only);
        });
        for (const auto& found : answers) {
            CKPTFS_TRY(*found);
            CKPTFS_TRY(compare_values(expected, found->value(), Likeness::ranks, own));
        }
    }
    return expected;
}

// All of a group's sub-groups are cut anew and take over what its first one has.
Result<void> compare_sub_groups(const FileValues& file, const Family& family, std::vector<RankValue>& own) {
    std::unordered_map<std::string, std::string> prefixes;  // by sub-group: that of the first one of its group
    std::vector<std::string> first_of_group(family.groups.size());
    for (std::size_t k = 0; k < family.zero3->sub_groups.size(); ++k) {
        const std::string prefix = "state[" + std::to_string(k) + "]";
        std::string& first = first_of_group[family.zero3->sub_groups[k].group];
        first = first.empty() ? prefix : first;
        prefixes.emplace(prefix, first);
    }
    std::unordered_map<std::string, const SavedValue*> by_field;
    for (const SavedValue& value : file.values) {
        by_field.emplace(value.field, &value);
    }
    for (const SavedValue& value : file.values) {
        const std::size_t end = value.field.find(']') + 1;
        if (!value.of_state || end == 0) {
            continue;
        }
        const std::string& first = prefixes.at(value.field.substr(0, end));
        const auto expected = by_field.find(first + value.field.substr(end));
        if (expected == by_field.end() || expected->second->text == value.text) {
            continue;
        }
        if (value.owner == ValueOwner::save) {
            return Error(ErrorCode::inconsistent, file.path + ": " + value.field + " is " + value.text + ", but " +
                                                      expected->first + ", of the same parameter group, is " +
                                                      expected->second->text + "; restore the file");
        }
        const auto known = [&](const RankValue& of) { return of.field == expected->first; };
        if (std::none_of(own.begin(), own.end(), known)) {
            own.push_back({std::string(expected->first), file.path, expected->second->text,
                           file.path + " (" + value.field + ")", value.text});
        }
    }
    return {};
}

}  // namespace

Result<FamilyValues> compare_zero3_values(const std::vector<Zero3Rank>& ranks, const Family& family) {
    FamilyValues result;
    CKPTFS_ASSIGN(result.model_states, compare(ranks, model_states_of, result.own));
    CKPTFS_ASSIGN(result.optimizer, compare(ranks, optimizer_of, result.own));
    CKPTFS_TRY(compare_sub_groups(result.optimizer, family, result.own));
    return result;
}

}  // namespace ckptfs::zero
