// The rules of huggingface_hub/serialization/_base.py and of transformers' save_pretrained.
#include "view/weight_shards.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace ckptfs::view {
namespace {

struct ContainerNames {
    std::string_view stem;
    std::string_view extension;
};

constexpr std::string_view index_suffix = ".index.json";

ContainerNames names_of(WeightsContainer container) {
    return container == WeightsContainer::bin ? ContainerNames{"pytorch_model", ".bin"}
                                              : ContainerNames{"model", ".safetensors"};
}

std::string five_digits(std::size_t number) {
    const std::string text = std::to_string(number);
    return text.size() < 5 ? std::string(5 - text.size(), '0') + text : text;
}

/// As json.dumps(indent=2, sort_keys=True) writes it, with a newline.
Result<std::string> index_text(const std::vector<TensorFile>& files, WeightsContainer container,
                               const std::string& name) {
    std::uint64_t parameters = 0;
    std::uint64_t nbytes = 0;
    nlohmann::json weight_map = nlohmann::json::object();
    for (const TensorFile& file : files) {
        for (const ShownTensor& tensor : file.tensors) {
            nbytes += tensor.nbytes();
            parameters += tensor.is_parameter ? tensor.elements.numel() : 0;
            weight_map[tensor.name] = file.name;
            if (container == WeightsContainer::bin) {
                for (const std::string& tied : tensor.tied) {
                    weight_map[tied] = file.name;
                }
            }
        }
    }
    nlohmann::json metadata{{"total_size", nbytes}};
    if (container == WeightsContainer::safetensors) {
        metadata["total_parameters"] = parameters;
    }
    try {
        return nlohmann::json{{"metadata", metadata}, {"weight_map", weight_map}}.dump(2, ' ', true) + "\n";
    } catch (const nlohmann::json::type_error&) {
        return Error(ErrorCode::unsupported, "'" + name + "' cannot hold a name of a tensor that is not UTF-8");
    }
}

}  // namespace

std::uint64_t default_max_shard_nbytes(WeightsContainer container) {
    return container == WeightsContainer::bin ? 5'000'000'000 : 50'000'000'000;
}

std::vector<std::vector<std::size_t>> split_into_shards(const std::vector<std::uint64_t>& nbytes,
                                                        std::uint64_t max_nbytes) {
    std::vector<std::vector<std::size_t>> shards;
    std::vector<std::size_t> current;
    std::uint64_t current_nbytes = 0;
    // Tensors without elements all have the null storage, so that they count as one: the first decides for the rest.
    std::vector<std::size_t> empty;
    for (std::size_t i = 0; i < nbytes.size(); ++i) {
        if (nbytes[i] == 0) {
            empty.push_back(i);
            if (empty.size() > 1) {
                continue;
            }
        }
        if (nbytes[i] > max_nbytes) {
            shards.push_back({i});
            continue;
        }
        if (nbytes[i] > max_nbytes - current_nbytes) {
            shards.push_back(std::move(current));
            current.clear();
            current_nbytes = 0;
        }
        current.push_back(i);
        current_nbytes += nbytes[i];
    }
    if (!current.empty()) {
        shards.push_back(std::move(current));
    }
    if (empty.size() > 1) {
        for (std::vector<std::size_t>& shard : shards) {
            if (std::find(shard.begin(), shard.end(), empty.front()) != shard.end()) {
                shard.insert(shard.end(), empty.begin() + 1, empty.end());
                break;
            }
        }
    }
    return shards;
}

Result<std::vector<TensorFile>> weight_files(std::vector<ShownTensor> tensors, WeightsContainer container,
                                             std::uint64_t max_nbytes) {
    std::vector<std::uint64_t> nbytes;
    nbytes.reserve(tensors.size());
    for (const ShownTensor& tensor : tensors) {
        nbytes.push_back(tensor.nbytes());
    }
    const auto shards = split_into_shards(nbytes, max_nbytes);
    const ContainerNames names = names_of(container);
    std::vector<TensorFile> files;
    for (std::size_t shard = 0; shard < shards.size(); ++shard) {
        TensorFile& file = files.emplace_back();
        file.name = weight_file_name(container);
        if (shards.size() > 1) {
            file.name = std::string(names.stem) + "-" + five_digits(shard + 1) + "-of-" + five_digits(shards.size()) +
                        std::string(names.extension);
        }
        if (container == WeightsContainer::bin) {
            file.form = TensorFile::Form::bin;
        } else {
            file.metadata = {{"format", "pt"}};
        }
        for (const std::size_t index : shards[shard]) {
            file.tensors.push_back(std::move(tensors[index]));
        }
    }
    if (files.size() > 1) {
        TensorFile index;
        index.name = weight_file_name(container) + std::string(index_suffix);
        index.form = TensorFile::Form::text;
        CKPTFS_ASSIGN(index.text, index_text(files, container, index.name));
        files.push_back(std::move(index));
    }
    return files;
}

std::string weight_file_name(WeightsContainer container) {
    const ContainerNames names = names_of(container);
    return std::string(names.stem) + std::string(names.extension);
}

bool is_weight_file_name(std::string_view name) {
    if (name.ends_with(index_suffix)) {
        name.remove_suffix(index_suffix.size());
    }
    const auto is_of = [name](WeightsContainer container) {
        const ContainerNames names = names_of(container);
        return name.starts_with(names.stem) && name.ends_with(names.extension);
    };
    return is_of(WeightsContainer::safetensors) || is_of(WeightsContainer::bin);
}

}  // namespace ckptfs::view
