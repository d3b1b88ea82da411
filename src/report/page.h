// A picture as one HTML file that needs nothing else: no network, no other file.
#pragma once

#include <string>

#include "report/description.h"
#include "report/picture.h"

namespace ckptfs::report {

/// Names of more parameters than this are left out of a page, which says so.
inline constexpr std::size_t max_named_parameters = 20000;

/// `description`: with a checkpoint. `picture`: with its files.
[[nodiscard]] std::string as_page(const Description& description, const Picture& picture);

/// What the page draws, as the JSON that is in it.
[[nodiscard]] std::string page_data(const Description& description, const Picture& picture);

}  // namespace ckptfs::report
