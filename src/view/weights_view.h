// The model alone, as inference and hubs take it.
#pragma once

#include <memory>
#include <string>

#include "ckptfs/view.h"
#include "model/checkpoint.h"
#include "view/file_cache.h"
#include "view/kind.h"
#include "view/view_options.h"

namespace ckptfs::view {

[[nodiscard]] const Kind& weights_kind();

/// Of a checkpoint in whatever format.
struct ModelSource {
    const model::Checkpoint& content;
    std::shared_ptr<const void> owner;  ///< of the files behind `content`
    FileInfo info;                      ///< of every file that is shown
    std::string display;                ///< the tag, for messages
};

/// The view does not keep `source.content`, only its owner. `invalid_argument` where the options do not fit the names;
/// `unsupported` where `content` has gaps, is cut over several model-parallel ranks, or has a tensor that the request
/// cannot show; `incomplete` where a parameter has no data.
Result<std::shared_ptr<const View>> weights_view(const ModelSource& source, const ViewOptions& options,
                                                 const ViewRequest& request, std::shared_ptr<FileCache> cache);

/// The model that `content` holds, as one rank. Errors as weights_view().
Result<model::Rank> whole_model(const model::Checkpoint& content, const std::string& display);

}  // namespace ckptfs::view
