// CLI11's exceptions end here, and its messages are replaced where they are not clear.
#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>

#include "ckptfs/version.h"
#include "cli/commit.h"
#include "request/world_size.h"
#include "util/nearest_word.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

/// CLI11's help with a usage line of our own.
class UsageFormatter final : public CLI::Formatter {
 public:
    explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) { column_width(28); }

    std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
        return "\nUsage: " + usage_ + "\n";
    }

 private:
    std::string usage_;
};

/// A count of elements, as integers are written: DeepSpeed's own default, 1e9, has ten digits.
Result<std::uint64_t> parse_sub_group_size(const std::string& text) {
    if (const auto value = parse_count(text)) {
        return *value;
    }
    return usage_error("the sub-group size " + in_quotes(text) +
                       " is not a number of elements in decimal digits; give zero_optimization.sub_group_size of "
                       "the run that will resume");
}

Result<std::uint64_t> parse_rank(const std::string& text) {
    if (const auto value = parse_count(text)) {
        return *value;
    }
    return usage_error("--rank-values-of is " + in_quotes(text) +
                       ", but must be the number of a data-parallel rank of the checkpoint in decimal digits");
}

std::string version_line() {
    std::string line = std::string("ckptfs ") + version;
    if (!commit.empty()) {
        line.append(" (commit ").append(commit).append(")");
    }
    return line;
}

/// An option where it stands on the command line.
struct GivenOption {
    const CLI::Option* option = nullptr;
    std::string name;                  ///< as it is written there
    std::optional<std::string> value;  ///< behind a `=`
};

struct Scanned {
    std::vector<GivenOption> options;
    bool has_positional = false;
};

bool takes_value(const CLI::Option& option) {
    return option.get_items_expected_max() > 0;
}

bool may_be_repeated(const CLI::App& app, const CLI::Option& option) {
    return option.get_items_expected_max() > 1 || &option == app.get_help_ptr() || &option == app.get_version_ptr();
}

std::optional<std::string> value_of(const std::string& word, std::size_t equals) {
    return equals < word.size() ? std::optional(word.substr(equals + 1)) : std::nullopt;
}

/// The flags of a word such as -lR.
void scan_letters(const CLI::App& app, const std::string& word, std::vector<GivenOption>& options) {
    for (std::size_t at = 1; at < word.size(); ++at) {
        const std::string name{'-', word[at]};
        const CLI::Option* option = app.get_option_no_throw(name);
        if (option == nullptr || takes_value(*option)) {
            return;
        }
        options.push_back({option, name, word.substr(at + 1, 1) == "=" ? value_of(word, at + 1) : std::nullopt});
    }
}

/// The options that `app` knows, as CLI11 will find them.
Scanned scan(const CLI::App& app, const std::vector<std::string>& arguments) {
    Scanned result;
    for (std::size_t index = 0; index < arguments.size(); ++index) {
        const std::string& word = arguments[index];
        if (word == "--") {
            result.has_positional = result.has_positional || index + 1 < arguments.size();
            break;
        }
        if (!word.starts_with("-") || word.size() == 1) {
            result.has_positional = true;
        } else if (!word.starts_with("--")) {
            scan_letters(app, word, result.options);
        } else {
            const std::size_t equals = std::min(word.find('='), word.size());
            const std::string name = word.substr(0, equals);
            if (const CLI::Option* option = app.get_option_no_throw(name)) {
                result.options.push_back({option, name, value_of(word, equals)});
                const std::string next = index + 1 < arguments.size() ? arguments[index + 1] : "--";
                const bool has_next = !next.starts_with("-") || next == "-";
                index += static_cast<std::size_t>(takes_value(*option) && equals == word.size() && has_next);
            }
        }
    }
    return result;
}

/// CLI11 takes `--flag=false` for a way not to give the flag, and does not say what was given twice.
Result<void> expect_once_and_plain_flags(const CLI::App& app, const std::vector<std::string>& arguments,
                                         const char* usage) {
    std::set<const CLI::Option*> seen;
    for (const GivenOption& given : scan(app, arguments).options) {
        if (given.value && !takes_value(*given.option)) {
            return usage_error("option " + given.name + " takes no value: write it without " +
                               in_quotes("=" + *given.value) + "; usage: " + usage);
        }
        if (!seen.insert(given.option).second && !may_be_repeated(app, *given.option)) {
            return usage_error("option " + given.name +
                               " is given twice, and counts once: leave one out; usage: " + usage);
        }
    }
    return {};
}

