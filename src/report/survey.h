// Which tags a SOURCE has, and which of them to trust first. Reads listings and `latest`, no shard.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"

namespace ckptfs::report {

struct TagPlace {
    std::string directory;  ///< relative to SOURCE; "" where SOURCE itself is the tag
    bool latest = false;    ///< the file `latest` beside it names it
    std::int64_t mtime_ns = 0;
};

struct Survey {
    std::vector<TagPlace> tags;   ///< those that `latest` names first, then the newest first
    std::vector<Error> problems;  ///< with `latest`: names nothing, cannot be read
    bool complete = true;         ///< false: there are more directories than anybody wants to wait for
};

enum class SurveyExtent : unsigned char {
    nearest,  ///< deeper only while no directory of a level is a tag
    all,
};
/// Looks into SOURCE's directories, survey_depth levels down at most: trainers put tags into
/// project/checkpoints/checkpoint_0/pytorch_model, and names of metrics may add levels. A tag's own directories are not
/// looked into. Fails where SOURCE cannot be listed.
inline constexpr int survey_depth = 8;
Result<Survey> survey(const Source& source, const TagReader& reader, SurveyExtent extent = SurveyExtent::nearest);

/// Why a SOURCE without tags cannot be used.
[[nodiscard]] Error no_tags(const Source& source, const Survey& survey);

struct WholeTag {
    std::string directory;
    std::shared_ptr<const Tag> tag;
};

/// The first tag that can be shown under `request`, or the first whole one where none is given. `broken` receives why
/// each one before it cannot, without those at which nothing of such a view stands. If none can: the first one's
/// reason.
Result<WholeTag> first_whole_tag(const Source& source, const TagReader& reader, const Survey& survey,
                                 std::vector<Error>& broken, const std::optional<ViewRequest>& request = std::nullopt);

/// The directories with tags, of a survey that has some, that do not have `tag`, a path from each of them.
/// `invalid_argument` where none has it.
Result<std::vector<std::string>> holders_without(const Source& source, const TagReader& reader, const Survey& survey,
                                                 const std::string& tag);

}  // namespace ckptfs::report
