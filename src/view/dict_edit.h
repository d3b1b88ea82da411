// Edits of dicts that a tree's Editor has no single call for.
#pragma once

#include <string_view>
#include <vector>

#include "pt/pickle.h"

namespace ckptfs::view {

/// A dict or OrderedDict like `like`, holding `items` (key, value, key, value …) and nothing of its old ones.
const pickle::Node* refilled(pickle::Editor& pickle, const pickle::Node* like, std::vector<const pickle::Node*> items);

/// Replaces the value at `key` of a plain dict, or adds it at the end.
Result<void> set_or_add(pickle::Editor& pickle, const pickle::Node* dict, std::string_view key,
                        const pickle::Node* value);

}  // namespace ckptfs::view
