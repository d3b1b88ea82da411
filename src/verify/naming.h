// What the options of a mount make of names.
#pragma once

#include "ckptfs/result.h"
#include "ckptfs/view_request.h"
#include "model/checkpoint.h"
#include "verify/expected_tensors.h"
#include "view/view_options.h"

namespace ckptfs::verify {

/// For the views that name tensors by options; universal trees have the checkpoint's names. `invalid_argument` for a
/// pattern that is no regular expression.
Result<Naming> naming_of(const view::ViewOptions& options, const ViewRequest& request,
                         const model::Checkpoint& checkpoint);

}  // namespace ckptfs::verify
