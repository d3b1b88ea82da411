// Turns a file of one save into what the same file of another save holds.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pt/archive.h"
#include "pt/zip.h"
#include "support/archives.h"

namespace ckptfs::test {

/// How the other save differs.
struct OtherSave {
    int steps_later = 0;  ///< of `step` and the counters
    /// Of the first tensor of numbers, this element alone.
    std::optional<std::uint64_t> only_element = std::nullopt;
    bool other_numbers = true;  ///< every fp32 and 16-bit tensor, each element by far more than a rounding error
};

/// Rewrites a .pt file with true CRCs.
class FileOfOtherSave {
 public:
    FileOfOtherSave(std::filesystem::path path, const OtherSave& change) : path_(std::move(path)), change_(change) {}

    void write() {
        const auto file = std::make_shared<const MemoryFile>(file_bytes(path_.string()), path_.filename().string());
        const auto archive = *pt::Archive::open(file);
        pickle::Editor editor(archive->tree());
        if (change_.steps_later != 0) {
            count_on(archive->root(), editor);
        }
        std::vector<std::pair<std::string, std::string>> records;
        for (const pt::Record& record : archive->records()) {
            std::string bytes = *pt::read_record(*file, record);
            const std::string name = record.name.substr(record.name.find('/') + 1);
            records.emplace_back(record.name, name == "data.pkl" ? *editor.write() : std::move(bytes));
        }
        for (const pt::Archive::Storage& storage : archive->storages()) {
            change(storage, records[storage.record].second);
        }
        const std::string bytes = container(records);
        std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    }

 private:
    void count_on(const pickle::Node* root, pickle::Editor& editor) {
        static const std::set<std::string_view> counters{"step", "global_steps", "base_optimizer_state_step"};
        std::set<const pickle::Node*> seen;
        std::vector<const pickle::Node*> open{root};
        while (!open.empty()) {
            const pickle::Node* node = open.back();
            open.pop_back();
            if (!seen.insert(node).second) {
                continue;
            }
            for (const auto& [key, value] : pickle::dict_items(node)) {
                if (!counters.contains(key->text)) {
                    continue;
                }
                if (value->kind == pickle::Kind::integer) {
                    editor.replace(value, editor.integer(value->integer + change_.steps_later));
                } else if (pt::is_tensor(value)) {
                    steps_.insert(std::string((*pt::tensor_ref(value)).storage.key));
                }
            }
            open.insert(open.end(), node->items.begin(), node->items.end());
            for (const pickle::Mutation& mutation : node->mutations) {
                open.insert(open.end(), mutation.items.begin(), mutation.items.end());
            }
        }
    }

    void change(const pt::Archive::Storage& storage, std::string& bytes) {
        if (steps_.contains(storage.key)) {
            float step = 0;
            std::memcpy(&step, bytes.data(), sizeof step);
            step += static_cast<float>(change_.steps_later);
            std::memcpy(bytes.data(), &step, sizeof step);
            return;
        }
        const bool is_step = storage.numel == 1;
        const std::uint64_t itemsize = model::itemsize(storage.dtype);
        if (!change_.other_numbers || is_step || (itemsize != 2 && storage.dtype != model::DType::float32)) {
            return;
        }
        if (change_.only_element && is_changed_) {
            return;
        }
        is_changed_ = true;
        const std::uint64_t first = change_.only_element.value_or(0);
        const std::uint64_t end = change_.only_element ? first + 1 : storage.numel;
        for (std::uint64_t element = first; element < end; ++element) {
            // The highest bit of bfloat16's fraction, in either type.
            char& byte = bytes[(element + 1) * itemsize - 2];
            byte = static_cast<char>(static_cast<unsigned char>(byte) ^ 0x40U);
        }
    }

    std::filesystem::path path_;
    OtherSave change_;
    bool is_changed_ = false;
    std::set<std::string> steps_;  // keys of the storages that hold one
};

/// Changes the file at `path`.
inline void make_other_save(const std::filesystem::path& path, const OtherSave& change) {
    FileOfOtherSave(path, change).write();
}

}  // namespace ckptfs::test
