// The files of a universal checkpoint, and the objects in them (deepspeed/checkpoint/ds_to_universal.py).
#include "view/universal_view.h"

#include <algorithm>
#include <array>
#include <utility>

#include "model/conversion.h"
#include "view/source_info.h"
#include "zero/fields.h"
#include "zero/file_names.h"

namespace ckptfs::view {
namespace {

using model::DType;
using pickle::Node;

constexpr std::string_view zero_directory = "zero/";
constexpr std::string_view optimizer_state_name = "optimizer_state.pt";
constexpr std::string_view step_key = "step";
constexpr std::string_view master_key = "fp32";
constexpr std::string_view suffix = ".pt";

/// What is sharded, and so not in optimizer_state.pt (ds_to_universal.py _save_optimizer_state).
constexpr std::array<std::string_view, 3> sharded_keys = {"base_optimizer_state", "param_slice_mappings",
                                                          "single_partition_of_fp32_groups"};

std::string file_of(std::string_view stem) {
    return std::string(stem) + std::string(suffix);
}

/// The state dict of each group in an optimizer file of stage 1 or 2.
const Node* base_states(const Node* root) {
    return pickle::find(pickle::find(pickle::find(root, "optimizer_state_dict"), "base_optimizer_state"), "state");
}

const Node* list_of(pickle::Editor& pickle, std::size_t count, std::int64_t value) {
    std::vector<const Node*> items;
    for (std::size_t i = 0; i < count; ++i) {
        items.push_back(pickle.integer(value));
    }
    return pickle.list(std::move(items));
}

/// What keeps the files behind the pieces.
struct Owner {
    std::shared_ptr<const zero::Written> checkpoint;
    model::Keepers keepers;
};

}  // namespace

Result<std::shared_ptr<const View>> UniversalView::create(std::shared_ptr<const zero::Written> checkpoint,
                                                          std::shared_ptr<FileCache> cache) {
    CKPTFS_ASSIGN(UniversalContent content, universal_content(*checkpoint));
    std::shared_ptr<UniversalView> view(new UniversalView(std::move(checkpoint), std::move(content), std::move(cache)));
    CKPTFS_TRY(view->read_optimizer_files());
    view->list_files();
    return std::shared_ptr<const View>(std::move(view));
}

UniversalView::UniversalView(std::shared_ptr<const zero::Written> checkpoint, UniversalContent content,
                             std::shared_ptr<FileCache> cache)
    : checkpoint_(std::move(checkpoint)), content_(std::move(content)), cache_(std::move(cache)) {
    for (const zero::Family& family : checkpoint_->families) {
        for (const zero::RankFile& shard : family.model_states_of_ranks()) {
            sources_.push_back({shard.name, shard.file, shard.info});
        }
        if (family.model_states_of_ranks().empty()) {
            sources_.push_back({family.model_states_name, family.model_states->file(), family.model_states_info});
        }
    }
    info_ = common_info(checkpoint_->families);
}

UniversalView::~UniversalView() {
    cache_->forget(this);
}

Result<void> UniversalView::read_optimizer_files() {
    // At stage 3 no step is written, and one optimizer file speaks for all.
    const std::size_t count = checkpoint_->format == zero::Format::zero3 ? 1 : checkpoint_->families.size();
    for (std::size_t i = 0; i < count; ++i) {
        const zero::Family& family = checkpoint_->families[i];
        Steps& steps = steps_.emplace_back();
        CKPTFS_ASSIGN(steps.archive, first_optimizer_file(family));
        steps.by_group.resize(family.groups.size());
        if (checkpoint_->format == zero::Format::zero3) {
            continue;
        }
        const Node* const states = base_states(steps.archive->root());
        for (std::size_t group = 0; group < family.groups.size(); ++group) {
            steps.by_group[group] = pickle::find(pickle::find(states, static_cast<std::int64_t>(group)), step_key);
        }
    }
    return {};
}

void UniversalView::list_files() {
    const auto add = [this](Role role, std::size_t item, std::size_t state) {
        files_.push_back({role, static_cast<std::uint32_t>(item), static_cast<std::uint32_t>(state)});
    };
    for (std::size_t i = 0; i < sources_.size(); ++i) {
        add(Role::model_states, i, 0);
    }
    add(Role::optimizer_state, 0, 0);
    for (std::size_t i = 0; i < content_.parameters.size(); ++i) {
        const UniversalParameter& parameter = content_.parameters[i];
        for (std::size_t state = 0; state < parameter.states.size(); ++state) {
            add(Role::state, i, state);
        }
        if (checkpoint_->format != zero::Format::zero3 &&
            steps_[parameter.family].by_group[parameter.group] != nullptr) {
            add(Role::step, i, 0);
        }
    }
    for (std::size_t i = 0; i < content_.module_tensors.size(); ++i) {
        add(Role::module_tensor, i, 0);
    }
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < files_.size(); ++i) {
        paths.push_back(file_name(i));
    }
    directories_.emplace(paths);
}

