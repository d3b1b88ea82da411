// Edits of dicts that a tree's Editor has no single call for.
#pragma once

#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "pt/pickle.h"

namespace ckptfs::view {

/// A dict or OrderedDict like `like`, holding `items` (key, value, key, value …) and nothing of its old ones.
/// `damaged` where `like` is neither.
Result<const pickle::Node*> refilled(pickle::Editor& pickle, const pickle::Node* like,
                                     std::vector<const pickle::Node*> items);

/// Replaces the value at `key` of a dict or OrderedDict, or adds it at the end. `damaged` where it is neither.
Result<void> set_or_add(pickle::Editor& pickle, const pickle::Node* dict, std::string_view key,
                        const pickle::Node* value);

/// `stale`, of a file that is read again when it is opened and is not what it was when its tag was read.
[[nodiscard]] Error changed_since_read(std::string_view finding);

}  // namespace ckptfs::view
