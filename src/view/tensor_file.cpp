// Headers and pickles around the pieces of tensors.
#include "view/tensor_file.h"

#include <utility>

#include "model/conversion.h"
#include "pt/archive_builder.h"

namespace ckptfs::view {
namespace {

/// What the pieces of a built file point to.
struct Kept {
    std::shared_ptr<const void> owner;
    model::Keepers keepers;
};

Result<safetensors::Layout> layout_of(const TensorFile& file) {
    std::vector<safetensors::Entry> entries;
    entries.reserve(file.tensors.size());
    for (const ShownTensor& tensor : file.tensors) {
        entries.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
    return safetensors::lay_out(entries, file.metadata, file.name);
}

Result<std::shared_ptr<const VirtualFile>> build_safetensors(const TensorFile& file,
                                                             const std::shared_ptr<Kept>& kept) {
    CKPTFS_ASSIGN(const safetensors::Layout layout, layout_of(file));
    PieceList pieces;
    pieces.add_literal(layout.header);
    for (const std::size_t index : layout.order) {
        const ShownTensor& tensor = file.tensors[index];
        CKPTFS_TRY(model::append_as(tensor.elements, tensor.dtype, tensor.name, pieces, kept->keepers));
    }
    if (pieces.nbytes() != layout.nbytes) {
        return Error(ErrorCode::internal, "'" + file.name + "' has " + std::to_string(pieces.nbytes()) +
                                              " bytes, but " + std::to_string(layout.nbytes) + " by its header");
    }
    return VirtualFile::create(file.name, std::move(pieces), kept);
}

/// `kept`: nullptr where only the size matters, which zeros have as well.
Result<std::shared_ptr<const VirtualFile>> build_bin(const TensorFile& file, const std::shared_ptr<Kept>& kept) {
    pt::ArchiveBuilder builder;
    std::vector<const pickle::Node*> items;
    std::vector<const pickle::Node*> tied;
    for (const ShownTensor& tensor : file.tensors) {
        PieceList pieces;
        if (kept) {
            CKPTFS_TRY(model::append_as(tensor.elements, tensor.dtype, tensor.name, pieces, kept->keepers));
        } else {
            pieces.add_zeros(tensor.nbytes());
        }
        const std::size_t storage =
            builder.add_storage(tensor.dtype, tensor.elements.numel(), "cpu", std::move(pieces));
        const pickle::Node* node = builder.tensor(storage, 0, tensor.shape);
        items.push_back(builder.pickle().string(tensor.name));
        items.push_back(node);
        for (const std::string& name : tensor.tied) {
            tied.push_back(builder.pickle().string(name));
            tied.push_back(node);
        }
    }
    items.insert(items.end(), tied.begin(), tied.end());
    return builder.lay_out(builder.pickle().dict(std::move(items)), file.name, kept);
}

}  // namespace

Result<std::uint64_t> size_of(const TensorFile& file) {
    switch (file.form) {
        case TensorFile::Form::safetensors: {
            CKPTFS_ASSIGN(const safetensors::Layout layout, layout_of(file));
            return layout.nbytes;
        }
        case TensorFile::Form::bin: {
            CKPTFS_ASSIGN(const std::shared_ptr<const VirtualFile> built, build_bin(file, nullptr));
            return built->size();
        }
        case TensorFile::Form::text:
            break;
    }
    return file.text.size();
}

Result<BuiltFile> build(const TensorFile& file, std::shared_ptr<const void> owner) {
    const auto kept = std::make_shared<Kept>(Kept{std::move(owner), {}});
    const auto built = [&]() -> Result<std::shared_ptr<const VirtualFile>> {
        switch (file.form) {
            case TensorFile::Form::safetensors:
                return build_safetensors(file, kept);
            case TensorFile::Form::bin:
                return build_bin(file, kept);
            case TensorFile::Form::text:
                break;
        }
        PieceList pieces;
        pieces.add_literal(file.text);
        return VirtualFile::create(file.name, std::move(pieces), nullptr);
    }();
    if (!built) {
        return built.error();
    }
    return BuiltFile{*built, (*built)->memory_nbytes() + kept->keepers.nbytes};
}

}  // namespace ckptfs::view
