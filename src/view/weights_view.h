// The model alone, as inference and hubs take it.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "ckptfs/view.h"
#include "model/checkpoint.h"
#include "view/file_cache.h"
#include "view/kind.h"
#include "view/view_options.h"

namespace ckptfs::view {

[[nodiscard]] const Kind& weights_kind();

struct ModelSource {
    const model::Checkpoint& content;
    std::span<const zero::Family> families;  ///< whose content it is; they say how to join several
    std::shared_ptr<const void> owner;       ///< of the files behind `content`
    FileInfo info;                           ///< of every file that is shown
    std::string display;                     ///< the tag, for messages
};

/// Of a whole tag.
[[nodiscard]] ModelSource model_source(const Ingredients& ingredients);

/// The view does not keep `source.content`, only its owner. `invalid_argument` where the options do not fit the names;
/// `unsupported` where the content has gaps or a tensor that the request cannot show; `incomplete` where a parameter
/// has no data; and the errors of zero::join_model_parallel().
Result<std::shared_ptr<const View>> weights_view(const ModelSource& source, const ViewOptions& options,
                                                 const ViewRequest& request, std::shared_ptr<FileCache> cache);

/// The model as one rank. Errors as weights_view().
Result<model::Rank> whole_model(const ModelSource& source);

}  // namespace ckptfs::view
