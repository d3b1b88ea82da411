// Families put together: over tensor-parallel ranks by the checkpoint's own rules, over pipeline stages side by side.
#include "view/universal_content.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "view/checked_names.h"
#include "zero/fields.h"
#include "zero/join_ranks.h"
#include "zero/module_tensors.h"
#include "zero/name_patterns.h"
#include "zero/slice_plan.h"
#include "zero/slice_rules.h"

namespace ckptfs::view {
namespace {

const pickle::Node* model_states_value(const zero::Family& family, std::string_view key) {
    return pickle::find(family.model_states->root(), key);
}

constexpr std::string_view suffix_of_states = ".pt";

/// One parameter as the tensor-parallel ranks of a pipeline stage hold it.
struct Held {
    std::size_t family = 0;
    std::size_t group = 0;
    const model::Parameter* parameter = nullptr;
};

class ContentMaker {
 public:
    explicit ContentMaker(const zero::Written& checkpoint) : checkpoint_(checkpoint) {}

    Result<UniversalContent> make() {
        if (checkpoint_.format == zero::Format::stage0) {
            return refuse_format("stage 0, whose optimizer state is in the model states",
                                 "it has no files to a data-parallel rank and loads at any world size as it is");
        }
        if (checkpoint_.format == zero::Format::zero12_elastic) {
            return refuse_format("elastic, which leaves out the hyper-parameters that a universal one needs",
                                 "resume from world-size-N and save without elastic_checkpoint");
        }
        const std::size_t count = checkpoint_.families.size();
        CKPTFS_ASSIGN(degree_, zero::tensor_parallel_degree(checkpoint_.content, checkpoint_.families));
        if (degree_ > 1) {
            CKPTFS_TRY(read_rules());
        }
        content_.bare = checkpoint_.format == zero::Format::zero3 && degree_ == 1;
        for (std::size_t first = 0; first < count; first += degree_) {
            CKPTFS_TRY(add_stage(first));
        }
        if (checkpoint_.format != zero::Format::zero3) {
            CKPTFS_TRY(add_module_tensors());
        }
        CKPTFS_TRY(check_tree());
        return std::move(content_);
    }

 private:
    [[nodiscard]] Error refuse_format(const char* what, const char* instead) const {
        return {ErrorCode::unsupported,
                display() + ": a universal checkpoint cannot be made of one that is " + what + "; " + instead};
    }

    [[nodiscard]] const std::string& file_of_family(std::size_t family) const {
        return checkpoint_.families[family].model_states->file()->name();
    }

    /// The file that speaks for all.
    [[nodiscard]] const std::string& display() const { return file_of_family(0); }

    Result<void> read_rules() {
        const zero::Family& first = checkpoint_.families.front();
        info_ = {model_states_value(first, "universal_checkpoint_info"),
                 {first.model_states->file()->name(), "universal_checkpoint_info"}};
        if (!pickle::is_dict_like(info_.node)) {
            return Error(ErrorCode::unsupported,
                         info_.place.file + " does not say how its parameters are cut over " + std::to_string(degree_) +
                             " tensor-parallel ranks (universal_checkpoint_info), so they cannot be put together; "
                             "resume at this tensor-parallel degree, or set universal_checkpoint_info on the module "
                             "and save again");
        }
        CKPTFS_ASSIGN(rules_, zero::SliceRules::read(info_, degree_));
        return {};
    }

    /// The families from `first` on, which are the tensor-parallel ranks of one pipeline stage.
    Result<void> add_stage(std::size_t first) {
        std::unordered_map<std::string_view, std::vector<Held>> by_name;
        std::vector<std::string_view> order;
        for (std::size_t family = first; family < first + degree_; ++family) {
            const model::Rank& rank = checkpoint_.content.ranks[family];
            for (std::size_t group = 0; group < rank.groups.size(); ++group) {
                for (const model::Parameter& parameter : rank.groups[group].parameters) {
                    std::vector<Held>& held = by_name[parameter.name];
                    if (held.empty()) {
                        order.push_back(parameter.name);
                    }
                    held.push_back({family, group, &parameter});
                }
            }
        }
        for (const std::string_view name : order) {
            const std::vector<Held>& held = by_name[name];
            CKPTFS_TRY(check_holders(first, name, held));
            // A parameter that pipeline stages tie is in each of them, the same in all.
            if (names_.insert(std::string(name)).second) {
                CKPTFS_TRY(add_parameter(held));
            }
        }
        return {};
    }

