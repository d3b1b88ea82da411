// --view and what goes with it.
#include "cli/view_arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "cli/description.h"
#include "request/world_size.h"
#include "util/name_expression.h"
#include "util/nearest_word.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* known_views =
    "world-size-N, dp-size-N, weights, states, lightning, universal, and weights-fp32, weights-bf16, weights-fp16, "
    "each also with -bin behind";

Error refused(const std::string& message) {
    return {ErrorCode::invalid_argument, message};
}

constexpr std::array<std::pair<std::string_view, WeightsDType>, 4> dtypes{{{"source", WeightsDType::source},
                                                                           {"fp32", WeightsDType::fp32},
                                                                           {"bf16", WeightsDType::bf16},
                                                                           {"fp16", WeightsDType::fp16}}};
constexpr std::array<std::pair<std::string_view, WeightsContainer>, 2> containers{
    {{"safetensors", WeightsContainer::safetensors}, {"bin", WeightsContainer::bin}}};

Result<WeightsDType> parse_dtype(const std::string& text) {
    for (const auto& [name, dtype] : dtypes) {
        if (text == name) {
            return dtype;
        }
    }
    return refused("--dtype is " + in_quotes(text) + ", but must be source, fp32, bf16 or fp16");
}

Result<WeightsContainer> parse_container(const std::string& text) {
    for (const auto& [name, container] : containers) {
        if (text == name) {
            return container;
        }
    }
    return refused("--container is " + in_quotes(text) + ", but must be safetensors or bin");
}

Result<void> expect_regex(const char* option, const std::string& pattern) {
    const auto expression = NameExpression::compile(pattern, ExpressionOf::user);
    if (!expression.ok()) {
        return refused(std::string(option) + " is " + in_quotes(pattern) + ", which " +
                       printable(expression.error().message()));
    }
    return {};
}

/// Why the name of a world size is none, where it is the size that is wrong.
Result<void> expect_size(std::string_view view) {
    for (const std::string_view prefix : {"world-size-", "dp-size-"}) {
        if (view.starts_with(prefix)) {
            CKPTFS_TRY(parse_world_size(view.substr(prefix.size())));
        }
    }
    return {};
}

/// " (did you mean weights?)", where `name` is nearly that of a view.
std::string meant_view(const std::string& name) {
    std::vector<std::string> names = names_of_views();
    const std::string digits = name.substr(std::min(name.find_last_not_of("0123456789") + 1, name.size()));
    for (std::string& known : names) {
        known += known.back() == '-' ? digits : "";
    }
    const auto meant = nearest_word(name, {names.begin(), names.end()});
    return meant ? " (did you mean " + std::string(*meant) + "?)" : "";
}

// The replacement is a part of a name, in which there is no '='; a look-ahead in the expression may have one.
Result<view::Rename> parse_rename(const std::string& text) {
    const std::size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0) {
        return refused("--rename is " + in_quotes(text) +
                       ", but must be REGEX=REPLACEMENT, such as '^model\\.=transformer.'");
    }
    view::Rename rename{text.substr(0, equals), text.substr(equals + 1)};
    CKPTFS_TRY(expect_regex("--rename", rename.pattern));
    return rename;
}

}  // namespace

std::vector<std::string> names_of_views() {
    std::vector<std::string> names{"world-size-", "dp-size-"};
    ViewRequest request;
    request.kind = ViewKind::weights;
    for (const auto& [dtype_name, dtype] : dtypes) {
        for (const auto& [container_name, container] : containers) {
            request.dtype = dtype;
            request.container = container;
            names.push_back(request.name());
        }
    }
    for (const ViewKind kind : {ViewKind::states, ViewKind::lightning, ViewKind::universal}) {
        ViewRequest plain;
        plain.kind = kind;
        names.push_back(plain.name());
    }
    return names;
}