std::string UniversalView::file_name(std::size_t index) const {
    const Entry& entry = files_[index];
    const auto in_zero = [](const std::string& name, std::string_view stem) {
        return std::string(zero_directory) + name + "/" + file_of(stem);
    };
    switch (entry.role) {
        case Role::model_states:
            return sources_[entry.item].name;
        case Role::optimizer_state:
            return std::string(zero_directory) + std::string(optimizer_state_name);
        case Role::state: {
            const UniversalParameter& parameter = content_.parameters[entry.item];
            return in_zero(parameter.name, parameter.states[entry.state].key);
        }
        case Role::step:
            return in_zero(content_.parameters[entry.item].name, step_key);
        case Role::module_tensor:
            break;
    }
    return in_zero(content_.module_tensors[entry.item].name, master_key);
}

std::optional<std::size_t> UniversalView::find(std::string_view name) const {
    const std::size_t slash = name.rfind('/');
    const std::string_view directory = slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
    const std::string_view last = slash == std::string_view::npos ? name : name.substr(slash + 1);
    const std::vector<ViewEntry>* const entries = directories_->find(directory);
    if (entries == nullptr) {
        return std::nullopt;
    }
    const auto found = std::lower_bound(entries->begin(), entries->end(), last,
                                        [](const ViewEntry& entry, std::string_view key) { return entry.name < key; });
    return found != entries->end() && found->name == last ? found->file : std::nullopt;
}

FileInfo UniversalView::file_info(std::size_t index) const {
    const Entry& entry = files_[index];
    return entry.role == Role::model_states ? sources_[entry.item].info : info_;
}

UniversalView::SizeClass UniversalView::size_class(const Entry& entry) const {
    SizeClass key;
    key.role = entry.role;
    switch (entry.role) {
        case Role::state: {
            const UniversalParameter& parameter = content_.parameters[entry.item];
            const UniversalForm& form = parameter.form;
            const UniversalState& state = parameter.states[entry.state];
            if (form.sub_parameter_shape != nullptr) {
                key.parameter = parameter.name;
            }
            key.state = state.key;
            key.dtype = state.elements.dtype();
            key.shape = parameter.shape;
            key.cat_dim = form.cat_dim;
            key.sub_parameters = form.sub_parameters;
            key.is_vocabulary = form.is_vocabulary;
            break;
        }
        case Role::step: {
            const UniversalParameter& parameter = content_.parameters[entry.item];
            key.family = parameter.family;
            key.group = parameter.group;
            break;
        }
        case Role::module_tensor:
            key.shape = content_.module_tensors[entry.item].shape;
            break;
        case Role::model_states:
        case Role::optimizer_state:
            break;
    }
    return key;
}