/// The words of "source|fp32|bf16|fp16"; none of "N".
std::vector<std::string> choices_of(const std::string& value) {
    std::vector<std::string> choices;
    for (std::size_t begin = 0; value.find('|') != std::string::npos && begin <= value.size();) {
        const std::size_t end = std::min(value.find('|', begin), value.size());
        choices.push_back(value.substr(begin, end - begin));
        begin = end + 1;
    }
    return choices;
}

CommandDescription describe(const CLI::App& app, const char* usage) {
    CommandDescription result;
    result.usage = usage;
    result.text = app.get_description();
    result.notes = app.get_footer();
    for (const CLI::Option* option : app.get_options()) {
        if (option->nonpositional()) {
            OptionDescription described;
            for (const std::string& name : option->get_snames()) {
                described.names.push_back("-" + name);
            }
            for (const std::string& name : option->get_lnames()) {
                described.names.push_back("--" + name);
            }
            described.value = takes_value(*option) ? option->get_type_name() : "";
            described.choices = described.names.back() == "--view" ? names_of_views() : choices_of(described.value);
            described.text = option->get_description();
            described.is_repeatable = may_be_repeated(app, *option);
            result.options.push_back(std::move(described));
        } else {
            result.positionals.push_back({option->get_name(true), option->get_description()});
        }
    }
    return result;
}

/// " (did you mean --world-size?)", where `word` is nearly an option of `app`.
std::string option_meant_by(const CLI::App& app, const std::string& word) {
    std::vector<std::string_view> names;
    for (const CLI::Option* option : app.get_options()) {
        const auto& long_names = option->get_lnames();
        names.insert(names.end(), long_names.begin(), long_names.end());
    }
    std::string name = word.substr(0, word.find('='));
    name.erase(0, name.find_first_not_of('-'));
    std::replace(name.begin(), name.end(), '_', '-');
    const auto meant = nearest_word(name, names);
    return meant ? " (did you mean --" + std::string(*meant) + "?)" : "";
}

/// " (did you mean --ds-config=config.json?)", where `word` is named as such a file, and `app` takes one.
std::string config_meant_by(const CLI::App& app, const std::string& word) {
    const CLI::Option* const config = app.get_option_no_throw("--ds-config");
    const bool is_meant = word.ends_with(".json") && config != nullptr && config->count() == 0;
    return is_meant ? " (did you mean --ds-config=" + printable(word) + "?)" : "";
}

}  // namespace

void add_positional(CLI::App& app, const char* name, std::string& value, const char* description) {
    app.add_option(name, value, description)->type_name("");
}

void add_source(CLI::App& app, Strings& strings) {
    add_positional(app, "SOURCE", strings.source, "Directory of the checkpoint");
}

bool has_positional(const CLI::App& app, const std::vector<std::string>& arguments) {
    return scan(app, arguments).has_positional;
}

std::optional<std::uint64_t> parse_count(const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = !text.empty() && failure == std::errc() && end == text.data() + text.size();
    return whole && value <= INT64_MAX ? std::optional(value) : std::nullopt;
}

Error usage_error(const std::string& message) {
    return {ErrorCode::invalid_argument, message};
}

Result<void> expect_given(const std::string& value, const char* name, const char* usage) {
    if (value.empty()) {
        return usage_error(std::string(name) + " is missing; usage: " + usage);
    }
    return {};
}

Result<std::optional<Text>> run_parser(CLI::App& app, std::vector<std::string> arguments, const char* usage) {
    app.formatter(std::make_shared<UsageFormatter>(usage));
    app.set_help_flag("-h,--help", "Print this help and exit");
    app.set_version_flag("-V,--version", version_line());
    app.allow_extras();
    CKPTFS_TRY(expect_once_and_plain_flags(app, arguments, usage));
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the end
    try {
        app.parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
        return std::optional(Text{app.help(), describe(app, usage)});
    } catch (const CLI::CallForVersion&) {
        return std::optional(Text{version_line() + "\n", {}});
    } catch (const CLI::ArgumentMismatch& failure) {
        const std::string text = failure.what();
        return usage_error("option " + text.substr(0, text.find(':')) + " needs a value; usage: " + usage);
    } catch (const CLI::ParseError& failure) {
        return usage_error(printable(failure.what()) + "; usage: " + usage);
    }
    std::vector<std::string> extras = app.remaining();
    if (const auto mark = std::find(extras.begin(), extras.end(), "--"); mark != extras.end()) {
        extras.erase(mark);  // for CLI11 the end of the options is an argument that is left over
    }
    if (extras.empty()) {
        return std::optional<Text>();
    }
    const std::string& extra = extras.front();
    if (extra.starts_with("-") && extra.size() > 1) {
        return usage_error("unknown option " + in_quotes(extra) + option_meant_by(app, extra) + "; usage: " + usage);
    }
    return usage_error("unexpected argument " + in_quotes(extra) + config_meant_by(app, extra) + "; usage: " + usage);
}

