// Partitions as bars of block characters, one above the other in the same scale.
#include "report/picture_text.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string_view>
#include <utility>

#include "util/checked.h"
#include "util/layout.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

constexpr std::size_t max_drawn_groups = 8;
constexpr std::size_t widest_text = 100;
constexpr std::size_t least_box = 4;  // cells, with the line before it
constexpr std::array<std::string_view, 4> shades{"█", "▓", "▒", "░"};
constexpr std::string_view padding_cell = "·";
constexpr std::string_view border = "│";

/// A bar's boxes, each for a bundle of ranks.
struct Bar {
    std::uint64_t bundle = 1;        ///< ranks to a box
    std::vector<std::size_t> begin;  ///< by box, in cells; and the end of the last
    std::vector<std::string> cells;  ///< what each of them shows
};

std::size_t scaled(std::uint64_t numel, std::uint64_t total, std::size_t cells) {
    const double share = total == 0 ? 0 : static_cast<double>(numel) / static_cast<double>(total);
    return static_cast<std::size_t>(std::lround(share * static_cast<double>(cells)));
}

/// A power of two, as ranks mostly come in.
std::uint64_t bundle_for(const Partitions& side, std::size_t cells) {
    return std::bit_ceil(
        std::max<std::uint64_t>(1, ceil_divide(side.ranks, std::max<std::uint64_t>(1, cells / least_box))));
}

/// Draws a side whose ranks, and those of the source that its bytes come from, are bundled. `parts`: by box, the bundle
/// of the source and the elements.
Bar draw(const Partitions& side, std::uint64_t bundle, const std::vector<std::vector<Flow>>& parts,
         const std::vector<std::uint64_t>& padding, std::uint64_t total, std::size_t cells) {
    Bar bar;
    bar.bundle = bundle;
    for (std::uint64_t box = 0; box <= parts.size(); ++box) {
        bar.begin.push_back(scaled(std::min(side.ranks, box * bundle) * side.partition_numel, total, cells));
    }
    bar.cells.assign(bar.begin.back() + 1, std::string(padding_cell));
    for (std::size_t box = 0; box < parts.size(); ++box) {
        const std::size_t first = bar.begin[box];
        bar.cells[first] = border;
        const std::size_t room = bar.begin[box + 1] - first - (bar.begin[box + 1] > first ? 1 : 0);
        const std::size_t full = room - (padding[box] > 0 && room > 0 ? 1 : 0);
        std::uint64_t numel = padding[box];
        for (const Flow& part : parts[box]) {
            numel += part.numel;
        }
        std::uint64_t done = 0;
        std::size_t cell = 0;
        for (const Flow& part : parts[box]) {
            done += part.numel;
            const std::size_t until = std::min(full, scaled(done, numel, room));
            for (; cell < until; ++cell) {
                bar.cells[first + 1 + cell] = shades[part.before % shades.size()];
            }
        }
    }
    bar.cells.back() = border;
    return bar;
}

/// The ranks' numbers, as far as they fit over their boxes.
std::string numbers(const Bar& bar) {
    std::string line;
    for (std::size_t box = 0; box + 1 < bar.begin.size(); ++box) {
        const std::string number = std::to_string(box * bar.bundle);
        const bool fits = bar.begin[box] + 1 + number.size() <= bar.begin[box + 1];
        if (fits && bar.begin[box] + 1 >= line.size() + (line.empty() ? 0 : 1)) {
            line.resize(bar.begin[box] + 1, ' ');
            line += number;
        }
    }
    return line;
}

std::string of_side(const Partitions& side) {
    return grouped(side.ranks) + " x " + grouped(side.partition_numel);
}

std::string sub_groups_of(const Partitions& side) {
    return side.sub_groups.empty() ? "" : ", " + counted(side.sub_groups.size(), "sub-group");
}

std::string padding_of(const std::vector<std::uint64_t>& padding) {
    std::uint64_t all = 0;
    for (const std::uint64_t numel : padding) {
        all += numel;
    }
    return grouped(all);
}

std::string bundles_of(const Bar& before, const Bar& after) {
    if (before.bundle == 1 && after.bundle == 1) {
        return "";
    }
    return "; a box: " + counted(before.bundle, "rank") + " above, " + grouped(after.bundle) + " below";
}

std::string group_text(const DrawnGroup& group, bool with_model_rank, std::size_t columns) {
    const std::size_t label = std::max(of_side(group.before).size(), of_side(group.after).size());
    const std::size_t taken = 2 + label + 2 + 1;  // the last one for the line at the bar's end
    const std::size_t cells = columns > taken + least_box ? columns - taken : least_box;
    const std::uint64_t total =
        std::max(group.before.ranks * group.before.partition_numel, group.after.ranks * group.after.partition_numel);
    const std::uint64_t bundle_before = bundle_for(group.before, cells);
    const std::uint64_t bundle_after = bundle_for(group.after, cells);
    const std::vector<Flow> all = flows(group, bundle_before, bundle_after);
    std::vector<std::vector<Flow>> above(bundle_count(group.before, bundle_before));
    std::vector<std::vector<Flow>> below(bundle_count(group.after, bundle_after));
    for (const Flow& flow : all) {
        above[flow.before].push_back(flow);
        below[flow.after].push_back(flow);
    }
    const auto padding_before = bundle_padding(group.before, bundle_before, all, &Flow::before);
    const auto padding_after = bundle_padding(group.after, bundle_after, all, &Flow::after);
    const Bar before = draw(group.before, bundle_before, above, padding_before, total, cells);
    const Bar after = draw(group.after, bundle_after, below, padding_after, total, cells);

    const std::string indent(2 + label + 2, ' ');
    const auto line = [&](const Partitions& side, const Bar& bar) {
        std::string text = "  " + of_side(side);
        text.resize(indent.size(), ' ');
        return text + joined(bar.cells, "") + "\n";
    };
    std::string result = "  " + (with_model_rank ? "mp_rank_" + printable(group.model_rank) + " " : std::string()) +
                         "group " + std::to_string(group.index) + ": " + counted(group.parameters.size(), "parameter") +
                         ", " + counted(group.numel, "element") + "\n";
    result += indent + numbers(before) + "\n" + line(group.before, before) + line(group.after, after) + indent +
              numbers(after) + "\n";
    return result + wrapped("padding " + padding_of(padding_before) + sub_groups_of(group.before) + " -> padding " +
                                padding_of(padding_after) + sub_groups_of(group.after) + bundles_of(before, after),
                            columns, "  ", 4);
}

}  // namespace

std::string as_text(const Picture& picture, std::size_t columns) {
    if (picture.groups.empty()) {
        return "";
    }
    std::string result = wrapped(
        "ranks x elements of each: above as saved, below as shown; a shade for each rank that they come from, "
        "· padding (one cell at least)",
        std::min(columns, widest_text), "  ", 2);
    bool with_model_rank = false;
    for (const DrawnGroup& group : picture.groups) {
        with_model_rank = with_model_rank || group.model_rank != picture.groups.front().model_rank;
    }
    for (std::size_t index = 0; index < std::min(picture.groups.size(), max_drawn_groups); ++index) {
        result += "\n" + group_text(picture.groups[index], with_model_rank, columns);
    }
    if (picture.groups.size() > max_drawn_groups) {
        result += "\n  ... and " + counted(picture.groups.size() - max_drawn_groups, "group") +
                  " more (--html draws all of them)\n";
    }
    return result;
}

}  // namespace ckptfs::report