    /// Every rank of the stage holds a part of the parameter, once.
    [[nodiscard]] Result<void> check_holders(std::size_t first, std::string_view name,
                                             const std::vector<Held>& held) const {
        std::vector<std::size_t> count(degree_, 0);
        for (const Held& part : held) {
            ++count[part.family - first];
        }
        const auto other = std::find_if(count.begin(), count.end(), [](std::size_t times) { return times != 1; });
        if (other == count.end()) {
            return {};
        }
        const auto family = first + static_cast<std::size_t>(other - count.begin());
        return Error(ErrorCode::inconsistent,
                     file_of_family(family) + ": the optimizer of model-parallel rank " +
                         checkpoint_.families[family].rank + " has the parameter '" + std::string(name) + "' " +
                         std::to_string(*other) +
                         " times, expected once on each rank of its pipeline stage; restore the files of one save");
    }

    Result<void> add_parameter(const std::vector<Held>& held) {
        const model::Parameter& example = *held.front().parameter;
        CKPTFS_TRY(check_directory_name(display(), example.name));
        UniversalParameter made;
        made.name = example.name;
        made.family = held.front().family;
        made.group = held.front().group;
        std::optional<zero::SlicePlan> plan;
        if (degree_ == 1) {
            made.shape = content_.bare ? std::vector<std::uint64_t>{example.numel} : example.shape;
            made.form.cat_dim = 0;
        } else {
            std::vector<std::vector<std::uint64_t>> shapes;
            shapes.reserve(held.size());
            for (const Held& part : held) {
                shapes.push_back(part.parameter->shape);
            }
            CKPTFS_ASSIGN(const zero::SliceRule rule, rules_->rule_of(example.name));
            CKPTFS_ASSIGN(plan, zero::plan_slices(example.name, rule, shapes));
            CKPTFS_ASSIGN(made.form, form_of(example.name, rule, shapes));
            made.shape = plan->shape;
        }
        CKPTFS_TRY(add_state(made, plan, "fp32", held, [](const model::Parameter& parameter, std::size_t) {
            return parameter.master ? &*parameter.master : nullptr;
        }));
        const std::vector<std::string>& keys = group_of(held.front()).states;
        for (const std::string& key : keys) {
            CKPTFS_TRY(check_state_name(display(), key, suffix_of_states));
            CKPTFS_TRY(add_state(made, plan, key, held, [&](const model::Parameter& parameter, std::size_t part) {
                const std::vector<std::string>& theirs = group_of(held[part]).states;
                const auto at = std::find(theirs.begin(), theirs.end(), key) - theirs.begin();
                const auto index = static_cast<std::size_t>(at);
                return index < parameter.states.size() ? &parameter.states[index] : nullptr;
            }));
        }
        content_.parameters.push_back(std::move(made));
        return {};
    }

    template <class Get>
    Result<void> add_state(UniversalParameter& made, const std::optional<zero::SlicePlan>& plan, const std::string& key,
                           const std::vector<Held>& held, const Get& get) {
        std::vector<model::Elements> by_rank;
        for (std::size_t part = 0; part < held.size(); ++part) {
            const model::Elements* const elements = get(*held[part].parameter, part);
            if (elements == nullptr || (!by_rank.empty() && elements->dtype() != by_rank.front().dtype())) {
                return Error(ErrorCode::inconsistent,
                             "model-parallel rank " + checkpoint_.families[held[part].family].rank + " has no " + key +
                                 " of " + made.name + " like that of the others; restore the files of one save");
            }
            by_rank.push_back(*elements);
        }
        made.states.push_back({key, plan ? plan->apply(by_rank) : by_rank.front()});
        return {};
    }

