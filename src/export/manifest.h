// What an unfinished export is of: the version that began it, what was asked for, and every entry with its generation.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "export/plan.h"

namespace ckptfs::exporting {

/// Something that was asked for and decides about the bytes, as the command line has it: {"--dtype", "bf16"}.
struct Setting {
    std::string name;
    std::string value;

    bool operator==(const Setting&) const = default;
};

/// Lines of text, each of which is a claim; two exports are the same where all lines are.
class Manifest {
 public:
    Manifest(const std::string& version, const std::vector<Setting>& settings, const Plan& plan);
    /// Of what text() gave. nullopt for anything else, such as what a crash left half written.
    [[nodiscard]] static std::optional<Manifest> parse(std::string_view text);

    [[nodiscard]] std::string text() const;

    /// What `now` asks for that this one does not, or has otherwise, as the end of a sentence about this one: "was
    /// begun with --dtype=bf16, and this is without". nullopt where both are the same.
    [[nodiscard]] std::optional<std::string> difference(const Manifest& now) const;

 private:
    Manifest() = default;

    std::vector<std::string> lines_;
};

}  // namespace ckptfs::exporting
