// From the tree to places in the file.
#include "verify/pickled_tensors.h"

#include <string>
#include <utility>

#include "pt/archive.h"
#include "util/text.h"

namespace ckptfs::verify {

Result<std::vector<ShownTensor>> pickled_tensors(const std::shared_ptr<const File>& file,
                                                 const std::vector<std::string_view>& path) {
    const auto damaged = [&](const std::string& what) {
        return Error(ErrorCode::damaged, in_quotes(file->name()) + ": " + what);
    };
    CKPTFS_ASSIGN(const auto archive, pt::Archive::open(file));
    const pickle::Node* dict = archive->root();
    for (const std::string_view key : path) {
        dict = pickle::find(dict, key);
        if (dict == nullptr) {
            return damaged("its object has no " + in_quotes(key));
        }
    }
    std::vector<ShownTensor> result;
    const auto add = [&](const std::string& name, const pickle::Node* node) -> Result<void> {
        CKPTFS_ASSIGN(auto tensor, pt::tensor_ref(node));
        const auto storage = archive->storage_index(tensor.storage.key);
        if (!storage || !tensor.contiguous()) {
            return damaged("tensor " + in_quotes(name) + " is not contiguous in a storage of the file");
        }
        const std::uint64_t offset =
            archive->storages()[*storage].place.offset + tensor.offset_numel * model::itemsize(tensor.storage.dtype);
        result.push_back({name, tensor.dtype, std::move(tensor.sizes), offset});
        return {};
    };
    if (pt::is_tensor(dict)) {
        CKPTFS_TRY(add("", dict));
        return result;
    }
    for (const auto& [name, value] : pickle::dict_items(dict)) {
        if (name->kind == pickle::Kind::string && pt::is_tensor(value)) {
            CKPTFS_TRY(add(name->text, value));
        }
    }
    return result;
}

}  // namespace ckptfs::verify
