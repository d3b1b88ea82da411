// Python regular expressions that parameters' names are matched with, as checkpoints keep them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "util/name_expression.h"

namespace ckptfs::zero {

/// Patterns numbered from 0 in the order in which they were added. Matches as Python's re.match(): from the name's
/// beginning, to its end only where the pattern says so.
class NamePatterns {
 public:
    /// `unsupported` for a pattern that is larger than a name needs, for more of them than a model needs, and for the
    /// little of Python's syntax that PCRE2 lacks.
    Result<void> add(std::string_view pattern);

    /// The numbers of those that match, in order. `unsupported` where one takes more than a name is worth.
    [[nodiscard]] Result<std::vector<std::size_t>> matches(const std::string& name) const;
    [[nodiscard]] const std::string& text(std::size_t pattern) const { return texts_[pattern]; }
    [[nodiscard]] std::size_t size() const { return texts_.size(); }

 private:
    std::vector<std::string> texts_;
    /// Of "^name$", which DeepSpeed writes for every parameter: found without trying each.
    std::unordered_map<std::string, std::vector<std::size_t>> whole_names_;
    std::vector<std::pair<std::size_t, NameExpression>> others_;
    std::size_t others_nbytes_ = 0;
};

}  // namespace ckptfs::zero
