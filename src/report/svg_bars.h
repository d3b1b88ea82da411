// One group of a picture as the shapes of an SVG.
#pragma once

#include <string>
#include <string_view>

#include "report/picture.h"

namespace ckptfs::report {

/// Where the shapes of a group stand, in pixels.
struct BarsFrame {
    double x = 0;
    double y = 0;
    double width = 0;
};
inline constexpr double bars_height = 146;  ///< numbers of ranks above and below included

/// Bars above and below and the flow between them, with the classes of picture_svg.cpp's style sheet.
[[nodiscard]] std::string bars_svg(const DrawnGroup& group, const BarsFrame& frame);

/// "12.5": as an SVG has coordinates.
[[nodiscard]] std::string coordinate(double value);

}  // namespace ckptfs::report
