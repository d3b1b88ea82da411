// Python regular expressions that parameters' names are matched with, as checkpoints keep them.
#pragma once

#include <cstddef>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ckptfs/result.h"

namespace ckptfs::zero {

/// Patterns numbered from 0 in the order in which they were added. Matches as Python's re.match(): from the name's
/// beginning, to its end only where the pattern says so.
class NamePatterns {
 public:
    /// `unsupported` for a pattern that is larger than a name needs, for more of them than a model needs, for
    /// look-aheads and back-references, and for syntax that ECMAScript does not share with Python.
    Result<void> add(std::string_view pattern);

    /// The numbers of those that match, in order.
    [[nodiscard]] std::vector<std::size_t> matches(const std::string& name) const;
    [[nodiscard]] const std::string& text(std::size_t pattern) const { return texts_[pattern]; }
    [[nodiscard]] std::size_t size() const { return texts_.size(); }

 private:
    std::vector<std::string> texts_;
    /// Of "^name$", which DeepSpeed writes for every parameter: found without trying each.
    std::unordered_map<std::string, std::vector<std::size_t>> whole_names_;
    std::vector<std::pair<std::size_t, std::regex>> others_;
    std::size_t others_size_ = 0;
};

}  // namespace ckptfs::zero
