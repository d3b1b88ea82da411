// Regular expressions that names are matched with, where neither may be trusted: PCRE2, which gives up where it would
// take for ever.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "ckptfs/result.h"

struct pcre2_real_code_8;

namespace ckptfs {

/// Whose expression it is decides how much may be spent on a name.
enum class ExpressionOf {
    checkpoint,  ///< one of many from a file: 10,000 steps, which is less than a millisecond
    user,        ///< 100,000 steps from each place of a name
};

/// A regular expression as Perl and, but for rare things, Python write it, of at most 1,000 bytes. Names are bytes: no
/// letter outside ASCII is one to `\w`. Immutable; copies share what was compiled.
class NameExpression {
 public:
    /// `invalid_argument` for what is no expression or too large. The message goes on after "the expression '…' ".
    static Result<NameExpression> compile(const std::string& pattern, ExpressionOf whose);

    /// Whether it matches somewhere in `name`. `unsupported` where that takes more steps than may be spent, as with all
    /// below.
    [[nodiscard]] Result<bool> finds(const std::string& name) const;
    /// Whether it matches from the beginning of `name` on, to its end only where the expression says so.
    [[nodiscard]] Result<bool> begins(const std::string& name) const;
    /// `name` with every match replaced, in which `$1` and `${1}` are a group and `$$` a dollar. `invalid_argument` for
    /// a replacement that names a group which is not there.
    [[nodiscard]] Result<std::string> replaced(const std::string& name, const std::string& replacement) const;

    /// Memory that it takes.
    [[nodiscard]] std::size_t nbytes() const;

 private:
    NameExpression(std::shared_ptr<const pcre2_real_code_8> code, ExpressionOf whose)
        : code_(std::move(code)), whose_(whose) {}
    [[nodiscard]] Result<bool> match(const std::string& name, unsigned options) const;

    std::shared_ptr<const pcre2_real_code_8> code_;
    ExpressionOf whose_;
};

}  // namespace ckptfs
