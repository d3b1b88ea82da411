// Which tags a SOURCE has, and which of them to trust first. Reads listings and `latest`, no shard.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "ckptfs/view.h"

namespace ckptfs::cli {

struct TagPlace {
    std::string directory;  ///< relative to SOURCE; "" where SOURCE itself is the tag
    bool latest = false;    ///< the file `latest` beside it names it
    std::int64_t mtime_ns = 0;
};

struct Survey {
    std::vector<TagPlace> tags;   ///< those that `latest` names first, then the newest first
    std::vector<Error> problems;  ///< with `latest`: names nothing, cannot be read
};

/// Looks into SOURCE's directories and, only while none of them is a tag, deeper: trainers put tags up to
/// survey_depth levels down (project/checkpoints/checkpoint_0/pytorch_model). Fails where SOURCE cannot be listed.
inline constexpr int survey_depth = 3;
Result<Survey> survey(const Source& source, const TagReader& reader);

/// Why a SOURCE without tags cannot be used.
[[nodiscard]] Error no_tags(const Source& source, const Survey& survey);

/// What `latest` holds, without the white space around it; checked to be one path component.
Result<std::string> read_latest(const Source& source, const std::string& path);

struct WholeTag {
    std::string directory;
    std::shared_ptr<const Tag> tag;
};

/// The first whole tag. `broken` receives why each one before it is not. If none is whole: the first one's reason.
Result<WholeTag> first_whole_tag(const Source& source, const TagReader& reader, const Survey& survey,
                                 std::vector<Error>& broken);

}  // namespace ckptfs::cli
