// Patterns applied to names.
#include "view/tensor_names.h"

#include "util/name_expression.h"

namespace ckptfs::view {
namespace {

/// A match may begin anywhere in a name: time grows with the square of its length.
constexpr std::size_t longest_matched_name = 512;

Result<std::regex> compiled(const std::string& pattern, const std::string& option, ExpressionUse use) {
    auto expression = compile_expression(pattern, use);
    if (!expression.ok()) {
        return Error(ErrorCode::invalid_argument,
                     "'" + pattern + "', which " + option + " gives, " + expression.error().message());
    }
    return expression;
}

Result<void> check_length(const std::string& name) {
    if (name.size() > longest_matched_name) {
        return Error(ErrorCode::unsupported,
                     "the name '" + name.substr(0, 64) + "…' has " + std::to_string(name.size()) +
                         " bytes; --rename and --parameters take " + std::to_string(longest_matched_name) + " at most");
    }
    return {};
}

Error too_complex(const std::string& name, const std::regex_error& error) {
    return {ErrorCode::invalid_argument,
            "a pattern of --rename or --parameters cannot be matched with '" + name + "': " + error.what()};
}

}  // namespace

Result<TensorNames> TensorNames::create(const ViewOptions& options, const std::vector<std::string>& default_prefixes) {
    TensorNames names;
    names.prefixes_ = options.strip_prefixes.empty() ? default_prefixes : options.strip_prefixes;
    std::erase(names.prefixes_, "");
    for (const Rename& rename : options.renames) {
        CKPTFS_ASSIGN(std::regex pattern, compiled(rename.pattern, "--rename", ExpressionUse::replacing));
        names.renames_.emplace_back(std::move(pattern), rename.replacement);
    }
    if (options.parameters) {
        CKPTFS_ASSIGN(names.parameters_, compiled(*options.parameters, "--parameters", ExpressionUse::finding));
    }
    return names;
}

Result<std::string> TensorNames::shown(const std::string& name) const {
    std::string result = name;
    for (bool stripped = true; stripped;) {
        stripped = false;
        for (const std::string& prefix : prefixes_) {
            if (result.size() > prefix.size() && result.starts_with(prefix)) {
                result.erase(0, prefix.size());
                stripped = true;
            }
        }
    }
    for (const auto& [pattern, replacement] : renames_) {
        CKPTFS_TRY(check_length(result));
        try {
            result = std::regex_replace(result, pattern, replacement);
        } catch (const std::regex_error& error) {
            return too_complex(name, error);
        }
    }
    return result;
}

Result<bool> TensorNames::is_selected(const std::string& name) const {
    if (!parameters_) {
        return true;
    }
    CKPTFS_TRY(check_length(name));
    try {
        return std::regex_search(name, *parameters_);
    } catch (const std::regex_error& error) {
        return too_complex(name, error);
    }
}

}  // namespace ckptfs::view