Result<std::uint64_t> parse_nbytes(const std::string& text) {
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 9> units{{{"", 1},
                                                                               {"KB", 1'000},
                                                                               {"MB", 1'000'000},
                                                                               {"GB", 1'000'000'000},
                                                                               {"TB", 1'000'000'000'000},
                                                                               {"KiB", std::uint64_t{1} << 10U},
                                                                               {"MiB", std::uint64_t{1} << 20U},
                                                                               {"GiB", std::uint64_t{1} << 30U},
                                                                               {"TiB", std::uint64_t{1} << 40U}}};
    std::uint64_t count = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const auto* const known =
        std::find_if(units.begin(), units.end(), [&](const auto& entry) { return entry.first == unit; });
    if (failure != std::errc() || known == units.end() || count == 0 ||
        count > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / known->second) {
        return refused(in_quotes(text) +
                       " is no size; give bytes, 1 at least, or a whole number with KB, MB, GB, TB, "
                       "KiB, MiB, GiB or TiB behind, such as 5GB");
    }
    return count * known->second;
}

ViewOptionsParser::ViewOptionsParser(CLI::App& app, Tag tag) {
    app.add_option("--view", view_, "The view: world-size-N, dp-size-D, weights, states, lightning or universal")
        ->type_name("NAME");
    dtype_option_ = app.add_option("--dtype", dtype_, "Of --view=weights: the dtype of floating-point parameters")
                        ->type_name(choices_in(dtypes));
    container_option_ =
        app.add_option("--container", container_, "Of --view=weights: the kind of file (bin: in fp32 without --dtype)")
            ->type_name(choices_in(containers));
    max_shard_size_option_ =
        app.add_option("--max-shard-size", max_shard_size_, "Of the weights: bytes of tensors in one file, such as 5GB")
            ->type_name("SIZE");
    const auto* strip_prefix =
        app.add_option("--strip-prefix", strip_prefixes_, "Take PREFIX off the front of names (may be repeated)")
            ->type_name("PREFIX")
            ->allow_extra_args(false);
    const auto* rename =
        app.add_option("--rename", renames_, "Rename tensors: REGEX=REPLACEMENT (may be repeated, in this order)")
            ->type_name("R=S")
            ->allow_extra_args(false);
    parameters_option_ =
        app.add_option("--parameters", parameters_, "Only parameters in whose name REGEX is found")->type_name("REGEX");
    const auto* trainable_only =
        app.add_flag("--trainable-only", trainable_only_, "Only parameters that are trained, such as an adapter's");
    if (tag == Tag::current_one) {
        tag_option_ =
            app.add_option("--tag", tag_, "The tag whose weights stand beside the tags, instead of what `latest` names")
                ->type_name("NAME");
    }
    of_weights_ = {{"--max-shard-size", max_shard_size_option_, Fits::weights},
                   {"--strip-prefix", strip_prefix, Fits::weights_and_states},
                   {"--rename", rename, Fits::weights_and_states},
                   {"--parameters", parameters_option_, Fits::weights_and_states},
                   {"--trainable-only", trainable_only, Fits::weights_and_states}};
    if (tag_option_ != nullptr) {
        of_weights_.push_back({"--tag", tag_option_, Fits::weights});
    }
}

Result<std::optional<ViewRequest>> ViewOptionsParser::request() const {
    std::optional<ViewRequest> request;
    if (!view_.empty()) {
        request = ViewRequest::parse(view_);
        if (!request) {
            CKPTFS_TRY(expect_size(view_));
            return refused("there is no view " + in_quotes(view_) + meant_view(view_) + "; give one of " + known_views);
        }
    }
    const bool has_dtype = dtype_option_->count() > 0;
    const bool has_container = container_option_->count() > 0;
    if (!has_dtype && !has_container) {
        return request;
    }
    ViewRequest plain;
    plain.kind = ViewKind::weights;
    if (request != plain) {
        return refused(std::string(has_dtype ? "--dtype" : "--container") +
                       " goes with --view=weights alone; give that, or the whole name, such as "
                       "--view=weights-fp32-bin");
    }
    if (has_container) {
        CKPTFS_ASSIGN(request->container, parse_container(container_));
    }
    if (has_dtype) {
        CKPTFS_ASSIGN(request->dtype, parse_dtype(dtype_));
    } else if (request->container == WeightsContainer::bin) {
        request->dtype = WeightsDType::fp32;
    }
    return request;
}

Result<ViewArguments> ViewOptionsParser::arguments(const std::optional<ViewRequest>& request) const {
    for (const Given& given : of_weights_) {
        const bool fits = !request || request->kind == ViewKind::weights ||
                          (request->kind == ViewKind::states && given.fits == Fits::weights_and_states);
        if (!fits && given.option->count() > 0) {
            return refused(std::string(given.name) + " says nothing of the view " + in_quotes(request->name()) +
                           "; it goes with --view=weights" +
                           (given.fits == Fits::weights_and_states ? " and --view=states" : ""));
        }
    }
    ViewArguments result;
    if (max_shard_size_option_->count() > 0) {
        auto nbytes = parse_nbytes(max_shard_size_);
        if (!nbytes) {
            return refused("--max-shard-size: " + nbytes.error().message());
        }
        result.max_shard_nbytes = *nbytes;
    }
    result.strip_prefixes = strip_prefixes_;
    for (const std::string& text : renames_) {
        CKPTFS_ASSIGN(auto rename, parse_rename(text));
        result.renames.push_back(std::move(rename));
    }
    if (parameters_option_->count() > 0) {
        CKPTFS_TRY(expect_regex("--parameters", parameters_));
        result.parameters = parameters_;
    }
    result.trainable_only = trainable_only_;
    if (tag_option_ != nullptr && tag_option_->count() > 0) {
        if (tag_.empty()) {
            return refused("--tag is empty; give the name of a tag directory");
        }
        result.tag = tag_;
    }
    return result;
}

}  // namespace ckptfs::cli