Result<std::uint64_t> UniversalView::file_size(std::size_t index) const {
    const Entry& entry = files_[index];
    if (entry.role == Role::model_states) {
        return sources_[entry.item].file->size();
    }
    const SizeClass key = size_class(entry);
    {
        const std::lock_guard lock(mutex_);
        const auto known = sizes_.find(key);
        if (known != sizes_.end()) {
            return known->second;
        }
    }
    CKPTFS_ASSIGN(const std::shared_ptr<const VirtualFile> file, build(entry, false));
    const std::lock_guard lock(mutex_);
    sizes_.emplace(key, file->size());
    return file->size();
}

Result<std::shared_ptr<const File>> UniversalView::open(std::size_t index) const {
    const Entry& entry = files_[index];
    if (entry.role == Role::model_states) {
        return sources_[entry.item].file;
    }
    if (auto cached = cache_->find(this, index)) {
        return cached;
    }
    CKPTFS_ASSIGN(std::shared_ptr<const VirtualFile> built, build(entry, true));
    const std::uint64_t nbytes = built->memory_nbytes();
    return cache_->insert(this, index, std::move(built), nbytes);
}

Result<std::shared_ptr<const VirtualFile>> UniversalView::build(const Entry& entry, bool with_data) const {
    switch (entry.role) {
        case Role::state:
            return build_state(entry, with_data);
        case Role::module_tensor:
            return build_module_tensor(entry, with_data);
        case Role::step: {
            const UniversalParameter& parameter = content_.parameters[entry.item];
            const Steps& steps = steps_[parameter.family];
            pt::ArchiveBuilder builder;
            CKPTFS_ASSIGN(const Node* const step, builder.take(steps.archive, steps.by_group[parameter.group]));
            return builder.lay_out(step, file_of(step_key), checkpoint_);
        }
        case Role::model_states:
        case Role::optimizer_state:
            break;
    }
    return build_optimizer_state();
}

Result<std::shared_ptr<const VirtualFile>> UniversalView::build_state(const Entry& entry, bool with_data) const {
    const UniversalParameter& parameter = content_.parameters[entry.item];
    const UniversalForm& form = parameter.form;
    const UniversalState& state = parameter.states[entry.state];
    PieceList content;
    if (with_data) {
        state.elements.append(content);
    } else {
        content.add_zeros(state.elements.nbytes());
    }
    pt::ArchiveBuilder builder;
    pickle::Editor& pickle = builder.pickle();
    const std::size_t storage =
        builder.add_storage(state.elements.dtype(), state.elements.numel(), "cpu", std::move(content));
    const std::string name = file_of(state.key);
    // The masters are what the optimizer differentiates for, and say so.
    const Node* const tensor = builder.tensor(storage, 0, parameter.shape, state.key == master_key);
    if (content_.bare) {
        return builder.lay_out(tensor, name, checkpoint_);
    }
    std::vector<const Node*> items;
    const auto add = [&](std::string_view key, const Node* value) {
        items.push_back(pickle.literal(key));
        items.push_back(value);
    };
    if (form.sub_parameter_shape != nullptr) {
        CKPTFS_ASSIGN(const Node* const shape, sub_parameter_shape(builder, form));
        add("sub_param_shape", shape);
    }
    if (form.cat_dim) {
        add("cat_dim", pickle.integer(*form.cat_dim));
    }
    if (form.sub_parameters) {
        add("param_n_sub_params", pickle.integer(*form.sub_parameters));
    }
    if (form.is_vocabulary) {
        add("vocab_tensor", pickle.boolean(true));
    }
    add("param", tensor);
    return builder.lay_out(pickle.dict(std::move(items)), name, checkpoint_);
}