    /// What ds_to_universal writes for a parameter of this rule.
    Result<UniversalForm> form_of(const std::string& name, const zero::SliceRule& rule,
                                  const std::vector<std::vector<std::uint64_t>>& shapes) const {
        UniversalForm form;
        form.is_vocabulary = rule.vocabulary_size.has_value();
        if (const auto* side_by_side = std::get_if<zero::ConcatenatedSlices>(&rule.form)) {
            form.cat_dim = static_cast<std::int64_t>(side_by_side->axis);
        } else if (std::holds_alternative<zero::HalvedSlices>(rule.form)) {
            form.cat_dim = 0;
            form.sub_parameters = 2;
        } else if (const auto* several = std::get_if<zero::SubParameterSlices>(&rule.form)) {
            CKPTFS_ASSIGN(form.sub_parameter_shape, sub_parameter_entry(name));
            if (several->sizes.empty() && several->count > 0) {
                CKPTFS_ASSIGN(form.sub_parameter_sizes, zero::sub_parameter_sizes(name, *several, shapes));
            }
        }
        return form;
    }

    Result<const pickle::Node*> sub_parameter_entry(const std::string& name) const {
        CKPTFS_ASSIGN(const zero::Field list, info_.at("parameter_with_sub_params"));
        CKPTFS_ASSIGN(const std::vector<zero::Field> entries, list.as_list());
        for (const zero::Field& entry : entries) {
            CKPTFS_ASSIGN(const zero::Field texts, entry.at("patterns"));
            CKPTFS_ASSIGN(const std::vector<zero::Field> fields, texts.as_list());
            zero::NamePatterns patterns;
            for (const zero::Field& field : fields) {
                CKPTFS_TRY(patterns.add(field.node->text));
            }
            CKPTFS_ASSIGN(const std::vector<std::size_t> found, patterns.matches(name));
            if (!found.empty()) {
                return entry.node;
            }
        }
        return Error(ErrorCode::internal, "no entry of parameter_with_sub_params is of " + name);
    }

    [[nodiscard]] const model::Group& group_of(const Held& held) const {
        return checkpoint_.content.ranks[held.family].groups[held.group];
    }

    Result<void> add_module_tensors() {
        for (const zero::Family& family : checkpoint_.families) {
            std::vector<std::string> gaps;
            const std::vector<zero::ModuleTensor> tensors =
                zero::module_tensors(*family.model_states, model_states_value(family, "module"), "", gaps);
            if (!gaps.empty()) {
                return Error(ErrorCode::unsupported, gaps.front());
            }
            for (const zero::ModuleTensor& tensor : tensors) {
                if (!names_.insert(tensor.name).second) {
                    continue;
                }
                CKPTFS_TRY(check_directory_name(display(), tensor.name));
                if (!tensor.contiguous) {
                    return Error(ErrorCode::unsupported,
                                 tensor.file->name() + ": " + tensor.name +
                                     " is a view whose elements do not lie side by side; save a contiguous tensor");
                }
                content_.module_tensors.push_back({tensor.name, tensor.shape, tensor.elements()});
            }
        }
        return {};
    }

    /// Names with '/' in them are paths, as for ds_to_universal; they must not meet files of other tensors.
    [[nodiscard]] Result<void> check_tree() const {
        const std::string zero_directory = "zero/";
        std::vector<std::string> paths{zero_directory + "optimizer_state.pt"};
        const auto add = [&](const std::string& name, std::string_view stem) {
            paths.push_back(zero_directory + name + "/" + std::string(stem) + std::string(suffix_of_states));
        };
        for (const UniversalParameter& parameter : content_.parameters) {
            for (const UniversalState& state : parameter.states) {
                add(parameter.name, state.key);
            }
            add(parameter.name, "step");
        }
        for (const UniversalModuleTensor& tensor : content_.module_tensors) {
            add(tensor.name, "fp32");
        }
        return check_paths(display(), std::move(paths));
    }

    const zero::Written& checkpoint_;
    std::uint64_t degree_ = 1;  // of tensor parallelism
    zero::Field info_;          // universal_checkpoint_info, where the degree is above 1
    std::optional<zero::SliceRules> rules_;
    std::unordered_set<std::string> names_;
    UniversalContent content_;
};

}  // namespace

Result<UniversalContent> universal_content(const zero::Written& checkpoint) {
    return ContentMaker(checkpoint).make();
}

Result<std::shared_ptr<const pt::Archive>> first_optimizer_file(const zero::Family& family) {
    const zero::RankFile& first = family.optimizer.front();
    if (first.structure != nullptr && first.structure->file() == first.file) {
        return first.structure;
    }
    return pt::Archive::open(first.file);
}

}  // namespace ckptfs::view
