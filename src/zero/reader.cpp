// Reads a tag directory: takes inventory, checks that it is whole, and joins the ranks' files into zero::Written.
#include "zero/reader.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "util/path.h"
#include "zero/content.h"
#include "zero/family_reader.h"
#include "zero/file_names.h"
#include "zero/group_reader.h"
#include "zero/inventory.h"
#include "zero/join_ranks.h"
#include "zero/layer_files.h"
#include "zero/mixed_saves.h"
#include "zero/model_states.h"
#include "zero/optimizer_file.h"
#include "zero/rank_files.h"
#include "zero/refusal.h"
#include "zero/save_signals.h"
#include "zero/sub_group_sizes.h"
#include "zero/weights_comparison.h"
#include "zero/zero3_reader.h"

namespace ckptfs::zero {
namespace {

// Reads every rank's optimizer file; keeps one tree for all ranks that share its structure.
Result<std::vector<OptimizerFile>> read_ranks(const Source& source, const std::string& directory,
                                              const std::vector<std::string>& names, Family& family) {
    RankFileKind<OptimizerFile> kind;
    kind.parse = [world_size = names.size()](std::shared_ptr<const pt::Archive> archive) {
        return read_optimizer_file(std::move(archive), world_size);
    };
    kind.skeleton = [](const OptimizerFile& file) { return file.skeleton(); };
    kind.forget_tree = [](OptimizerFile& file) { file.forget_tree(); };
    kind.join_needs_trees = true;
    RankFiles<OptimizerFile> reading(source, directory, std::move(kind));
    CKPTFS_ASSIGN(std::vector<ParsedRankFile<OptimizerFile>> ranks, reading.read(names));
    std::vector<OptimizerFile> files;
    for (ParsedRankFile<OptimizerFile>& rank : ranks) {
        rank.file.location = rank.parsed->location;
        files.push_back(in_another_file(*rank.parsed, rank.places));
        family.optimizer.push_back(std::move(rank.file));
    }
    return files;
}

// What every family's files must say alike.
struct Common {
    std::uint64_t dp_world_size = 0;
    std::uint64_t model_parallel = 1;
    Format format = Format::zero12;
    int stage = 0;
    std::string prefix;
    std::string suffix;
    std::int64_t global_steps = 0;

    bool operator==(const Common&) const = default;
};

Result<FileValues> values_of_model_states(const ModelStates& states) {
    return values_of_file(states.archive->file()->name(), states.values, states.archive->own_places());
}

// At stages 1 and 2, where the ranks of a family share one file of model states.
Result<FamilyValues> compare_ranks(const ModelStates& states, const std::vector<OptimizerFile>& files,
                                   const std::vector<RankFile>& ranks) {
    FamilyValues result;
    CKPTFS_ASSIGN(result.model_states, values_of_model_states(states));
    for (std::size_t rank = 0; rank < files.size(); ++rank) {
        CKPTFS_ASSIGN(FileValues values,
                      values_of_file(ranks[rank].file->name(), files[rank].values, ranks[rank].places));
        if (rank == 0) {
            result.optimizer = std::move(values);
        } else {
            CKPTFS_TRY(compare_values(result.optimizer, values, Likeness::ranks, result.own));
        }
    }
    return result;
}

std::optional<double> latest_step(const model::Rank& rank) {
    std::optional<double> latest;
    for (const model::Group& group : rank.groups) {
        latest = std::max(latest, group.step);
    }
    return latest;
}

/// Reads a tag family by family.
class TagReading {
 public:
    TagReading(const Source& source, std::string directory, const Inventory& inventory, const ReadOptions& options,
               OpenedFamilies* opened)
        : source_(source),
          directory_(std::move(directory)),
          tag_{source, directory_, inventory, opened},
          path_(tag_.path()),
          inventory_(inventory),
          options_(options),
          checkpoint_(std::make_shared<Written>()) {}

