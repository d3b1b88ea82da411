// Patterns applied to names.
#include "view/tensor_names.h"

namespace ckptfs::view {
namespace {

/// A match may begin anywhere in a name: time grows with its length.
constexpr std::size_t longest_matched_name = 512;

Error failed(const char* option, const std::string& pattern, const Error& error) {
    return {error.code(), "'" + pattern + "', which " + option + " gives, " + error.message()};
}

Result<NameExpression> compiled(const std::string& pattern, const char* option) {
    auto expression = NameExpression::compile(pattern, ExpressionOf::user);
    if (!expression.ok()) {
        return failed(option, pattern, expression.error());
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

}  // namespace

Result<TensorNames> TensorNames::create(const ViewOptions& options, const std::vector<std::string>& default_prefixes) {
    TensorNames names;
    names.prefixes_ = options.strip_prefixes.empty() ? default_prefixes : options.strip_prefixes;
    std::erase(names.prefixes_, "");
    for (const Rename& rename : options.renames) {
        CKPTFS_ASSIGN(NameExpression pattern, compiled(rename.pattern, "--rename"));
        names.renames_.emplace_back(std::move(pattern), rename);
    }
    if (options.parameters) {
        CKPTFS_ASSIGN(NameExpression pattern, compiled(*options.parameters, "--parameters"));
        names.parameters_.emplace(std::move(pattern), *options.parameters);
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
    for (const auto& [expression, rename] : renames_) {
        CKPTFS_TRY(check_length(result));
        auto renamed = expression.replaced(result, rename.replacement);
        if (!renamed.ok()) {
            return failed("--rename", rename.pattern + "=" + rename.replacement, renamed.error());
        }
        result = *std::move(renamed);
    }
    return result;
}

Result<bool> TensorNames::is_selected(const std::string& name) const {
    if (!parameters_) {
        return true;
    }
    CKPTFS_TRY(check_length(name));
    const auto& [expression, pattern] = *parameters_;
    auto found = expression.finds(name);
    if (!found.ok()) {
        return failed("--parameters", pattern, found.error());
    }
    return found;
}

}  // namespace ckptfs::view
