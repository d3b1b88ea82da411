// One kind of view over ZeRO checkpoints. A new kind is a class of its own and a line in kinds.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ckptfs/placement.h"
#include "ckptfs/view.h"
#include "view/file_cache.h"
#include "view/view_options.h"
#include "zero/weights_reader.h"
#include "zero/written.h"

namespace ckptfs::view {

/// What a view is made of.
struct Ingredients {
    std::shared_ptr<const zero::Written> checkpoint;
    const ViewOptions& options;
    std::shared_ptr<FileCache> cache;
    std::string tag;      ///< the tag directory, relative to its source
    std::string display;  ///< the same for messages, as a user would write it
};

/// What a view of a tag is made of whose optimizer files are missing or damaged.
struct IngredientsLeft {
    std::shared_ptr<const zero::WeightsOnly> weights;
    const ViewOptions& options;
    std::shared_ptr<FileCache> cache;
    std::string display;
};

/// Immutable, safe for concurrent use.
class Kind {
 public:
    Kind() = default;
    Kind(const Kind&) = delete;
    Kind& operator=(const Kind&) = delete;
    virtual ~Kind() = default;

    /// The view keeps the checkpoint and the cache. An error is about this request alone.
    [[nodiscard]] virtual Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                                   const ViewRequest& request) const = 0;
    /// nullptr for a kind that needs the optimizer's files.
    [[nodiscard]] virtual Result<std::shared_ptr<const View>> make_without_optimizer(
        const IngredientsLeft& /*ingredients*/, const ViewRequest& /*request*/) const {
        return std::shared_ptr<const View>();
    }
    [[nodiscard]] virtual Placement placement(const ViewRequest& request) const = 0;
    /// Of a tag that cannot be shown: the paths that its view would have as far as they can be told, opening which is
    /// an error. Empty where the names of the tag's own files are listed instead.
    [[nodiscard]] virtual std::vector<std::string> names_of_unshown(const ViewRequest& request,
                                                                    const ViewOptions& options) const = 0;
    /// What a catalogue lists of this kind for a tag; whatever else parses can be asked for as well.
    [[nodiscard]] virtual std::vector<ViewRequest> suggestions(const Ingredients& ingredients) const = 0;
};

/// The kind of every request.
[[nodiscard]] const Kind& kind_of(ViewKind kind);
/// In the order in which a catalogue lists them.
[[nodiscard]] const std::vector<ViewKind>& view_kinds();

}  // namespace ckptfs::view
