// `{}` in the COMMAND of `ckptfs run`.
#include "cli/placeholder.h"

namespace ckptfs::cli {

std::string with_view(std::string_view word, std::string_view view) {
    constexpr std::string_view placeholder = "{}";
    constexpr std::string_view escaped = "{{}}";
    std::string result;
    while (!word.empty()) {
        if (word.starts_with(escaped)) {
            result += placeholder;
            word.remove_prefix(escaped.size());
        } else if (word.starts_with(placeholder)) {
            result += view;
            word.remove_prefix(placeholder.size());
        } else {
            result += word.front();
            word.remove_prefix(1);
        }
    }
    return result;
}

}  // namespace ckptfs::cli
