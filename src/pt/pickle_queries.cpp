// Questions about a pickle's tree.
#include <algorithm>

#include "pt/pickle.h"

namespace ckptfs::pickle {

namespace {

/// The value of the last pair in (key, value, key, value …) whose key matches, or nullptr.
template <class Matches>
const Node* find_last_in(const std::vector<const Node*>& items, const Matches& matches) {
    for (std::size_t end = items.size() / 2 * 2; end > 0; end -= 2) {
        if (matches(items[end - 2])) {
            return items[end - 1];
        }
    }
    return nullptr;
}

template <class Matches>
const Node* find_last(const Node* dict, const Matches& matches) {
    if (!is_dict_like(dict)) {
        return nullptr;
    }
    for (std::size_t i = dict->mutations.size(); i-- > 0;) {
        const Mutation& mutation = dict->mutations[i];
        const Node* const found =
            mutation.kind == Mutation::Kind::set_items ? find_last_in(mutation.items, matches) : nullptr;
        if (found != nullptr) {
            return found;
        }
    }
    return dict->kind == Kind::dict ? find_last_in(dict->items, matches) : nullptr;
}

}  // namespace

const Node* item(const Node* node, std::size_t index) {
    const bool has_items =
        node != nullptr && (node->kind == Kind::list || node->kind == Kind::tuple || node->kind == Kind::object);
    return has_items && index < node->items.size() ? node->items[index] : nullptr;
}

std::optional<GlobalName> global_name(const Node* node) {
    if (node == nullptr || node->kind != Kind::global) {
        return std::nullopt;
    }
    if (!node->items.empty()) {
        return GlobalName{node->items[0]->text, node->items[1]->text};
    }
    const std::string_view text = node->text;
    const std::size_t split = text.find('\n');
    return GlobalName{text.substr(0, split), text.substr(split + 1)};
}

bool is_global(const Node* node, std::string_view module, std::string_view name) {
    return global_name(node) == GlobalName{module, name};
}

bool is_object_of(const Node* node, std::string_view module, std::string_view name) {
    return node != nullptr && node->kind == Kind::object && is_global(item(node, 0), module, name);
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

DictIndex::DictIndex(const Node* dict) {
    for (const auto& [key, value] : dict_items(dict)) {
        if (key->kind == Kind::string) {
            by_string_.insert_or_assign(key->text, value);
        } else if (key->kind == Kind::integer) {
            by_integer_.insert_or_assign(key->integer, value);
        }
    }
}

const Node* DictIndex::find(std::string_view key) const {
    const auto found = by_string_.find(key);
    return found == by_string_.end() ? nullptr : found->second;
}

const Node* DictIndex::find(std::int64_t key) const {
    const auto found = by_integer_.find(key);
    return found == by_integer_.end() ? nullptr : found->second;
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
