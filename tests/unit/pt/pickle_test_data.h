// The golden pickles and hand-made ones, for the tests of the pickle layer.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pt/pickle.h"
#include "support/test_data.h"

namespace ckptfs::pickle::test {

struct Golden {
    std::string name;
    std::string bytes;
};

/// One file of tests/data/pickle, without ".pkl".
inline std::string golden(const std::string& name) {
    const std::string path = test_data() / "pickle" / (name + ".pkl");
    std::ifstream file(path, std::ios::binary);
    EXPECT_TRUE(file.is_open()) << path;
    return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<Golden> all_goldens() {
    std::vector<Golden> goldens;
    for (const auto& entry : std::filesystem::directory_iterator(test_data() / "pickle")) {
        if (entry.path().extension() == ".pkl") {
            goldens.push_back({entry.path().stem(), golden(entry.path().stem())});
        }
    }
    std::sort(goldens.begin(), goldens.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    EXPECT_GE(goldens.size(), 70U);
    return goldens;
}

/// A literal with its zero bytes.
template <std::size_t size>
std::string raw(const char (&literal)[size]) {
    return std::string(literal, size - 1);
}

inline std::string protocol2(const std::string& body) {
    return raw("\x80\x02") + body;
}

/// The tree of a pickle that must be sound.
inline std::shared_ptr<const Tree> parsed(std::string_view bytes) {
    auto tree = Tree::parse(bytes);
    if (!tree.ok()) {
        ADD_FAILURE() << tree.error().message();
        return Tree::parse("\x80\x02N.").value();
    }
    return *tree;
}

/// What an editor writes, which must succeed.
inline std::string written(const Editor& editor) {
    auto bytes = editor.write();
    if (!bytes.ok()) {
        ADD_FAILURE() << bytes.error().message();
        return {};
    }
    return *bytes;
}

inline std::string rewritten(std::string_view bytes) {
    return written(Editor(parsed(bytes)));
}

}  // namespace ckptfs::pickle::test
