// Setting entries of pickled dicts.
#include "view/dict_edit.h"

#include <string>

namespace ckptfs::view {

namespace {

void set_items(pickle::Node& object, std::size_t before, std::vector<const pickle::Node*> items) {
    pickle::Mutation set;
    set.kind = pickle::Mutation::Kind::set_items;
    set.items = std::move(items);
    object.mutations.insert(object.mutations.begin() + static_cast<std::ptrdiff_t>(before), std::move(set));
}

}  // namespace

Result<const pickle::Node*> refilled(pickle::Editor& pickle, const pickle::Node* like,
                                     std::vector<const pickle::Node*> items) {
    if (!pickle::is_dict_like(like)) {
        return Error(ErrorCode::damaged, "another value stands where a dict is expected");
    }
    if (like->kind == pickle::Kind::dict) {
        return pickle.dict(std::move(items));
    }
    pickle::Node* filled = pickle.copy(like);
    std::erase_if(filled->mutations,
                  [](const pickle::Mutation& mutation) { return mutation.kind == pickle::Mutation::Kind::set_items; });
    if (!items.empty()) {
        set_items(*filled, 0, std::move(items));
    }
    return static_cast<const pickle::Node*>(filled);
}

Result<void> set_or_add(pickle::Editor& pickle, const pickle::Node* dict, std::string_view key,
                        const pickle::Node* value) {
    if (pickle::find(dict, key) != nullptr) {
        return pickle.set_item(dict, key, value);
    }
    if (!pickle::is_dict_like(dict)) {
        return Error(ErrorCode::damaged, "another value stands where a dict is expected");
    }
    pickle::Node* extended = pickle.copy(dict);
    if (extended->kind == pickle::Kind::dict) {
        extended->items.insert(extended->items.end(), {pickle.string(key), value});
    } else {
        set_items(*extended, extended->mutations.size(), {pickle.string(key), value});
    }
    pickle.replace(dict, extended);
    return {};
}

Error changed_since_read(std::string_view finding) {
    return {ErrorCode::stale,
            "the source changed since its tag was read: " + std::string(finding) + "; open the file again"};
}

}  // namespace ckptfs::view
