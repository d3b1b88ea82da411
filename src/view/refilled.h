// Dicts with new entries, in the form of old ones.
#pragma once

#include <vector>

#include "pt/pickle.h"

namespace ckptfs::view {

/// A dict or OrderedDict like `like`, holding `items` (key, value, key, value …) and nothing of its old ones.
const pickle::Node* refilled(pickle::Editor& pickle, const pickle::Node* like, std::vector<const pickle::Node*> items);

}  // namespace ckptfs::view
