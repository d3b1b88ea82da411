// Edits on top of a parsed pickle.
#include <optional>

#include "pt/pickle.h"
#include "pt/pickle_opcodes.h"
#include "pt/pickle_writer.h"

namespace ckptfs::pickle {

namespace {

/// Where the value at string `key` hangs in `node`: the last of several.
const Node** value_slot(Node& node, std::string_view key) {
    const auto search = [&](std::vector<const Node*>& items) -> const Node** {
        for (std::size_t i = items.size() / 2; i-- > 0;) {
            if (is_string(items[2 * i], key)) {
                return &items[2 * i + 1];
            }
        }
        return nullptr;
    };
    const Node** last = node.kind == Kind::dict ? search(node.items) : nullptr;
    for (Mutation& mutation : node.mutations) {
        const Node** slot = mutation.kind == Mutation::Kind::set_items ? search(mutation.items) : nullptr;
        last = slot != nullptr ? slot : last;
    }
    return last;
}

}  // namespace

std::shared_ptr<const Tree> Tree::of_none(int protocol) {
    auto tree = std::make_shared<Tree>();
    tree->protocol_ = protocol;
    tree->root_ = &tree->nodes_.emplace_back();
    return tree;
}

Editor::Editor(std::shared_ptr<const Tree> base) : base_(std::move(base)) {}

const Node* Editor::resolve(const Node* node) const {
    if (replaced_.empty()) {
        return node;
    }
    for (auto found = replaced_.find(node); found != replaced_.end(); found = replaced_.find(node)) {
        node = found->second;
    }
    return node;
}

Node* Editor::add(Node node) {
    Node* added = &nodes_.emplace_back(std::move(node));
    added->number = static_cast<std::uint32_t>(base_->nodes_.size() + nodes_.size() - 1);
    own_.emplace(added, added);
    return added;
}

const Node* Editor::none() {
    return add({});
}

const Node* Editor::boolean(bool value) {
    Node node;
    node.kind = Kind::boolean;
    node.integer = value ? 1 : 0;
    return add(std::move(node));
}

const Node* Editor::integer(std::int64_t value) {
    Node node;
    node.kind = Kind::integer;
    node.integer = value;
    return add(std::move(node));
}

const Node* Editor::string(std::string_view value) {
    Node node;
    node.kind = Kind::string;
    node.memoized = true;
    node.text = value;
    return add(std::move(node));
}

const Node* Editor::real(double value) {
    Node node;
    node.kind = Kind::real;
    node.real = value;
    return add(std::move(node));
}

const Node* Editor::literal(std::string_view value) {
    const Node*& known = literals_[std::string(value)];
    if (known == nullptr) {
        known = string(value);
    }
    return known;
}

const Node* Editor::tuple(std::vector<const Node*> items) {
    Node node;
    node.kind = Kind::tuple;
    node.memoized = !items.empty();
    node.items = std::move(items);
    return add(std::move(node));
}

const Node* Editor::list(std::vector<const Node*> items) {
    Node node;
    node.kind = Kind::list;
    node.memoized = true;
    node.items = std::move(items);
    return add(std::move(node));
}

const Node* Editor::dict(std::vector<const Node*> items) {
    Node node;
    node.kind = Kind::dict;
    node.memoized = true;
    node.items = std::move(items);
    return add(std::move(node));
}

const Node* Editor::global(std::string_view module, std::string_view name) {
    const std::string text = std::string(module) + '\n' + std::string(name);
    const Node*& known = globals_[text];
    if (known != nullptr) {
        return known;
    }
    Node node;
    node.kind = Kind::global;
    node.memoized = true;
    if (base_->protocol() >= first_framed_protocol) {
        node.items = {string(module), string(name)};
    } else {
        node.text = text;
    }
    known = add(std::move(node));
    return known;
}

const Node* Editor::reduce(const Node* callable, const Node* arguments) {
    Node node;
    node.kind = Kind::object;
    node.memoized = true;
    node.opcode = static_cast<std::uint8_t>(Op::reduce);
    node.items = {callable, arguments};
    return add(std::move(node));
}

const Node* Editor::ordered_dict(std::vector<const Node*> items) {
    Node* const made = copy(reduce(global("collections", "OrderedDict"), tuple({})));
    if (!items.empty()) {
        made->mutations.push_back({Mutation::Kind::set_items, std::move(items), {}});
    }
    return made;
}

const Node* Editor::instance(const Node* type, const Node* state) {
    Node* const made = copy(reduce(type, tuple({})));
    made->opcode = static_cast<std::uint8_t>(Op::newobj);
    made->mutations.push_back({Mutation::Kind::build, {state}, {}});
    return made;
}

const Node* Editor::persistent_id(const Node* id) {
    Node node;
    node.kind = Kind::persistent_id;
    node.items = {id};
    return add(std::move(node));
}

Node* Editor::copy(const Node* node) {
    Node* added = add(*resolve(node));
    if (added->kind != Kind::object && added->kind != Kind::tuple) {
        added->opcode = 0;
    }
    return added;
}

void Editor::replace(const Node* node, const Node* replacement) {
    const Node* place = resolve(node);
    if (place == replacement) {
        return;
    }
    if (resolve(replacement) == place) {
        replaced_.erase(replacement);  // back to what stood there before
    }
    replaced_[place] = replacement;
}

Node* Editor::editable(const Node* node) {
    const Node* current = resolve(node);
    const auto own = own_.find(current);
    if (own != own_.end()) {
        return own->second;
    }
    Node* changed = add(*current);
    replaced_[current] = changed;
    return changed;
}

Result<void> Editor::set_item(const Node* dict, std::string_view key, const Node* value) {
    const Node* current = resolve(dict);
    if (!is_dict_like(current) || find(current, key) == nullptr) {
        return Error(ErrorCode::internal, "no dict entry '" + std::string(key) + "' to replace");
    }
    *value_slot(*editable(current), key) = value;
    return {};
}

Result<void> Editor::set_item(const Node* sequence, std::size_t index, const Node* value) {
    const Node* current = resolve(sequence);
    if ((current->kind != Kind::list && current->kind != Kind::tuple) || index >= current->items.size()) {
        return Error(ErrorCode::internal, "no item " + std::to_string(index) + " to replace");
    }
    editable(current)->items[index] = value;
    return {};
}

Result<std::string> Editor::write() const {
    return write([](const Node*) { return Result<void>(); });
}

Result<std::string> Editor::write(const std::function<Result<void>(const Node* id)>& begin) const {
    Writer writer(*this, Writer::For::bytes, begin);
    CKPTFS_TRY(writer.run());
    return std::move(writer).bytes();
}

Result<std::vector<const Node*>> Editor::persistent_ids() const {
    std::vector<const Node*> ids;
    Writer writer(*this, Writer::For::persistent_ids, [&](const Node* id) {
        ids.push_back(id);
        return Result<void>();
    });
    CKPTFS_TRY(writer.run());
    return ids;
}

}  // namespace ckptfs::pickle
