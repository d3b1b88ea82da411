// What a DeepSpeed config that is to resume a checkpoint must agree with, and where it does not.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "report/batch_arithmetic.h"
#include "zero/written.h"

namespace ckptfs::report {

struct Finding {
    enum class Kind : std::uint8_t {
        conflict,  ///< the resume fails or loses state: the config must change
        mount,     ///< the mount must be told the config
        script,    ///< not in any config: the training script must do it as the one that saved
        note,      ///< differs, and is no harm
    };
    Kind kind = Kind::note;
    std::string subject;  ///< a config key, or what it is about
    std::string text;     ///< what was expected and found, and what to do
};

struct ResumeCheck {
    std::vector<Finding> findings;
    std::optional<Batch> stored;  ///< the batch of the run that saved; absent where its config does not say
    std::optional<Batch> config;  ///< of the config that will resume
    std::vector<Batch> choices;   ///< what keeps the stored global batch

    [[nodiscard]] bool has(Finding::Kind kind) const;
};

/// `dp_world_size`: of the run that will resume. `config`: its DeepSpeed config.
[[nodiscard]] ResumeCheck check_resume(const zero::Written& checkpoint, const nlohmann::json& config,
                                       std::uint64_t dp_world_size);

/// A tag that was checked, and what came of it.
struct CheckedTag {
    std::shared_ptr<const zero::Written> checkpoint;
    std::string directory;    ///< below SOURCE
    std::string shown_as;     ///< the same for people
    std::string config_file;  ///< as the user wrote it
    std::uint64_t dp_world_size = 1;
    ResumeCheck check;

    /// Of the run that will resume, model parallelism included.
    [[nodiscard]] std::uint64_t world_size() const { return dp_world_size * checkpoint->degree(); }
};

/// Lines are no longer than `columns`, but where one name is.
[[nodiscard]] std::string as_text(const CheckedTag& tag, std::size_t columns);
[[nodiscard]] std::string as_json(const CheckedTag& tag);

}  // namespace ckptfs::report
