// Every kind of bad input, each made by breaking a copy of a real checkpoint.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "ckptfs/open.h"
#include "harness.h"
#include "pt/archive.h"

namespace ckptfs::cli::test {

struct Breakage {
    std::string name;
    std::function<void(const std::filesystem::path& tag)> apply;  ///< to a tag of stage1_bf16_ws3
    int exit_code = 0;                                            ///< of mounting it
    std::string says;                                             ///< part of the error
};

inline void PrintTo(const Breakage& breakage, std::ostream* out) {
    *out << breakage.name;
}

inline const std::string rank_1 = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt";
inline const std::string model_states = "mp_rank_00_model_states.pt";

inline void flip_byte(const std::filesystem::path& path, std::streamoff offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const int byte = file.get();
    file.seekp(offset);
    file.put(static_cast<char>(byte ^ 1));
}

/// Where the data of the first group's state `key` lie in an optimizer file.
inline std::streamoff state_offset(const std::filesystem::path& tag, const std::string& file, const std::string& key) {
    const auto source = open_directory(tag.string());
    const auto archive = pt::Archive::open(*(*source)->open(file));
    const pickle::Node* optimizer = pickle::find((*archive)->root(), "optimizer_state_dict");
    const pickle::Node* state = pickle::find(pickle::find(optimizer, "base_optimizer_state"), "state");
    const auto tensor = pt::tensor_ref(pickle::find(pickle::find(state, 0), key));
    return static_cast<std::streamoff>(
        (*archive)->storages()[*(*archive)->storage_index(tensor->storage.key)].place.offset);
}

inline void replace_from(const std::string& fixture, const std::string& file, const std::filesystem::path& tag) {
    const auto from = fixtures / fixture;
    std::filesystem::copy_file(from / tag_name(from) / file, tag / file,
                               std::filesystem::copy_options::overwrite_existing);
}

inline void remove_files(const std::filesystem::path& tag, const std::string& part) {
    std::vector<std::filesystem::path> doomed;
    for (const auto& entry : std::filesystem::directory_iterator(tag)) {
        if (entry.path().filename().string().find(part) != std::string::npos) {
            doomed.push_back(entry.path());
        }
    }
    for (const auto& path : doomed) {
        std::filesystem::remove(path);
    }
}

inline std::vector<Breakage> breakages() {
    namespace fs = std::filesystem;
    return {
        {"MissingRank", [](const fs::path& tag) { fs::remove(tag / rank_1); }, 4, "rank 1 is missing"},
        {"TruncatedRank", [](const fs::path& tag) { fs::resize_file(tag / rank_1, fs::file_size(tag / rank_1) / 2); },
         4, rank_1},
        {"CorruptZip",
         [](const fs::path& tag) {
             flip_byte(tag / rank_1, static_cast<std::streamoff>(fs::file_size(tag / rank_1)) - 150);
         },
         4, rank_1},
        {"CorruptPickle", [](const fs::path& tag) { flip_byte(tag / rank_1, 200); }, 4, rank_1},
        {"OtherStep",
         [](const fs::path& tag) {
             const std::streamoff offset = state_offset(tag, rank_1, "step");
             std::fstream file(tag / rank_1, std::ios::in | std::ios::out | std::ios::binary);
             file.seekp(offset);
             const float step = 7;
             file.write(reinterpret_cast<const char*>(&step), sizeof step);
         },
         4, "step 7"},
        {"OtherWorldSize", [](const fs::path& tag) { replace_from("stage1_bf16_ws3_at_ws2", model_states, tag); }, 4,
         "dp_world_size 2"},
        {"WeightsOnly", [](const fs::path& tag) { remove_files(tag, "optim_states"); }, 4, "weights only"},
        {"EmptyTag", [](const fs::path& tag) { remove_files(tag, ".pt"); }, 4, "holds no ZeRO files"},
        {"NothingAtAll",
         [](const fs::path& tag) {
             const fs::path root = tag.parent_path();
             fs::remove_all(root);
             fs::create_directory(root);
         },
         3, "it is empty"},
        {"WeightsFile",
         [](const fs::path& tag) {
             const fs::path root = tag.parent_path();
             fs::remove_all(root);
             fs::create_directory(root);
             std::ofstream(root / "model.safetensors") << "x";
         },
         3, "weights only ('model.safetensors')"},
        {"FilesOfTwoStages",
         [](const fs::path& tag) {
             fs::copy_file(tag / model_states, tag / "zero_pp_rank_0_mp_rank_00_model_states.pt");
         },
         4, "which only stage 3 writes"},
        {"DanglingLatest", [](const fs::path& tag) { fs::remove_all(tag); }, 4, "there is no such directory"},
        {"LegacyContainer",
         [](const fs::path& tag) {
             std::ofstream(tag / rank_1, std::ios::binary | std::ios::trunc)
                 << std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 15) +
                        std::string(100, 'x');
         },
         5, "legacy"},
    };
}

}  // namespace ckptfs::cli::test
