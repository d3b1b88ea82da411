// See the header.
#include "view/refilled.h"

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

}  // namespace ckptfs::view