    Result<std::shared_ptr<const Written>> read() {
        std::uint64_t degree = 1;
        Common first;
        FamilyValues first_values;
        for (std::uint64_t rank = 0; rank < degree; ++rank) {
            CKPTFS_ASSIGN(const ModelStates states, open_model_states(rank));
            CKPTFS_ASSIGN(FamilyValues values, read_shards(states));
            const Common common{states.world_size,
                                states.model_parallel,
                                checkpoint_->format,
                                checkpoint_->stage,
                                checkpoint_->optimizer_prefix,
                                checkpoint_->optimizer_suffix,
                                states.global_steps.value_or(0)};
            if (rank == 0) {
                first = common;
                degree = states.model_parallel;
            } else if (common != first) {
                return Error(ErrorCode::inconsistent,
                             source_.display(join_path(directory_, checkpoint_->families.back().model_states_name)) +
                                 ": its world sizes, step or layout are not those of model-parallel rank 0; files of "
                                 "two saves lie in one directory: wait for the running save, or restore the files");
            }
            if (rank == 0) {
                first_values = std::move(values);
            } else {
                CKPTFS_TRY(compare_families(first_values, values));
            }
        }
        CKPTFS_TRY(read_other_layer_files(source_, directory_, inventory_, checkpoint_->families));
        if (options_.rank_values_of && *options_.rank_values_of >= checkpoint_->dp_world_size) {
            return Error(ErrorCode::invalid_argument,
                         path_ + ": it has no data-parallel rank " + std::to_string(*options_.rank_values_of) +
                             ", whose values --rank-values-of gives to all; give one below " +
                             std::to_string(checkpoint_->dp_world_size));
        }
        if (checkpoint_->format == Format::zero3 && !sub_group_size_is_stored(*checkpoint_)) {
            checkpoint_->warnings.push_back(sub_group_size_finding(*checkpoint_) +
                                            "; at another world size a view follows that where all such sizes cut "
                                            "alike, and asks for --sub-group-size or --ds-config where they do not");
        }
        if (!checkpoint_->rank_values.empty()) {
            checkpoint_->rank_values_of = options_.rank_values_of;
            warn_of_rank_values();
        }
        complete_content(checkpoint_->families, checkpoint_->optimizer_prefix, checkpoint_->content);
        CKPTFS_TRY(look_for_two_saves());
        for (const Family& family : checkpoint_->families) {
            CKPTFS_TRY(check_unchanged(tag_, family));
        }
        return std::shared_ptr<const Written>(std::move(checkpoint_));
    }

 private:
    void warn_of_rank_values() {
        const std::vector<RankValue>& values = checkpoint_->rank_values;
        const std::string found =
            values.front().path + ": ranks keep values for themselves alone (" + rank_values_text(values) + "); ";
        checkpoint_->warnings.push_back(
            checkpoint_->rank_values_of
                ? found + "at any other world size every rank is given those of rank " +
                      std::to_string(*checkpoint_->rank_values_of) + ", as --rank-values-of says"
                : found +
                      "no other world size has right ones: a view at one is refused unless --rank-values-of=R gives "
                      "those of rank R to all");
    }

    Result<void> look_for_two_saves() {
        if (!options_.look_for_two_saves) {
            return {};
        }
        CKPTFS_ASSIGN(const WeightsComparison weights, sample_weights(*checkpoint_));
        CKPTFS_ASSIGN(std::vector<std::string> found,
                      find_two_saves(*checkpoint_, path_, weights, options_.accept_mixed));
        std::move(found.begin(), found.end(), std::back_inserter(checkpoint_->warnings));
        return {};
    }

    // The next family, without its optimizer files.
    Result<ModelStates> open_model_states(std::uint64_t rank) {
        CKPTFS_ASSIGN(ModelStates states, open_family(tag_, rank, checkpoint_->families.emplace_back()));
        checkpoint_->content.ranks.emplace_back();
        if (rank == 0) {
            checkpoint_->dp_world_size = states.world_size;
            checkpoint_->config = states.config;
            checkpoint_->sequence_parallel = states.config.mesh_sequence_parallel;
            checkpoint_->deepspeed_version = states.deepspeed_version;
        }
        return states;
    }

    // The last family with the first one, whose values are `expected`.
    Result<void> compare_families(const FamilyValues& expected, const FamilyValues& found) {
        const model::Rank& first = checkpoint_->content.ranks.front();
        const model::Rank& rank = checkpoint_->content.ranks.back();
        const Likeness likeness =
            have_same_parameters(first, rank) ? Likeness::alike_families : Likeness::other_families;
        CKPTFS_TRY(compare_values(expected.model_states, found.model_states, likeness, checkpoint_->rank_values));
        CKPTFS_TRY(compare_values(expected.optimizer, found.optimizer, likeness, checkpoint_->rank_values));
        const auto compare = [&](const std::optional<double>& wanted, const std::optional<double>& step,
                                 const std::string& where) -> Result<void> {
            if (step == wanted) {
                return {};
            }
            return mixed_saves(found.optimizer.path + ": " + where + "it is at optimizer step " + step_text(step) +
                               ", but " + expected.optimizer.path + " at step " + step_text(wanted));
        };
        if (likeness == Likeness::other_families) {
            const auto wanted = latest_step(first);
            const auto step = latest_step(rank);
            return wanted && step ? compare(wanted, step, "") : Result<void>();
        }
        for (std::size_t g = 0; g < first.groups.size(); ++g) {
            const std::string where = "parameter group " + std::to_string(g) + ": ";
            CKPTFS_TRY(compare(first.groups[g].step, rank.groups[g].step, where));
        }
        return {};
    }

