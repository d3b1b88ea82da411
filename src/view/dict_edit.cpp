// See the header.
#include "view/dict_edit.h"

namespace ckptfs::view {

const pickle::Node* refilled(pickle::Editor& pickle, const pickle::Node* like, std::vector<const pickle::Node*> items) {
    if (like->kind == pickle::Kind::dict) {
        return pickle.dict(std::move(items));
    }
    pickle::Node* filled = pickle.copy(like);
    std::erase_if(filled->mutations,
                  [](const pickle::Mutation& mutation) { return mutation.kind == pickle::Mutation::Kind::set_items; });
    if (!items.empty()) {
        pickle::Mutation set;
        set.kind = pickle::Mutation::Kind::set_items;
        set.items = std::move(items);
        filled->mutations.insert(filled->mutations.begin(), std::move(set));
    }
    return filled;
}

Result<void> set_or_add(pickle::Editor& pickle, const pickle::Node* dict, std::string_view key,
                        const pickle::Node* value) {
    if (pickle::find(dict, key) != nullptr) {
        return pickle.set_item(dict, key, value);
    }
    pickle::Node* extended = pickle.copy(dict);
    extended->items.insert(extended->items.end(), {pickle.string(key), value});
    pickle.replace(dict, extended);
    return {};
}

}  // namespace ckptfs::view
