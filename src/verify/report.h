// What came of verifying the tags of a source, as data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "verify/source_pass.h"
#include "verify/verify_view.h"

namespace ckptfs::verify {

struct VerifiedTag {
    /// Of the weights that were compared with their masters.
    struct Weights {
        std::uint64_t compared_numel = 0;
        std::uint64_t different_numel = 0;
    };

    std::string name;
    std::uint64_t world_size = 0;  ///< 0 where the tag cannot be read
    std::optional<FileTotals> files;
    std::optional<Weights> weights;
    std::optional<ViewTotals> view;
    std::vector<std::string> warnings;
    std::vector<std::string> problems;    ///< the first Problems::max_kept
    std::uint64_t unlisted_problems = 0;  ///< further ones
};

struct VerifiedSource {
    std::string source;
    std::optional<std::string> view;  ///< the name of the view that was verified too
    std::vector<VerifiedTag> tags;
    std::vector<std::string> problems;  ///< that belong to no tag

    [[nodiscard]] bool is_right() const;
};

/// docs/schemas/verify.json says what is in it.
[[nodiscard]] std::string as_json(const VerifiedSource& verified);

}  // namespace ckptfs::verify
