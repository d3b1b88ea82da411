// Layers are found by the parameters' names: PipelineModule names them "<layer>.<name in the layer>" (module.py _build,
// save_state_dict).
#include "zero/layer_files.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "util/path.h"
#include "util/shape.h"
#include "zero/mixed_saves.h"

namespace ckptfs::zero {
namespace {

struct LayerParameter {
    std::uint64_t layer = 0;
    std::string_view name;  ///< in the layer
};

// nullopt for "tied_modules.<key>.<name>".
std::optional<LayerParameter> layer_parameter(std::string_view name) {
    LayerParameter result;
    const char* const end = name.data() + name.size();
    const auto [rest, failure] = std::from_chars(name.data(), end, result.layer);
    if (failure != std::errc() || rest == end || *rest != '.') {
        return std::nullopt;
    }
    result.name = name.substr(static_cast<std::size_t>(rest - name.data()) + 1);
    return result;
}

Result<RankFile> open_file(const Source& source, const std::string& directory, const std::string& name) {
    RankFile file;
    file.name = name;
    CKPTFS_ASSIGN(file.info, source.stat_target(join_path(directory, name)));
    CKPTFS_ASSIGN(file.file, source.open(join_path(directory, name)));
    return file;
}

void keep_tensors(const pt::Archive& archive, std::uint64_t layer, Family& family) {
    for (ModuleTensor& tensor :
         module_tensors(archive, archive.root(), std::to_string(layer) + ".", family.layers.gaps)) {
        family.layers.tensors.push_back(std::move(tensor));
    }
}

/// The layer files of one family.
class LayerFiles {
 public:
    LayerFiles(const Source& source, const std::string& directory, const Inventory& inventory,
               const ModelStates& states, std::size_t family_index, const model::Rank& content, Family& family)
        : source_(source),
          directory_(directory),
          inventory_(inventory),
          states_(states),
          family_index_(family_index),
          content_(content),
          family_(family) {}

    Result<void> run() {
        for (std::size_t g = 0; g < family_.groups.size(); ++g) {
            std::optional<model::DType> dtype;
            for (const model::Parameter& parameter : content_.groups[g].parameters) {
                CKPTFS_ASSIGN(const std::optional<model::DType> found, find(parameter));
                dtype = dtype ? dtype : found;
            }
            if (dtype) {
                family_.groups[g].flat->weights_itemsize = model::itemsize(*dtype);
            }
        }
        return {};
    }

 private:
    // The dtype of the parameter's weight; nullopt where its file does not follow from its name (tied layers).
    Result<std::optional<model::DType>> find(const model::Parameter& parameter) {
        constexpr std::optional<model::DType> nowhere;
        const auto in_layer = layer_parameter(parameter.name);
        if (!in_layer) {
            return nowhere;
        }
        CKPTFS_ASSIGN(const std::shared_ptr<const pt::Archive> archive, archive_of(in_layer->layer, parameter));
        const pickle::Node* node = pickle::find(archive->root(), in_layer->name);
        if (!pt::is_tensor(node)) {
            return nowhere;  // a layer may name what it saves as it likes
        }
        auto tensor = pt::tensor_ref(node);
        const std::string where = archive->file()->name() + ": " + std::string(in_layer->name);
        if (!tensor) {
            return tensor.error().within(where);
        }
        if (tensor->sizes != parameter.shape) {
            return mixed_saves(where + " has the shape " + shape_text(tensor->sizes) + ", expected " +
                               shape_text(parameter.shape) + " as " + states_.archive->file()->name() + " says");
        }
        return tensor->contiguous() ? std::optional(tensor->storage.dtype) : nowhere;
    }

    Result<std::shared_ptr<const pt::Archive>> archive_of(std::uint64_t layer, const model::Parameter& parameter) {
        std::shared_ptr<const pt::Archive>& archive = archives_[layer];
        if (archive) {
            return archive;
        }
        CKPTFS_ASSIGN(RankFile file, file_of(layer, parameter));
        CKPTFS_ASSIGN(archive, pt::Archive::open(file.file));
        keep_tensors(*archive, layer, family_);
        family_.layers.files.push_back(std::move(file));
        return archive;
    }

