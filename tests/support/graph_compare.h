// Compares two .pt files as object graphs: values, key order, tensor geometry, storage sizes and bytes.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs::test {

/// Differences, one line each, at most `limit`; empty when equal. Subtrees under a key in `ignored_keys` are skipped.
[[nodiscard]] std::vector<std::string> graph_differences(const std::shared_ptr<const File>& left,
                                                         const std::shared_ptr<const File>& right,
                                                         const std::set<std::string>& ignored_keys,
                                                         std::size_t limit = 10);

}  // namespace ckptfs::test