    // The optimizer files of the last family, whose model states are `states`.
    Result<FamilyValues> read_shards(const ModelStates& states) {
        Family& family = checkpoint_->families.back();
        model::Rank& content = checkpoint_->content.ranks.back();
        if (states.holds_optimizer) {
            checkpoint_->format = Format::stage0;
            CKPTFS_TRY(read_layer_files(source_, directory_, inventory_, states, checkpoint_->families.size() - 1,
                                        content, family));
            FamilyValues values;
            CKPTFS_ASSIGN(values.model_states, values_of_model_states(states));
            return values;
        }
        if (inventory_.optimizer.empty()) {
            return Error(ErrorCode::incomplete, path_ +
                                                    ": model states without optimizer files: the checkpoint was saved "
                                                    "weights only, or its save has only begun; "
                                                    "weights need no re-cut, load them from the source");
        }
        if (states.config.optimizer_on_nvme) {
            return refuse(Refusal::nvme_offload, path_, "offload_optimizer.device is nvme in ds_config");
        }
        const FamilyKey key{family.rank, states.world_size, states.model_parallel > 1};
        CKPTFS_ASSIGN(const OptimizerNames optimizer, optimizer_names(inventory_, key, states.config, path_));
        checkpoint_->optimizer_prefix = optimizer.prefix;
        checkpoint_->optimizer_suffix = optimizer.suffix;
        if (inventory_.is_stage3()) {
            checkpoint_->format = Format::zero3;
            checkpoint_->stage = 3;
            CKPTFS_ASSIGN(const std::vector<std::string> names, model_states_names(inventory_, key, path_));
            CKPTFS_ASSIGN(FamilyValues values,
                          read_zero3_family(source_, directory_, {names, optimizer.names}, family, content));
            keep_rank_values(values);
            return values;
        }
        CKPTFS_ASSIGN(const std::vector<OptimizerFile> files, read_ranks(source_, directory_, optimizer.names, family));
        checkpoint_->format = files.front().format;
        checkpoint_->stage = files.front().stage;
        CKPTFS_TRY(join_ranks(states, files, family, content));
        CKPTFS_TRY(read_layer_files(source_, directory_, inventory_, states, checkpoint_->families.size() - 1, content,
                                    family));
        CKPTFS_ASSIGN(FamilyValues values, compare_ranks(states, files, family.optimizer));
        keep_rank_values(values);
        return values;
    }

    void keep_rank_values(const FamilyValues& values) {
        checkpoint_->rank_values.insert(checkpoint_->rank_values.end(), values.own.begin(), values.own.end());
    }

    const Source& source_;
    std::string directory_;
    TagFiles tag_;
    std::string path_;
    const Inventory& inventory_;
    const ReadOptions& options_;
    std::shared_ptr<Written> checkpoint_;
};

template <class Chosen>
std::vector<std::string> names_of_files(const std::vector<DirectoryEntry>& listing, const Chosen& chosen) {
    std::vector<std::string> names;
    for (const DirectoryEntry& entry : listing) {
        const auto name = entry.type == FileType::directory ? std::nullopt : parse_shard_name(entry.name);
        if (name && chosen(name->role)) {
            names.push_back(entry.name);
        }
    }
    return names;
}

}  // namespace

bool is_tag(const std::vector<DirectoryEntry>& listing) {
    const Inventory inventory = take_inventory(listing);
    return !inventory.universal && inventory.any_zero();
}

std::vector<std::string> shard_files(const std::vector<DirectoryEntry>& listing) {
    return names_of_files(listing, [](FileRole role) { return role != FileRole::expert && role != FileRole::layer; });
}

std::vector<std::string> layer_files(const std::vector<DirectoryEntry>& listing) {
    return names_of_files(listing, [](FileRole role) { return role == FileRole::layer; });
}

Result<std::shared_ptr<const Written>> read_checkpoint(const Source& source, const std::string& directory,
                                                       const ReadOptions& options, OpenedFamilies* opened) {
    const std::string path = source.display(directory);
    CKPTFS_ASSIGN(const std::vector<DirectoryEntry> listing, source.list(directory));
    const Inventory inventory = take_inventory(listing);
    if (inventory.universal || !inventory.any_zero()) {
        return Error(ErrorCode::not_a_checkpoint,
                     path +
                         ": expected ZeRO model states (mp_rank_00_model_states.pt) and optimizer files "
                         "(*zero_pp_rank_*_optim_states.pt), and found none");
    }
    CKPTFS_TRY(refuse_by_listing(inventory, path));
    return TagReading(source, directory, inventory, options, opened).read();
}

}  // namespace ckptfs::zero