    Result<RankFile> file_of(std::uint64_t layer, const model::Parameter& parameter) const {
        const auto slices = inventory_.layers.find(layer);
        const std::uint64_t slice = family_index_ % slices_of_a_layer();
        if (slices == inventory_.layers.end() || !slices->second.contains(slice)) {
            const std::string digits = std::to_string(layer);
            return Error(ErrorCode::incomplete,
                         source_.display(directory_) + ": the file of layer " + digits + " (layer_" +
                             (digits.size() < 2 ? "0" : "") + digits + "*-model_states.pt)" +
                             (slices_of_a_layer() > 1 ? " of tensor-parallel rank " + std::to_string(slice) : "") +
                             " is missing, but " + states_.archive->file()->name() + " lists its parameter " +
                             parameter.name +
                             "; wait for a running save to finish, or gather the files of all nodes here");
        }
        return open_file(source_, directory_, slices->second.at(slice));
    }

    // Model-parallel ranks are numbered stage by stage (topology.py PipeModelDataParallelTopology). Files before 0.19.5
    // do not say the tensor-parallel degree; each layer has as many files.
    [[nodiscard]] std::uint64_t slices_of_a_layer() const {
        const pickle::Node* degrees = pickle::find(states_.archive->root(), "checkpoint_parallel_dimensions");
        const pickle::Node* degree = pickle::find(degrees, "tp_degree");
        if (degree != nullptr && degree->kind == pickle::Kind::integer && degree->integer > 0) {
            return static_cast<std::uint64_t>(degree->integer);
        }
        std::uint64_t most = 1;
        for (const auto& [layer, slices] : inventory_.layers) {
            most = std::max<std::uint64_t>(most, slices.size());
        }
        return most;
    }

    const Source& source_;
    const std::string& directory_;
    const Inventory& inventory_;
    const ModelStates& states_;
    std::size_t family_index_;
    const model::Rank& content_;
    Family& family_;
    std::map<std::uint64_t, std::shared_ptr<const pt::Archive>> archives_;
};

}  // namespace

Result<void> read_layer_files(const Source& source, const std::string& directory, const Inventory& inventory,
                              const ModelStates& states, std::size_t family_index, const model::Rank& content,
                              Family& family) {
    const pickle::Node* module = pickle::find(states.archive->root(), "module");
    if (module == nullptr || module->kind != pickle::Kind::none) {
        return {};
    }
    return LayerFiles(source, directory, inventory, states, family_index, content, family).run();
}

Result<void> read_other_layer_files(const Source& source, const std::string& directory, const Inventory& inventory,
                                    std::vector<Family>& families) {
    std::set<std::string_view> opened;
    for (const Family& family : families) {
        for (const RankFile& file : family.layers.files) {
            opened.insert(file.name);
        }
    }
    const auto is_opened = [&opened](const auto& slice) { return opened.contains(slice.second); };
    // What an older run with more layers left behind comes after the last one.
    const auto last = std::find_if(inventory.layers.rbegin(), inventory.layers.rend(), [&](const auto& layer) {
        return std::any_of(layer.second.begin(), layer.second.end(), is_opened);
    });
    for (auto layer = inventory.layers.begin(); layer != last.base(); ++layer) {
        for (const auto& [slice, name] : layer->second) {
            if (!opened.contains(name)) {
                CKPTFS_ASSIGN(RankFile file, open_file(source, directory, name));
                CKPTFS_ASSIGN(const std::shared_ptr<const pt::Archive> archive, pt::Archive::open(file.file));
                // The families of the last stage come last, one for each slice.
                const std::size_t of_stage = std::min(families.size(), layer->second.size());
                const std::size_t slice_index = std::min<std::size_t>(slice, of_stage - 1);
                keep_tensors(*archive, layer->first, families[families.size() - of_stage + slice_index]);
                families.back().layers.files.push_back(std::move(file));
            }
        }
    }
    return {};
}

}  // namespace ckptfs::zero
