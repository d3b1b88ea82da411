// What DeepSpeed checks, and what it silently loses, setting by setting.
#include "report/resume_check.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "pt/pickle.h"
#include "util/text.h"
#include "view/zero12_files.h"
#include "view/zero3_files.h"
#include "zero/config.h"

namespace ckptfs::report {
namespace {

using nlohmann::json;
using zero::enabled;
using zero::setting;
using Kind = Finding::Kind;

bool is_auto(const json& value) {
    return value.is_string() && value.get<std::string>() == "auto";
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

const char* yes_no(bool value) {
    return value ? "true" : "false";
}

class Checker {
 public:
    Checker(const zero::Written& checkpoint, const json& config, std::uint64_t dp_world_size)
        : checkpoint_(checkpoint),
          config_(config),
          stored_(zero::config_json(pickle::find(checkpoint.families.front().model_states->root(), "ds_config"))),
          target_(zero::engine_layout(config)),
          dp_world_size_(dp_world_size) {}

    ResumeCheck run() {
        check_stage();
        check_dtype();
        check_format();
        check_load();
        check_layout();
        check_offload();
        check_optimizer();
        check_degree();
        check_groups();
        check_batch();
        return std::move(result_);
    }

 private:
    void add(Kind kind, std::string subject, std::string text) {
        result_.findings.push_back({kind, std::move(subject), std::move(text)});
    }

    [[nodiscard]] int stage() const { return static_cast<int>(zero::stage_setting(config_)); }

    void check_stage() {
        const int wanted = stage();
        const int saved = checkpoint_.stage;
        if (wanted == saved) {
            return;
        }
        const std::string both =
            "the checkpoint is of stage " + std::to_string(saved) + ", the config says " + std::to_string(wanted);
        const bool interchangeable = std::min(wanted, saved) == 1 && std::max(wanted, saved) == 2;
        if (interchangeable) {
            add(Kind::note, "zero_optimization.stage", both + ": DeepSpeed loads either into the other");
        } else {
            add(Kind::conflict, "zero_optimization.stage",
                both + ", whose files are others; set it to " + std::to_string(saved));
        }
    }

    [[nodiscard]] static std::string dtype_of(const json& config) {
        if (zero::layout_config(config).bf16) {
            return "bf16";
        }
        return enabled(config, {"fp16", "enabled"}) ? "fp16" : "fp32";
    }

    // The names of the files tell bf16; the weights tell the others where no config is stored.
    [[nodiscard]] std::string saved_dtype() const {
        if (checkpoint_.optimizer_prefix == "bf16_") {
            return "bf16";
        }
        if (checkpoint_.config.known) {
            return dtype_of(stored_);
        }
        const std::vector<model::Group>& groups = checkpoint_.content.ranks.front().groups;
        if (groups.empty() || groups.front().parameters.empty()) {
            return "fp32";
        }
        return groups.front().parameters.front().dtype == model::DType::float16 ? "fp16" : "fp32";
    }

    void check_dtype() {
        const char* section = config_.contains("bf16") ? "bf16" : "bfloat16";
        if (is_auto(setting(config_, {section, "enabled"})) || is_auto(setting(config_, {"fp16", "enabled"}))) {
            add(Kind::script, "dtype",
                "the config leaves it to the trainer (\"auto\"): the checkpoint is " + saved_dtype());
            return;
        }
        const std::string saved = saved_dtype();
        const std::string wanted = dtype_of(config_);
        if (saved == wanted) {
            return;
        }
        const std::string both = "the checkpoint is " + saved + ", the config says " + wanted;
        if (saved == "bf16" || wanted == "bf16") {
            add(Kind::conflict, "dtype",
                both + ": DeepSpeed looks for optimizer files of other names; enable " +
                    (saved == "fp32" ? "neither bf16 nor fp16" : saved));
        } else {
            add(Kind::conflict, "dtype",
                both + ": the run would go on with the loss scaler of the checkpoint; enable " +
                    (saved == "fp32" ? std::string("neither bf16 nor fp16") : saved));
        }
    }

    // Stage 1 with bf16 has two optimizers, whose files hold different things (engine.py _do_optimizer_sanity_check).
    void check_format() {
        const bool wanted = zero::makes_bf16_optimizer(config_);
        const bool saved = checkpoint_.format == zero::Format::bf16_optimizer;
        const bool elastic = checkpoint_.format == zero::Format::zero12_elastic;
        if (wanted == saved || !(saved || elastic || checkpoint_.format == zero::Format::zero12)) {
            return;
        }
        const std::string both = "the checkpoint is of " + std::string(name(checkpoint_.format)) +
                                 ", the config makes DeepSpeed use " + (wanted ? "BF16_Optimizer" : "ZeRO-1/2");
        if (elastic) {
            add(Kind::conflict, "data_types.grad_accum_dtype",
                both + ", which cannot read elastic files; do not set it to \"fp32\"");
        } else if (target_.bf16) {
            add(Kind::note, "data_types.grad_accum_dtype", both + ": DeepSpeed loads either into the other");
        }
    }

    // Settings of the load itself, under which DeepSpeed leaves the files, or what is in them, aside.
    void check_load() {
        if (enabled(config_, {"checkpoint", "load_universal"})) {
            add(Kind::conflict, "checkpoint.load_universal",
                "DeepSpeed would look for a universal checkpoint (latest_universal); take it out");
        }
        const json& masters = setting(config_, {"zero_optimization", "load_from_fp32_weights"});
        const bool rounds = dtype_of(config_) != "fp32" && (stage() == 1 || stage() == 2);
        if (rounds && !masters.is_null() && !is_auto(masters) &&
            !enabled(config_, {"zero_optimization", "load_from_fp32_weights"})) {
            add(Kind::conflict, "zero_optimization.load_from_fp32_weights",
                "DeepSpeed would leave the fp32 masters of the checkpoint aside; set it to true");
        }
        if (stage() != 3 && enabled(config_, {"zero_optimization", "pipeline_loading_checkpoint"})) {
            add(Kind::conflict, "zero_optimization.pipeline_loading_checkpoint",
                "DeepSpeed loads so at stage 3 only; set it to false");
        }
    }

    void differs(const char* key, const std::string& saved, const std::string& wanted) {
        add(Kind::mount, std::string("zero_optimization.") + key,
            "the checkpoint is cut for " + saved + ", the config says " + wanted + ": mount with --ds-config");
    }

    void check_layout() {
        if (checkpoint_.format == zero::Format::zero3) {
            if (!checkpoint_.config.known) {
                check_unknown_sub_group_size();
            } else if (target_.sub_group_size != checkpoint_.config.sub_group_size) {
                differs("sub_group_size", grouped(checkpoint_.config.sub_group_size), grouped(target_.sub_group_size));
            } else if (!cut_as_configured()) {
                add(Kind::mount, "zero_optimization.sub_group_size",
                    "the checkpoint's files are cut otherwise than the config that they store says: mount with "
                    "--ds-config");
            }
            return;
        }
        if (checkpoint_.format == zero::Format::bf16_optimizer) {
            for (const auto& [key, is_set] : {std::pair("round_robin_gradients", target_.round_robin_gradients),
                                              std::pair("parameter_alignment", target_.parameter_alignment)}) {
                if (is_set && (stage() == 1 || stage() == 2)) {
                    add(Kind::conflict, std::string("zero_optimization.") + key,
                        "the checkpoint is of BF16_Optimizer, whose files know no such order of elements; set it to "
                        "false");
                }
            }
            return;
        }
        if (checkpoint_.format != zero::Format::zero12 && checkpoint_.format != zero::Format::zero12_elastic) {
            return;
        }
        if (!checkpoint_.config.known && !view::target_layout(checkpoint_, dp_world_size_, std::nullopt)) {
            add(Kind::mount, "zero_optimization",
                "the stored config is no dict of settings, and the checkpoint's files do not show how to cut them: "
                "mount with --ds-config");
            return;
        }
        bool round_robin = false;
        bool aligned = false;
        for (const zero::GroupForm& group : checkpoint_.families.front().groups) {
            round_robin |= group.flat->rules.round_robin;
            aligned |= group.flat->rules.alignment_numel > 1;
        }
        if (round_robin != target_.round_robin_gradients) {
            differs("round_robin_gradients", yes_no(round_robin), yes_no(target_.round_robin_gradients));
        }
        if (aligned != target_.parameter_alignment) {
            differs("parameter_alignment", yes_no(aligned), yes_no(target_.parameter_alignment));
        }
    }

    void check_unknown_sub_group_size() {
        const auto shown = view::zero3_target(checkpoint_, dp_world_size_, std::nullopt);
        const auto wanted = view::zero3_target(checkpoint_, dp_world_size_, target_.sub_group_size);
        if (!shown || !wanted || shown->families != wanted->families) {
            add(Kind::mount, "zero_optimization.sub_group_size",
                "the stored config is no dict of settings, and does not say it; the config says " +
                    grouped(target_.sub_group_size) + ": mount with --ds-config");
        }
    }

    [[nodiscard]] bool cut_as_configured() const {
        const auto cut = view::zero3_target(checkpoint_, checkpoint_.dp_world_size, target_.sub_group_size);
        return cut && cut->same_as_source;
    }

    void check_offload() {
        for (const char* what : {"offload_optimizer", "offload_param"}) {
            const std::string wanted = zero::offload_device(config_, what);
            const bool known = checkpoint_.config.known;
            const std::string saved = known ? zero::offload_device(stored_, what) : "not stored";
            if (wanted == saved || (!known && wanted == "none")) {
                continue;
            }
            std::string subject = "zero_optimization.";
            subject.append(what).append(".device");
            std::string both = "it was ";
            both.append(saved).append(", the config says ").append(wanted);
            const bool of_states = std::string_view(what) == "offload_optimizer";
            if (wanted == "nvme" && of_states) {
                add(Kind::conflict, subject,
                    both + ": DeepSpeed reads states for NVMe from files of another form; resume with \"cpu\"");
            } else if (muon() && of_states) {
                add(Kind::mount, subject, both + ": Muon's momentum is cut otherwise: mount with --ds-config");
            } else {
                add(Kind::note, subject, both + ": the files are the same");
            }
        }
    }

    [[nodiscard]] bool muon() const {
        for (const zero::GroupForm& group : checkpoint_.families.front().groups) {
            for (const zero::StateForm& state : group.states) {
                if (state.muon_momentum) {
                    return true;
                }
            }
        }
        return false;
    }

    void check_optimizer() {
        const json& saved = setting(stored_, {"optimizer", "type"});
        const json& wanted = setting(config_, {"optimizer", "type"});
        std::set<std::string> keys;
        for (const model::Group& group : checkpoint_.content.ranks.front().groups) {
            keys.insert(group.states.begin(), group.states.end());
        }
        const std::string states =
            keys.empty() ? "none yet" : joined(std::vector<std::string>(keys.begin(), keys.end()), ", ");
        if (!saved.is_string() || !wanted.is_string()) {
            add(Kind::script, "optimizer", "must keep the states of the checkpoint's: " + states);
            return;
        }
        const std::string before = saved.get<std::string>();
        const std::string after = wanted.get<std::string>();
        if (lower(before) == lower(after)) {
            return;
        }
        const auto adam = [](const std::string& type) { return lower(type) == "adam" || lower(type) == "adamw"; };
        const std::string both =
            "the checkpoint is of " + printable(before) + " (" + states + "), the config says " + printable(after);
        if (adam(before) && adam(after)) {
            add(Kind::note, "optimizer.type", both + ": their states are the same, weight decay works otherwise");
        } else {
            add(Kind::conflict, "optimizer.type", both + ": its states are others; keep " + printable(before));
        }
    }

    void check_degree() {
        const std::uint64_t degree = checkpoint_.families.size();
        const json& tensor = setting(config_, {"tensor_parallel", "autotp_size"});
        if (tensor.is_number_integer() && tensor.get<std::int64_t>() > 1 && tensor.get<std::uint64_t>() != degree) {
            add(Kind::conflict, "tensor_parallel.autotp_size",
                "the checkpoint has " + counted(degree, "model-parallel rank") + ", the config says " +
                    std::to_string(tensor.get<std::uint64_t>()) +
                    "; model parallelism cannot be re-cut, keep the degree");
        } else if (degree > 1) {
            add(Kind::script, "model parallelism",
                "must be of degree " + std::to_string(degree) + " (tensor times pipeline), as it was saved");
        }
    }

    void check_groups() {
        if (checkpoint_.format == zero::Format::stage0) {
            return;  // its files do not say how many groups the optimizer had
        }
        std::vector<std::string> counts;
        for (const model::Group& group : checkpoint_.content.ranks.front().groups) {
            counts.push_back(grouped(group.parameters.size()));
        }
        if (!counts.empty()) {
            add(Kind::script, "parameter groups",
                "the optimizer must have " + counted(counts.size(), "group") + ", of " + joined(counts, " and ") +
                    (counts.size() == 1 && counts.front() == "1" ? " parameter" : " parameters"));
        }
    }

    void check_batch() {
        const auto stored = batch_of(stored_, checkpoint_.dp_world_size);
        if (stored) {
            result_.stored = *stored;
        }
        const auto wanted = batch_of(config_, dp_world_size_);
        if (!wanted) {
            add(Kind::conflict, "train_batch_size", wanted.error().message());
        } else {
            result_.config = *wanted;
        }
        if (!result_.stored) {
            return;
        }
        const std::uint64_t train = result_.stored->train;
        result_.choices = batch_choices(train, result_.stored->micro, dp_world_size_);
        if (result_.choices.empty()) {
            add(Kind::note, "train_batch_size",
                std::to_string(dp_world_size_) + " data-parallel ranks do not divide the stored global batch of " +
                    grouped(train) + ": no micro batch and accumulation keep it");
        } else if (result_.config && result_.config->train != train) {
            add(Kind::note, "train_batch_size",
                "the global batch was " + grouped(train) + ", with the config it is " + grouped(result_.config->train) +
                    ": learning-rate schedules and sample counts go on as if it were the same");
        }
    }

    const zero::Written& checkpoint_;
    const json& config_;
    json stored_;
    zero::LayoutConfig target_;
    std::uint64_t dp_world_size_;
    ResumeCheck result_;
};

}  // namespace

bool ResumeCheck::has(Finding::Kind kind) const {
    return std::any_of(findings.begin(), findings.end(),
                       [kind](const Finding& finding) { return finding.kind == kind; });
}

ResumeCheck check_resume(const zero::Written& checkpoint, const json& config, std::uint64_t dp_world_size) {
    return Checker(checkpoint, config, dp_world_size).run();
}

}  // namespace ckptfs::report