Result<const Node*> UniversalView::sub_parameter_shape(pt::ArchiveBuilder& builder, const UniversalForm& form) const {
    pickle::Editor& pickle = builder.pickle();
    const std::shared_ptr<const pt::Archive>& archive = checkpoint_->families.front().model_states;
    const auto taken = [&](std::string_view key) -> Result<const Node*> {
        return builder.take(archive, pickle::find(form.sub_parameter_shape, key));
    };
    CKPTFS_ASSIGN(const Node* const patterns, taken("patterns"));
    CKPTFS_ASSIGN(const Node* shape, taken("shape"));
    CKPTFS_ASSIGN(const Node* const axis, taken("partition_dim"));
    if (!form.sub_parameter_sizes.empty()) {
        std::vector<const Node*> sizes;
        for (const std::uint64_t size : form.sub_parameter_sizes) {
            sizes.push_back(pickle.integer(static_cast<std::int64_t>(size)));
        }
        std::vector<const Node*> extents = shape->items;
        extents.at(static_cast<std::size_t>(axis->integer)) = pickle.tuple(std::move(sizes));
        shape = pickle.tuple(std::move(extents));
    }
    const Node* const state = pickle.dict(
        {pickle.literal("patterns"), patterns, pickle.literal("shape"), shape, pickle.literal("partition_dim"), axis});
    return pickle.instance(pickle.global("deepspeed.checkpoint.universal_checkpoint", "SubparamShape"), state);
}

Result<std::shared_ptr<const VirtualFile>> UniversalView::build_module_tensor(const Entry& entry,
                                                                              bool with_data) const {
    const UniversalModuleTensor& tensor = content_.module_tensors[entry.item];
    const std::uint64_t numel = tensor.elements.numel();
    const auto owner = std::make_shared<Owner>(Owner{checkpoint_, {}});
    PieceList content;
    if (with_data) {
        CKPTFS_TRY(model::append_as(tensor.elements, DType::float32, tensor.name, content, owner->keepers));
    } else {
        content.add_zeros(numel * model::itemsize(DType::float32));
    }
    pt::ArchiveBuilder builder;
    const std::size_t storage = builder.add_storage(DType::float32, numel, "cpu", std::move(content));
    const Node* const root =
        builder.pickle().dict({builder.pickle().literal("param"), builder.tensor(storage, 0, tensor.shape)});
    return builder.lay_out(root, file_of(master_key), owner);
}

Result<std::shared_ptr<const VirtualFile>> UniversalView::build_optimizer_state() const {
    const std::shared_ptr<const pt::Archive>& archive = steps_.front().archive;
    const bool is_stage3 = checkpoint_->format == zero::Format::zero3;
    const zero::Field root{archive->root(), {archive->file()->name(), ""}};
    CKPTFS_ASSIGN(const zero::Field state, root.at("optimizer_state_dict"));
    CKPTFS_ASSIGN(const zero::Field base, state.at(is_stage3 ? "optimizer_state_dict" : "base_optimizer_state"));
    CKPTFS_ASSIGN(const zero::Field groups, base.at("param_groups"));
    pt::ArchiveBuilder builder;
    pickle::Editor& pickle = builder.pickle();
    std::vector<const Node*> items;
    for (const auto& [key, value] : pickle::dict_items(state.node)) {
        const std::string_view name =
            key->kind == pickle::Kind::string ? std::string_view(key->text) : std::string_view();
        if (!is_stage3 && std::find(sharded_keys.begin(), sharded_keys.end(), name) != sharded_keys.end()) {
            continue;
        }
        const bool counts_ranks = !is_stage3 && value->kind == pickle::Kind::list && !value->items.empty();
        items.push_back(key);
        if (counts_ranks && name == "group_paddings") {
            items.push_back(list_of(pickle, value->items.size(), 0));
        } else if (counts_ranks && name == "partition_count") {
            items.push_back(
                list_of(pickle, value->items.size(), static_cast<std::int64_t>(checkpoint_->dp_world_size)));
        } else {
            CKPTFS_ASSIGN(const Node* const taken, builder.take(archive, value));
            items.push_back(taken);
        }
    }
    CKPTFS_ASSIGN(const Node* const taken, builder.take(archive, groups.node));
    items.push_back(pickle.literal("param_groups"));
    items.push_back(taken);
    return builder.lay_out(pickle.dict(std::move(items)), std::string(optimizer_state_name), checkpoint_);
}

}  // namespace ckptfs::view
