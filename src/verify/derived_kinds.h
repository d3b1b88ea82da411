// What each kind of derived view must show and where its files hold it. A new kind is a row of the table.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view_request.h"
#include "verify/expected_tensors.h"
#include "verify/shown_tensor.h"

namespace ckptfs::verify {

/// A tensor that a file of a view holds, and what it stands for.
struct FoundTensor {
    std::string kind;    ///< as of ExpectedTensor
    ShownTensor tensor;  ///< with the name that the view gives it
};

struct DerivedKind {
    /// What a view of `request` must show of a checkpoint.
    std::vector<ExpectedTensor> (*expected)(const model::Checkpoint& checkpoint, const ViewRequest& request,
                                            const Naming& naming);
    /// The tensors of `file`, which the view shows at `path`; none where the file is none that holds any.
    Result<std::vector<FoundTensor>> (*found)(const std::string& path, const std::shared_ptr<const File>& file);
};

/// nullptr for a kind that is read back as a checkpoint instead: ViewKind::world_size.
[[nodiscard]] const DerivedKind* derived_kind(ViewKind kind);

}  // namespace ckptfs::verify
