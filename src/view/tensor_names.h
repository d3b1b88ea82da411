// What the tensors of a checkpoint are called in a view, and which of them it shows.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "util/name_expression.h"
#include "view/view_options.h"

namespace ckptfs::view {

/// The patterns of a mount's options, compiled once. Immutable.
class TensorNames {
 public:
    /// `default_prefixes` are taken off names where the options name none. `invalid_argument` for a pattern that
    /// NameExpression refuses.
    static Result<TensorNames> create(const ViewOptions& options, const std::vector<std::string>& default_prefixes);

    /// What wrappers put before every name of a model: DataParallel's and DeepSpeed's, torch.compile's, Lightning's.
    [[nodiscard]] static std::vector<std::string> wrapper_prefixes() {
        return {"module.", "_orig_mod.", "_forward_module."};
    }

    /// Prefixes come off first, again and again, then every --rename is applied. `unsupported` for a name that is too
    /// long for a pattern or takes it too many steps.
    [[nodiscard]] Result<std::string> shown(const std::string& name) const;
    /// Whether --parameters finds something in `name`, which is the checkpoint's own. Errors as shown().
    [[nodiscard]] Result<bool> is_selected(const std::string& name) const;

 private:
    TensorNames() = default;

    std::vector<std::string> prefixes_;
    std::vector<std::pair<NameExpression, Rename>> renames_;
    std::optional<std::pair<NameExpression, std::string>> parameters_;
};

}  // namespace ckptfs::view
