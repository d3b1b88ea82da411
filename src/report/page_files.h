// The files of src/report/page, as they are there.
#pragma once

#include <string_view>

namespace ckptfs::report {

extern const std::string_view page_html;
extern const std::string_view page_css;
extern const std::string_view model_js;
extern const std::string_view draw_js;
extern const std::string_view page_js;

}  // namespace ckptfs::report
