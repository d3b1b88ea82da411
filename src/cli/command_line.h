// What the command lines of all commands have in common: running CLI11, and the options that say which view is meant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "cli/arguments.h"
#include "cli/view_arguments.h"

namespace ckptfs::cli {

/// What CLI11 fills in, before it is checked.
struct Strings {
    std::string source;
    std::string mount_point;
    std::string path;
    std::string world_size;
    std::string dp_size;
    std::string config_file;
    std::string sub_group_size;
    std::string rank_values_of;
    std::string log_file;
    std::string log_format = "text";
    std::string log_level = "info";
    std::string io = "auto";
    std::string read_ahead_memory;
    std::string tag;
    std::string jobs;
    std::string memory;
    bool accept_mixed = false;
    bool allow_empty = false;
    bool writable = false;
    std::string mount_options;
};

/// In plain decimal digits, as far as Python's and JSON's integers are read here; nullopt for anything else.
[[nodiscard]] std::optional<std::uint64_t> parse_count(const std::string& text);

[[nodiscard]] Error usage_error(const std::string& message);
[[nodiscard]] Result<void> expect_given(const std::string& value, const char* name, const char* usage);

/// What stands in its place on the command line, in the order in which it is added.
void add_positional(CLI::App& app, const char* name, std::string& value, const char* description);
void add_source(CLI::App& app, Strings& strings);

/// Whether something other than options, and their values, stands there.
[[nodiscard]] bool has_positional(const CLI::App& app, const std::vector<std::string>& arguments);

/// Runs CLI11, whose exceptions end here. An empty optional: parsed; a text: --help or --version.
/// The text of --help says the same as data.
[[nodiscard]] Result<std::optional<Text>> run_parser(CLI::App& app, std::vector<std::string> arguments,
                                                     const char* usage);

/// The options that say which view is meant. Outlives the parsing.
class TargetOptions {
 public:
    enum class SubGroupSize : unsigned char { option, of_config };

    /// `tag`: nullopt for a command that takes world sizes alone.
    TargetOptions(CLI::App& app, Strings& strings, const char* description, std::optional<ViewOptionsParser::Tag> tag,
                  SubGroupSize sub_group_size = SubGroupSize::option);

    /// `may_be_of_job`: whether the world size can be that of the job around the process.
    [[nodiscard]] Result<TargetArguments> parse(bool may_be_of_job = false) const;

 private:
    const Strings& strings_;
    const CLI::Option* world_size_;
    const CLI::Option* dp_size_;
    const CLI::Option* rank_values_of_ = nullptr;
    const CLI::Option* sub_group_size_ = nullptr;
    std::optional<ViewOptionsParser> view_;
};

/// The options of commands that show a view without a mount. Outlives the parsing.
class ShownOptions {
 public:
    ShownOptions(CLI::App& app, Strings& strings);

    [[nodiscard]] Result<ShownArguments> parse() const;

 private:
    const Strings& strings_;
    TargetOptions target_;
};

}  // namespace ckptfs::cli