TargetOptions::TargetOptions(CLI::App& app, Strings& strings, const char* description,
                             std::optional<ViewOptionsParser::Tag> tag, SubGroupSize sub_group_size)
    : strings_(strings),
      world_size_(app.add_option("--world-size", strings.world_size, description)->type_name("N")),
      dp_size_(app.add_option("--dp-size", strings.dp_size,
                              "The same in data-parallel ranks: N over the model-parallel degree")
                   ->type_name("D")) {
    if (tag) {
        view_.emplace(app, *tag);
    }
    app.add_option("--ds-config", strings.config_file,
                   "DeepSpeed config (JSON, Hjson) of the run that resumes; its layout settings replace stored ones")
        ->type_name("FILE");
    app.add_flag("--accept-mixed", strings.accept_mixed,
                 "Accept a tag whose files look like those of two saves, although each of them is whole");
    rank_values_of_ = app.add_option("--rank-values-of", strings.rank_values_of,
                                     "Give every rank the values that data-parallel rank R keeps for itself alone")
                          ->type_name("R");
    if (sub_group_size == SubGroupSize::option) {
        sub_group_size_ = app.add_option("--sub-group-size", strings.sub_group_size,
                                         "sub_group_size of the run that will resume, under stage 3")
                              ->type_name("S");
    }
}

Result<TargetArguments> TargetOptions::parse(bool may_be_of_job) const {
    TargetArguments result;
    result.config_file = strings_.config_file;
    if (sub_group_size_ != nullptr && sub_group_size_->count() > 0) {
        CKPTFS_ASSIGN(result.sub_group_size, parse_sub_group_size(strings_.sub_group_size));
    }
    result.read.accept_mixed = strings_.accept_mixed;
    if (rank_values_of_->count() > 0) {
        CKPTFS_ASSIGN(result.read.rank_values_of, parse_rank(strings_.rank_values_of));
    }
    if (world_size_->count() > 0 && dp_size_->count() > 0) {
        return usage_error("--world-size and --dp-size say the same thing in two ways; give one of them");
    }
    const bool has_world_size = world_size_->count() > 0 || dp_size_->count() > 0;
    if (view_) {
        if (view_->has_view() && has_world_size) {
            return usage_error(
                "--view says which view is meant, a world size's among them; give it without "
                "--world-size and --dp-size");
        }
        CKPTFS_ASSIGN(result.request, view_->request());
    }
    if (may_be_of_job && strings_.world_size == "auto") {
        result.of_job = true;
    } else if (strings_.world_size == "auto") {
        return usage_error(
            "--world-size=auto is for `ckptfs run`, which looks for the number of ranks of the job around it; give the "
            "number of ranks, 1 to " +
            grouped(max_world_size));
    } else if (has_world_size) {
        const bool counts_data_parallel = dp_size_->count() > 0;
        CKPTFS_ASSIGN(const std::uint64_t world_size,
                      parse_world_size(counts_data_parallel ? strings_.dp_size : strings_.world_size));
        result.request = ViewRequest::at_world_size(world_size, counts_data_parallel);
    }
    if (view_) {
        const auto asked_for = result.of_job ? std::optional(ViewRequest::at_world_size(1)) : result.request;
        CKPTFS_ASSIGN(result.names, view_->arguments(asked_for));
    }
    return result;
}

ShownOptions::ShownOptions(CLI::App& app, Strings& strings)
    : strings_(strings),
      target_(app, strings, "Number of ranks to show the checkpoint at, 1 to 1,048,576",
              ViewOptionsParser::Tag::current_one) {
    app.add_flag("--allow-empty", strings.allow_empty,
                 "Go on even while SOURCE holds no whole checkpoint: what there is can be looked at");
}

Result<ShownArguments> ShownOptions::parse() const {
    ShownArguments result;
    result.source = strings_.source;
    result.allow_empty = strings_.allow_empty;
    CKPTFS_ASSIGN(result.target, target_.parse());
    return result;
}

}  // namespace ckptfs::cli
