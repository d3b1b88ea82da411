// Field access with errors that name the field.
#include "zero/fields.h"

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

}  // namespace

Place Place::in(std::string_view key) const {
    return {file, field.empty() ? std::string(key) : field + "." + std::string(key)};
}

Place Place::in(std::size_t index) const {
    return {file, field + "[" + std::to_string(index) + "]"};
}

Error Place::damaged(std::string_view expectation) const {
    return {ErrorCode::damaged,
            file + ": " + field + " is not what DeepSpeed writes: expected " + std::string(expectation)};
}

Error Place::inconsistent(std::string_view finding) const {
    return {ErrorCode::inconsistent, file + ": " + field + ": " + std::string(finding)};
}

Result<void> Field::expect_dict() const {
    if (!pickle::is_dict_like(node)) {
        return place.damaged("a dict");
    }
    return {};
}

Result<Field> Field::at(std::string_view key) const {
    CKPTFS_TRY(expect_dict());
    const Node* value = pickle::find(node, key);
    const Place inner = place.in(key);
    if (value == nullptr) {
        return inner.damaged("this key to be there");
    }
    return Field{value, inner};
}

Result<Field> Field::at(std::int64_t key) const {
    CKPTFS_TRY(expect_dict());
    const Node* value = pickle::find(node, key);
    const Place inner = place.in(static_cast<std::size_t>(key));
    if (value == nullptr) {
        return inner.damaged("this key to be there");
    }
    return Field{value, inner};
}

Result<std::uint64_t> Field::as_count() const {
    if (node->kind != Kind::integer || node->integer < 0) {
        return place.damaged("a count");
    }
    return static_cast<std::uint64_t>(node->integer);
}

Result<std::vector<Field>> Field::as_list() const {
    if (node->kind != Kind::list && node->kind != Kind::tuple) {
        return place.damaged("a list");
    }
    std::vector<Field> fields;
    fields.reserve(node->items.size());
    for (std::size_t i = 0; i < node->items.size(); ++i) {
        fields.push_back({node->items[i], place.in(i)});
    }
    return fields;
}

Result<std::vector<std::uint64_t>> Field::as_shape() const {
    const Node* extents = node;
    if (pickle::is_object_of(node, "torch", "Size")) {
        extents = pickle::item(pickle::item(node, 1), 0);
    }
    if (extents == nullptr) {
        return place.damaged("a torch.Size");
    }
    if (extents->kind != Kind::tuple && extents->kind != Kind::list) {
        return place.damaged("a torch.Size");
    }
    std::vector<std::uint64_t> shape;
    shape.reserve(extents->items.size());
    for (const Node* extent : extents->items) {
        if (extent->kind != Kind::integer || extent->integer < 0) {
            return place.damaged("a torch.Size of counts");
        }
        shape.push_back(static_cast<std::uint64_t>(extent->integer));
    }
    return shape;
}

}  // namespace ckptfs::zero
