// The options that say which view is meant, and how its tensors are named.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/view_request.h"
#include "view/view_options.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the name is CLI11's
class App;
class Option;
}  // namespace CLI

namespace ckptfs::cli {

/// What a mount's options say of the weights and of views like them, beyond which one is meant.
struct ViewArguments {
    std::optional<std::uint64_t> max_shard_nbytes;  ///< --max-shard-size
    std::vector<std::string> strip_prefixes;        ///< --strip-prefix
    std::vector<view::Rename> renames;              ///< --rename
    std::optional<std::string> parameters;          ///< --parameters
    bool trainable_only = false;                    ///< --trainable-only
    std::optional<std::string> tag;                 ///< --tag; not of `verify`, where it means something else
};

/// Declares the options on an app. Outlives its parsing.
class ViewOptionsParser {
 public:
    enum class Tag : unsigned char { current_one, not_taken };

    ViewOptionsParser(CLI::App& app, Tag tag);

    /// Whether --view was given.
    [[nodiscard]] bool has_view() const { return !view_.empty(); }
    /// nullopt without --view. `invalid_argument` for a view that there is not, and for options that do not go with it.
    [[nodiscard]] Result<std::optional<ViewRequest>> request() const;
    /// `request`: nullopt for a catalogue of all. `invalid_argument` for an option that says nothing of that view.
    [[nodiscard]] Result<ViewArguments> arguments(const std::optional<ViewRequest>& request) const;

 private:
    enum class Fits : unsigned char { weights, weights_and_states };
    struct Given {
        const char* name;
        const CLI::Option* option;
        Fits fits;
    };

    std::string view_;
    std::string dtype_;
    std::string container_;
    std::string max_shard_size_;
    std::vector<std::string> strip_prefixes_;
    std::vector<std::string> renames_;
    std::string parameters_;
    bool trainable_only_ = false;
    std::string tag_;
    std::vector<Given> of_weights_;  ///< those that say nothing of other views
    const CLI::Option* dtype_option_ = nullptr;
    const CLI::Option* container_option_ = nullptr;
    const CLI::Option* parameters_option_ = nullptr;
    const CLI::Option* max_shard_size_option_ = nullptr;
    const CLI::Option* tag_option_ = nullptr;
};

/// Names of views, for whoever completes one: "world-size-" lacks its number.
[[nodiscard]] std::vector<std::string> names_of_views();

/// "5GB" (powers of 1000), "5GiB" (of 1024), "5000000". `invalid_argument` for anything else, and for none at all.
Result<std::uint64_t> parse_nbytes(const std::string& text);

}  // namespace ckptfs::cli
