// Walks both trees side by side.
#include "support/graph_compare.h"

#include <algorithm>
#include <span>

#include "pt/archive.h"

namespace ckptfs::test {
namespace {

using pickle::Kind;
using pickle::Node;

class Comparison {
 public:
    Comparison(const pt::Archive& left, const pt::Archive& right, const std::set<std::string>& ignored,
               std::size_t limit)
        : left_(left), right_(right), ignored_(ignored), limit_(limit) {}

    void compare(const Node* a, const Node* b, const std::string& path) {
        if (differences_.size() >= limit_) {
            return;
        }
        if (pt::is_tensor(a) && pt::is_tensor(b)) {
            compare_tensors(a, b, path);
            return;
        }
        if (a->kind != b->kind || a->integer != b->integer || a->text != b->text ||
            (a->kind == Kind::real && a->real != b->real)) {
            differ(path, "values differ: '" + a->text + "' " + std::to_string(a->integer) + " and '" + b->text + "' " +
                             std::to_string(b->integer));
            return;
        }
        if (a->kind == Kind::dict) {
            compare_entries(a->items, b->items, path);
        } else {
            compare_items(a->items, b->items, path);
        }
        if (a->mutations.size() != b->mutations.size()) {
            differ(path, "objects were filled differently");
            return;
        }
        for (std::size_t i = 0; i < a->mutations.size(); ++i) {
            if (a->mutations[i].kind == pickle::Mutation::Kind::set_items) {
                compare_entries(a->mutations[i].items, b->mutations[i].items, path);
            } else {
                compare_items(a->mutations[i].items, b->mutations[i].items, path + "<state>");
            }
        }
    }

    std::vector<std::string> take() { return std::move(differences_); }
    void differ(const std::string& path, const std::string& what) { differences_.push_back(path + ": " + what); }

 private:
    void compare_items(const std::vector<const Node*>& a, const std::vector<const Node*>& b, const std::string& path) {
        if (a.size() != b.size()) {
            differ(path, std::to_string(a.size()) + " and " + std::to_string(b.size()) + " elements");
            return;
        }
        for (std::size_t i = 0; i < a.size(); ++i) {
            compare(a[i], b[i], path + "[" + std::to_string(i) + "]");
        }
    }

    void compare_entries(const std::vector<const Node*>& a, const std::vector<const Node*>& b,
                         const std::string& path) {
        if (a.size() != b.size()) {
            differ(path, std::to_string(a.size() / 2) + " and " + std::to_string(b.size() / 2) + " entries");
            return;
        }
        for (std::size_t i = 0; i + 1 < a.size(); i += 2) {
            const std::string key = a[i]->kind == Kind::string ? a[i]->text : std::to_string(a[i]->integer);
            compare(a[i], b[i], path + "{key " + key + "}");
            if (!ignored_.contains(key)) {
                compare(a[i + 1], b[i + 1], path + "." + key);
            }
        }
    }

    void compare_tensors(const Node* a, const Node* b, const std::string& path) {
        const auto left = pt::tensor_ref(a);
        const auto right = pt::tensor_ref(b);
        if (!left.ok() || !right.ok()) {
            differ(path, "a tensor cannot be read");
            return;
        }
        if (left->storage.dtype != right->storage.dtype || left->storage.numel != right->storage.numel ||
            left->storage.key != right->storage.key || left->storage.location != right->storage.location ||
            left->offset_numel != right->offset_numel || left->sizes != right->sizes ||
            left->strides != right->strides) {
            differ(path, "tensor geometry: storage " + std::string(left->storage.key) + " of " +
                             std::to_string(left->storage.numel) + " and " + std::string(right->storage.key) + " of " +
                             std::to_string(right->storage.numel));
            return;
        }
        compare_wrappers(a, b, path);
        // Everything else of the object: requires_grad, hooks.
        compare_items({left->rebuild->items.begin() + 4, left->rebuild->items.end()},
                      {right->rebuild->items.begin() + 4, right->rebuild->items.end()}, path + "<tensor>");
        if (storage_bytes(left_, left->storage.key) != storage_bytes(right_, right->storage.key)) {
            differ(path, "bytes of the storage differ");
        }
    }

    // Around the call that makes the tensor: its class and attributes.
    void compare_wrappers(const Node* a, const Node* b, const std::string& path) {
        const bool from_type = pickle::is_object_of(a, "torch._tensor", "_rebuild_from_type_v2");
        if (from_type != pickle::is_object_of(b, "torch._tensor", "_rebuild_from_type_v2")) {
            differ(path, "only one of the tensors has a class or attributes");
        } else if (from_type) {
            for (const std::size_t part : {std::size_t{1}, std::size_t{3}}) {  // the class, the attributes
                compare(a->items[1]->items[part], b->items[1]->items[part], path);
            }
        }
    }

    static std::vector<std::byte> storage_bytes(const pt::Archive& archive, std::string_view key) {
        const auto index = archive.storage_index(key);
        if (!index) {
            return {};
        }
        const pt::RecordPlace& place = archive.storages()[*index].place;
        std::vector<std::byte> bytes(place.nbytes);
        return place.file->read(place.offset, bytes).ok() ? bytes : std::vector<std::byte>();
    }

    const pt::Archive& left_;
    const pt::Archive& right_;
    const std::set<std::string>& ignored_;
    std::size_t limit_;
    std::vector<std::string> differences_;
};

}  // namespace

std::vector<std::string> graph_differences(const std::shared_ptr<const File>& left,
                                           const std::shared_ptr<const File>& right,
                                           const std::set<std::string>& ignored_keys, std::size_t limit) {
    const auto a = pt::Archive::open(left);
    const auto b = pt::Archive::open(right);
    if (!a.ok() || !b.ok()) {
        return {"cannot be read: " + (a.ok() ? b.error() : a.error()).message()};
    }
    Comparison comparison(**a, **b, ignored_keys, limit);
    comparison.compare((*a)->root(), (*b)->root(), "");
    const auto names = [](const pt::Archive& archive) {
        std::vector<std::string> list;
        for (const pt::Record& record : archive.records()) {
            list.push_back(record.name);
        }
        return list;
    };
    if (names(**a) != names(**b)) {
        comparison.differ("", "the archives list different records");
    }
    return comparison.take();
}

}  // namespace ckptfs::test
