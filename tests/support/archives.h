// Golden .pt files and hand-made containers for the tests.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pt/zip_layout.h"
#include "support/fake_files.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"

namespace ckptfs::test {

inline std::string data_path(std::string_view path) {
    return test_data() / path;
}

/// All .pt files below a folder of tests/data, sorted.
inline std::vector<std::string> pt_files(std::string_view folder) {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(data_path(folder))) {
        if (entry.is_regular_file() && entry.path().extension() == ".pt") {
            paths.push_back(entry.path().string());
        }
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

inline std::string base_name(const std::string& path) {
    return std::filesystem::path(path).filename().string();
}

/// A file of tests/data in memory.
inline std::shared_ptr<const MemoryFile> golden(std::string_view path) {
    return std::make_shared<const MemoryFile>(file_bytes(data_path(path)), base_name(std::string(path)));
}

/// A container of these records, as PyTorch lays it out.
inline std::string container(const std::vector<std::pair<std::string, std::string>>& records) {
    pt::ZipLayout layout;
    for (const auto& [name, bytes] : records) {
        layout.add_literal(name, bytes);
    }
    const auto file = VirtualFile::create("container", std::move(layout).finish(), nullptr);
    return *read_all(**file);
}

}  // namespace ckptfs::test
