// A fixture's tag in memory, whose pickles a test edits by paths of keys.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "pt/archive_editor.h"
#include "support/memory_source.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"

namespace ckptfs::test {

using KeyPath = std::vector<std::variant<std::string, std::int64_t>>;

/// The value below `node`: by key of a dict or attribute of an object, by index of a list or integer key of a dict.
inline const pickle::Node* at_path(const pickle::Node* node, const KeyPath& path) {
    for (const auto& step : path) {
        if (const auto* key = std::get_if<std::string>(&step)) {
            node = pickle::find(pickle::is_dict_like(node) ? node : pickle::state_of(node), *key);
        } else if (node != nullptr && node->kind == pickle::Kind::list) {
            node = node->items.at(static_cast<std::size_t>(std::get<std::int64_t>(step)));
        } else {
            node = pickle::find(node, std::get<std::int64_t>(step));
        }
        if (node == nullptr) {
            return nullptr;
        }
    }
    return node;
}

class EditedTag {
 public:
    using Edit = std::function<void(pt::ArchiveEditor&, const pickle::Node* root)>;

    explicit EditedTag(const std::string& fixture) {
        const std::filesystem::path directory = test_data() / "zero" / fixture;
        const std::filesystem::path tag = directory / file_bytes((directory / "latest").string());
        for (const auto& entry : std::filesystem::directory_iterator(tag)) {
            if (entry.is_regular_file()) {
                files_[entry.path().filename().string()] = file_bytes(entry.path().string());
            }
        }
    }

    std::map<std::string, std::string>& files() { return files_; }

    /// The files whose names contain `part`.
    [[nodiscard]] std::vector<std::string> names(const std::string& part) const {
        std::vector<std::string> found;
        for (const auto& [name, bytes] : files_) {
            if (name.find(part) != std::string::npos) {
                found.push_back(name);
            }
        }
        EXPECT_FALSE(found.empty()) << part;
        return found;
    }

    void edit(const std::string& name, const Edit& change) {
        MemorySource source;
        source.add(name, files_.at(name));
        const auto archive = pt::Archive::open(*source.open(name)).value();
        pt::ArchiveEditor editor(archive);
        change(editor, archive->root());
        const auto edited = editor.lay_out(name, nullptr).value();
        std::string bytes(edited->size(), '\0');
        ASSERT_TRUE(edited->read(0, std::as_writable_bytes(std::span(bytes))).ok());
        files_[name] = bytes;
    }

    /// Another value of the same kind in place of the one that is there.
    void change(const std::string& name, const KeyPath& path) {
        edit(name, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            const pickle::Node* value = at_path(root, path);
            ASSERT_NE(value, nullptr) << name;
            editor.pickle().replace(value, other_value(editor.pickle(), value));
        });
    }

    void set(const std::string& name, const KeyPath& path,
             const std::function<const pickle::Node*(pickle::Editor&)>& value) {
        edit(name, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            const pickle::Node* old = at_path(root, path);
            ASSERT_NE(old, nullptr) << name;
            editor.pickle().replace(old, value(editor.pickle()));
        });
    }

    /// A tensor without dimensions at a key that the dict at `path` gets. `like`: the path of any tensor.
    void add_number(const std::string& name, const KeyPath& path, const std::string& key, float number,
                    const KeyPath& like) {
        add_tensor(name, path, key, {number}, {}, like);
    }

    /// The same with one dimension.
    void add_numbers(const std::string& name, const KeyPath& path, const std::string& key,
                     const std::vector<float>& numbers, const KeyPath& like) {
        add_tensor(name, path, key, numbers, {numbers.size()}, like);
    }

    void add_tensor(const std::string& name, const KeyPath& path, const std::string& key,
                    const std::vector<float>& numbers, const std::vector<std::uint64_t>& shape, const KeyPath& like) {
        edit(name, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            const auto tensor = pt::tensor_ref(at_path(root, like));
            ASSERT_TRUE(tensor.ok()) << name;
            std::string bytes(numbers.size() * sizeof(float), '\0');
            std::memcpy(bytes.data(), numbers.data(), bytes.size());
            PieceList content;
            content.add_literal(bytes);
            const std::size_t storage =
                editor.add_storage(model::DType::float32, numbers.size(), "cpu", std::move(content));
            add_item(editor.pickle(), at_path(root, path), key, editor.tensor(*tensor, storage, 0, shape));
        });
    }

    /// A real number at a key that the dict at `path` gets.
    void add_real(const std::string& name, const KeyPath& path, const std::string& key, double number) {
        edit(name, [&](pt::ArchiveEditor& editor, const pickle::Node* root) {
            pickle::Node* value = editor.pickle().copy(editor.pickle().none());
            value->kind = pickle::Kind::real;
            value->real = number;
            value->opcode = 0;
            add_item(editor.pickle(), at_path(root, path), key, value);
        });
    }

    void write_to(const std::filesystem::path& directory) const {
        std::filesystem::create_directories(directory);
        for (const auto& [name, bytes] : files_) {
            std::ofstream(directory / name, std::ios::binary) << bytes;
        }
    }

    /// Everything in a directory "tag".
    [[nodiscard]] std::shared_ptr<const MemorySource> source() const {
        auto source = std::make_shared<MemorySource>();
        for (const auto& [name, bytes] : files_) {
            source->add("tag/" + name, bytes);
        }
        return source;
    }

 private:
    static void add_item(pickle::Editor& pickle, const pickle::Node* dict, const std::string& key,
                         const pickle::Node* value) {
        ASSERT_NE(dict, nullptr);
        pickle::Node* extended = pickle.copy(dict);
        extended->items.insert(extended->items.end(), {pickle.string(key), value});
        pickle.replace(dict, extended);
    }

    static const pickle::Node* other_value(pickle::Editor& pickle, const pickle::Node* value) {
        pickle::Node* other = pickle.copy(value);
        switch (value->kind) {
            case pickle::Kind::integer:
                return pickle.integer(value->integer + 1);
            case pickle::Kind::boolean:
                return pickle.boolean(value->integer == 0);
            case pickle::Kind::real:
                other->real = 2 * value->real + 1;
                return other;
            case pickle::Kind::string:
                return pickle.string(value->text + "x");
            case pickle::Kind::list:
            case pickle::Kind::tuple:
                other->items.front() = other_value(pickle, value->items.front());
                return other;
            default:
                return pickle.integer(1);
        }
    }

    std::map<std::string, std::string> files_;
};

}  // namespace ckptfs::test
