// Questions about a pickle's tree.
#include <algorithm>

#include "pt/pickle.h"

namespace ckptfs::pickle {

namespace {

template <class Matches>
const Node* find_last(const Node* dict, Matches matches) {
    const auto entries = dict_items(dict);
    const auto found =
        std::find_if(entries.rbegin(), entries.rend(), [&](const auto& entry) { return matches(entry.first); });
    return found == entries.rend() ? nullptr : found->second;
}

}  // namespace

bool is_global(const Node* node, std::string_view module, std::string_view name) {
    if (node == nullptr || node->kind != Kind::global) {
        return false;
    }
    const std::string_view text = node->text;
    return text.size() == module.size() + 1 + name.size() && text.substr(0, module.size()) == module &&
           text[module.size()] == '\n' && text.substr(module.size() + 1) == name;
}

bool is_object_of(const Node* node, std::string_view module, std::string_view name) {
    return node != nullptr && node->kind == Kind::object && is_global(node->items[0], module, name);
}

bool is_dict_like(const Node* node) {
    if (node == nullptr) {
        return false;
    }
    return node->kind == Kind::dict || is_object_of(node, "collections", "OrderedDict") ||
           std::any_of(node->mutations.begin(), node->mutations.end(),
                       [](const Mutation& mutation) { return mutation.kind == Mutation::Kind::set_items; });
}

std::vector<std::pair<const Node*, const Node*>> dict_items(const Node* node) {
    std::vector<std::pair<const Node*, const Node*>> entries;
    if (!is_dict_like(node)) {
        return entries;
    }
    const auto collect = [&](const std::vector<const Node*>& items) {
        for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
            entries.emplace_back(items[i], items[i + 1]);
        }
    };
    if (node->kind == Kind::dict) {
        collect(node->items);
    }
    for (const Mutation& mutation : node->mutations) {
        if (mutation.kind == Mutation::Kind::set_items) {
            collect(mutation.items);
        }
    }
    return entries;
}

const Node* find(const Node* dict, std::string_view key) {
    return find_last(dict, [&](const Node* candidate) { return is_string(candidate, key); });
}

const Node* find(const Node* dict, std::int64_t key) {
    return find_last(
        dict, [&](const Node* candidate) { return candidate->kind == Kind::integer && candidate->integer == key; });
}

const Node* state_of(const Node* object) {
    if (object == nullptr) {
        return nullptr;
    }
    const auto found = std::find_if(object->mutations.rbegin(), object->mutations.rend(),
                                    [](const Mutation& mutation) { return mutation.kind == Mutation::Kind::build; });
    return found == object->mutations.rend() ? nullptr : found->items[0];
}

bool is_string(const Node* node, std::string_view text) {
    return node != nullptr && node->kind == Kind::string && node->text == text;
}

}  // namespace ckptfs::pickle
