// Scalars of param_groups by name.
#include "zero/content_numbers.h"

#include <optional>
#include <string>
#include <utility>

namespace ckptfs::zero {
namespace {

using pickle::Kind;
using pickle::Node;

std::optional<model::Scalar> as_scalar(const Node* node) {
    switch (node->kind) {
        case Kind::boolean:
            return node->integer != 0;
        case Kind::integer:
            return node->integer;
        case Kind::real:
            return node->real;
        case Kind::string:
            return node->text;
        default:
            return std::nullopt;
    }
}

void add_scalars(const std::string& name, const Node* node, model::Scalars& out) {
    if (auto scalar = as_scalar(node)) {
        out.emplace_back(name, *std::move(scalar));
    } else if (node->kind == Kind::list || node->kind == Kind::tuple) {
        for (std::size_t i = 0; i < node->items.size(); ++i) {
            if (auto item = as_scalar(node->items[i])) {
                out.emplace_back(name + "[" + std::to_string(i) + "]", *std::move(item));
            }
        }
    }
}

}  // namespace

std::vector<model::Scalars> group_hyper_parameters(const Family& family) {
    std::vector<model::Scalars> result;
    if (family.optimizer.empty()) {
        return result;
    }
    const Node* optimizer = pickle::find(family.optimizer.front().structure->root(), "optimizer_state_dict");
    // At stage 3 the inner optimizer's dict has the outer one's name.
    const Node* inner = pickle::find(optimizer, family.zero3 ? "optimizer_state_dict" : "base_optimizer_state");
    const Node* groups = pickle::find(inner, "param_groups");
    if (groups == nullptr || groups->kind != Kind::list) {
        return result;
    }
    for (const Node* group : groups->items) {
        model::Scalars& scalars = result.emplace_back();
        for (const auto& [key, value] : pickle::dict_items(group)) {
            if (key->kind == Kind::string && key->text != "params") {
                add_scalars(key->text, value, scalars);
            }
        }
    }
    return result;
}

}  // namespace ckptfs::zero
