// What src/report/page/draw.js draws of a whole group, for those who cannot or need not run it.
#include "report/svg_bars.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "report/picture_words.h"
#include "util/checked.h"
#include "util/plain_text.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

constexpr double least_width = 3;       // pixels: what is narrower is drawn together with its neighbours
constexpr double narrowest_bundle = 6;  // of a bundle of ranks
constexpr double bar_height = 30;
constexpr double top_bar = 20;
constexpr double bottom_bar = 98;
constexpr double top_number = 11;
constexpr double bottom_number = 143;
constexpr double top_bracket = 15;
constexpr double bottom_bracket = 131;
constexpr double character_width = 6.65;  // of a monospaced one of 11 pixels
constexpr double digit_width = 7;
constexpr std::uint64_t most_stripes = 1'000'000;
constexpr std::uint64_t most_ribbons = 80;  // of single stretches: more would hide one another
constexpr double spread = .05;              // what the gaps between partitions take of a bar, at most
constexpr double widest_gap = .12;          // of a partition

/// A parameter's part of one rank's partition.
struct Stripe {
    std::size_t parameter = 0;
    std::uint64_t element = 0;  ///< its first one
    std::uint64_t begin = 0;    ///< in the partition
    std::uint64_t end = 0;
    std::uint64_t until = 0;  ///< with the padding of its share
};

/// A span of a bar that comes from one bundle of the source's ranks.
struct Span {
    std::uint64_t bundle = 0;
    std::uint64_t numel = 0;
};

/// How a bar's partitions stand beside each other. All numbers are elements.
struct Spread {
    double gap = 0;
    double margin = 0;

    Spread(const Partitions& side, double length) {
        const auto total = static_cast<double>(side.ranks * side.partition_numel);
        const auto gaps = static_cast<double>(side.ranks - 1);
        if (side.ranks > 1) {
            gap = std::min((length - total) / gaps, widest_gap * static_cast<double>(side.partition_numel));
        }
        margin = (length - total - gaps * gap) / 2;
    }
};

double length_of(const DrawnGroup& group) {
    const std::uint64_t longer =
        std::max(group.before.ranks * group.before.partition_numel, group.after.ranks * group.after.partition_numel);
    const bool has_gaps = group.before.ranks + group.after.ranks > 2;
    return static_cast<double>(std::max<std::uint64_t>(longer, 1)) * (has_gaps ? 1 + spread : 1);
}

/// Whether every stretch of every parameter can have a ribbon of its own.
bool has_few_stretches(const DrawnGroup& group) {
    std::uint64_t stretches = 0;
    for (std::size_t p = 0; p < group.parameters.size() && stretches <= most_ribbons; ++p) {
        // At least so many; counting them all would take long where there are many.
        stretches += std::max(ceil_divide(group.parameters[p].numel, group.before.dealt[p].share_numel),
                              ceil_divide(group.parameters[p].numel, group.after.dealt[p].share_numel));
    }
    return stretches <= most_ribbons;
}

std::vector<std::vector<Stripe>> stripes_of(const DrawnGroup& group, const Partitions& side) {
    std::vector<std::vector<Stripe>> result(side.ranks);
    for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        const std::uint64_t numel = group.parameters[p].numel;
        for (std::uint64_t element = 0; element < numel;) {
            const std::uint64_t left = side.left_on_rank(p, element);
            const std::uint64_t count = std::min(numel - element, left);
            const PartitionPlace place = side.place(p, element);
            const std::uint64_t end = place.numel + count;
            result[place.rank].push_back({p, element, place.numel, end, side.is_flat ? end : place.numel + left});
            element += count;
        }
    }
    for (std::vector<Stripe>& of_rank : result) {
        std::sort(of_rank.begin(), of_rank.end(), [](const Stripe& a, const Stripe& b) { return a.begin < b.begin; });
    }
    return result;
}

/// The longest end of a dotted name that fits, "" where nothing does.
std::string fitting_name(const std::string& name, double width) {
    const auto room = static_cast<std::size_t>(std::max(0.0, width / character_width));
    std::string plain = plain_text(name);
    if (plain.size() <= room) {
        return plain;
    }
    for (std::size_t dot = plain.find('.'); dot != std::string::npos; dot = plain.find('.', dot + 1)) {
        if (plain.size() - dot <= room) {
            return "…" + plain.substr(dot + 1);
        }
    }
    return "";
}

class Bars {
 public:
    Bars(const DrawnGroup& group, const BarsFrame& frame)
        : group_(group),
          frame_(frame),
          pixels_(frame.width / length_of(group)),
          spread_before_(group.before, length_of(group)),
          spread_after_(group.after, length_of(group)),
          bundle_before_(bundle_for(group.before)),
          bundle_after_(bundle_for(group.after)),
          flows_(flows(group, bundle_before_, bundle_after_)) {}

    std::string draw() {
        draw_ribbons();
        draw_bar(group_.before, &Flow::before, bundle_before_, top_bar);
        draw_bar(group_.after, &Flow::after, bundle_after_, bottom_bar);
        return out_;
    }

 private:
    [[nodiscard]] std::uint64_t bundle_for(const Partitions& side) const {
        const double box = static_cast<double>(side.partition_numel) * pixels_;
        const double ranks = box >= least_width ? 1 : std::ceil(narrowest_bundle / std::max(box, 1e-9));
        return static_cast<std::uint64_t>(std::min(ranks, static_cast<double>(std::max<std::uint64_t>(1, side.ranks))));
    }

    /// Where a position in all partitions of a side, one behind another, is drawn; the end of one partition is not the
    /// begin of the next.
    [[nodiscard]] double x(const Partitions& side, std::uint64_t position, bool is_end = false) const {
        const Spread& spread_of_side = &side == &group_.before ? spread_before_ : spread_after_;
        const std::uint64_t numel = std::max<std::uint64_t>(side.partition_numel, 1);
        const std::uint64_t rank = is_end && position > 0 ? (position - 1) / numel : position / numel;
        const auto gaps = static_cast<double>(std::min(rank, side.ranks - 1));
        return frame_.x + (spread_of_side.margin + static_cast<double>(position) + gaps * spread_of_side.gap) * pixels_;
    }

    [[nodiscard]] std::string colour(std::uint64_t bundle) const {
        const std::uint64_t middle = bundle * bundle_before_ + bundle_before_ / 2;
        return rank_colour(std::min(group_.before.ranks - 1, middle), group_.before.ranks);
    }

    /// Neighbours share the very number of their common edge, or light would come through.
    void add_box(double left, double right, double y, const std::string& fill) {
        if (right > left) {
            out_ += R"(<path class="part" fill=")" + fill + "\" d=\"M" + coordinate(left) + "," +
                    coordinate(frame_.y + y) + "H" + coordinate(right) + "v" + coordinate(bar_height) + "H" +
                    coordinate(left) + "Z\"/>";
        }
    }

    void add_line(double at, double y, const char* kind) {
        out_ += "<path class=\"" + std::string(kind) + "\" d=\"M" + coordinate(at) + "," + coordinate(frame_.y + y) +
                "v" + coordinate(bar_height) + "\"/>";
    }

    void add_text(double at, double y, const std::string& kind, const std::string& text, const char* anchor) {
        out_ += "<text class=\"" + kind + "\" x=\"" + coordinate(at) + "\" y=\"" + coordinate(frame_.y + y) +
                "\" text-anchor=\"" + anchor + "\">" + markup(text) + "</text>";
    }

    void draw_ribbons() {
        std::map<std::uint64_t, std::string> shapes;
        if (bundle_before_ == 1 && bundle_after_ == 1 && has_few_stretches(group_)) {
            add_stretches(shapes);
        } else {
            add_flows(shapes);
        }
        out_ += "<g class=\"ribbon\">";
        for (const auto& [bundle, shape] : shapes) {
            out_ += "<path fill=\"" + colour(bundle) + "\" d=\"" + shape + "\"/>";
        }
        out_ += "</g>";
    }

    void add_stretches(std::map<std::uint64_t, std::string>& shapes) const {
        for (std::size_t p = 0; p < group_.parameters.size(); ++p) {
            for_each_stretch(group_, p, [&](const Stretch& stretch) {
                const std::uint64_t above = stretch.before.rank * group_.before.partition_numel + stretch.before.numel;
                const std::uint64_t below = stretch.after.rank * group_.after.partition_numel + stretch.after.numel;
                shapes[stretch.before.rank] += ribbon(above, below, stretch.numel);
            });
        }
    }

    void add_flows(std::map<std::uint64_t, std::string>& shapes) const {
        std::map<std::uint64_t, std::uint64_t> used_above;
        std::map<std::uint64_t, std::uint64_t> used_below;
        for (const Flow& flow : flows_) {
            const std::uint64_t above =
                flow.before * bundle_before_ * group_.before.partition_numel + used_above[flow.before];
            const std::uint64_t below =
                flow.after * bundle_after_ * group_.after.partition_numel + used_below[flow.after];
            used_above[flow.before] += flow.numel;
            used_below[flow.after] += flow.numel;
            shapes[flow.before] += ribbon(above, below, flow.numel);
        }
    }

    [[nodiscard]] std::string ribbon(std::uint64_t above, std::uint64_t below, std::uint64_t numel) const {
        const std::string a = coordinate(x(group_.before, above));
        const std::string b = coordinate(x(group_.before, above + numel, bundle_before_ == 1));
        const std::string c = coordinate(x(group_.after, below));
        const std::string d = coordinate(x(group_.after, below + numel, bundle_after_ == 1));
        const std::string top = coordinate(frame_.y + top_bar + bar_height);
        const std::string bottom = coordinate(frame_.y + bottom_bar);
        const std::string middle = coordinate(frame_.y + (top_bar + bar_height + bottom_bar) / 2);
        return "M" + a + "," + top + "H" + b + "C" + b + "," + middle + " " + d + "," + middle + " " + d + "," +
               bottom + "H" + c + "C" + c + "," + middle + " " + a + "," + middle + " " + a + "," + top + "Z";
    }

    void draw_bar(const Partitions& side, std::uint64_t Flow::*number, std::uint64_t bundle, double y) {
        const bool is_above = number == &Flow::before;
        std::vector<std::vector<Span>> spans(bundle_count(side, bundle));
        for (const Flow& flow : flows_) {
            spans[flow.*number].push_back({flow.before, flow.numel});
        }
        const bool has_stripes =
            bundle == 1 && side.ranks <= most_stripes / std::max<std::size_t>(1, group_.parameters.size());
        const auto stripes = has_stripes ? stripes_of(group_, side) : std::vector<std::vector<Stripe>>();
        for (std::uint64_t box = 0; box < spans.size(); ++box) {
            const std::uint64_t begin = box * bundle * side.partition_numel;
            const std::uint64_t end = std::min(side.ranks, (box + 1) * bundle) * side.partition_numel;
            add_box(x(side, begin), x(side, end, bundle == 1 || end == side.ranks * side.partition_numel), y,
                    "url(#padding)");
            if (has_stripes) {
                draw_stripes(side, is_above, box, stripes[box], y);
            } else {
                draw_spans(side, begin, spans[box], y);
            }
        }
        draw_brackets(side, bundle, is_above);
        draw_numbers(side, is_above);
    }

    void draw_spans(const Partitions& side, std::uint64_t position, const std::vector<Span>& spans, double y) {
        const bool is_single = (&side == &group_.before ? bundle_before_ : bundle_after_) == 1;
        for (const Span& span : spans) {
            add_box(x(side, position), x(side, position + span.numel, is_single), y, colour(span.bundle));
            position += span.numel;
        }
    }

    void draw_stripes(const Partitions& side, bool is_above, std::uint64_t rank, const std::vector<Stripe>& stripes,
                      double y) {
        const std::uint64_t base = rank * side.partition_numel;
        std::vector<Stripe> narrow;
        std::vector<Stripe> wide;
        const auto draw_narrow = [&] {
            if (!narrow.empty()) {
                draw_spans(side, base + narrow.front().begin, spans_of(narrow, is_above, rank), y);
            }
            narrow.clear();
        };
        for (const Stripe& stripe : stripes) {
            if (static_cast<double>(stripe.until - stripe.begin) * pixels_ < least_width) {
                narrow.push_back(stripe);
                continue;
            }
            draw_narrow();
            out_ += "<g><title>" + markup(words_of(stripe, rank)) + "</title>";
            draw_spans(side, base + stripe.begin, spans_in_order(stripe, is_above, rank), y);
            out_ += "</g>";
            wide.push_back(stripe);
        }
        draw_narrow();
        for (const Stripe& stripe : wide) {
            const double left = x(side, base + stripe.begin);
            const double right = x(side, base + stripe.end, true);
            if (stripe.begin > 0) {
                add_line(left, y, "cut");
            }
            const std::string name = fitting_name(group_.parameters[stripe.parameter].name, right - left - 10);
            if (!name.empty()) {
                add_text((left + right) / 2, y + bar_height / 2 + 4, "inside", name, "middle");
            }
        }
    }

    [[nodiscard]] std::string words_of(const Stripe& stripe, std::uint64_t rank) const {
        const DrawnParameter& parameter = group_.parameters[stripe.parameter];
        std::vector<std::string> shape;
        for (const std::uint64_t extent : parameter.shape) {
            shape.push_back(std::to_string(extent));
        }
        return plain_text(parameter.name) + " [" + joined(shape, ", ") + "], elements " + grouped(stripe.element) +
               "–" + grouped(stripe.element + (stripe.end - stripe.begin) - 1) + " on rank " + std::to_string(rank);
    }

    /// One stripe's bundles of the source as they follow one another; spans too narrow to be seen go with the next.
    [[nodiscard]] std::vector<Span> spans_in_order(const Stripe& stripe, bool is_above, std::uint64_t rank) const {
        if (is_above) {
            return {{rank / bundle_before_, stripe.end - stripe.begin}};
        }
        std::vector<Span> result;
        std::uint64_t pending = 0;
        for_each_span(stripe, [&](const Span& span) {
            pending += span.numel;
            if (static_cast<double>(pending) * pixels_ >= 1) {
                result.push_back({span.bundle, pending});
                pending = 0;
            }
        });
        if (pending > 0 && !result.empty()) {
            result.back().numel += pending;
        }
        return result;
    }

    /// Of several stripes: as much of each bundle as all of them have.
    [[nodiscard]] std::vector<Span> spans_of(const std::vector<Stripe>& stripes, bool is_above,
                                             std::uint64_t rank) const {
        std::map<std::uint64_t, std::uint64_t> numels;
        for (const Stripe& stripe : stripes) {
            if (is_above) {
                numels[rank / bundle_before_] += stripe.end - stripe.begin;
            } else {
                for_each_span(stripe, [&](const Span& span) { numels[span.bundle] += span.numel; });
            }
        }
        std::vector<Span> result;
        result.reserve(numels.size());
        for (const auto& [bundle, numel] : numels) {
            result.push_back({bundle, numel});
        }
        return result;
    }

    template <class Take>
    void for_each_span(const Stripe& stripe, const Take& take) const {
        std::uint64_t left = stripe.end - stripe.begin;
        for (std::uint64_t element = stripe.element; left > 0;) {
            const Dealt& dealt = group_.before.dealt[stripe.parameter];
            const std::uint64_t bundle = group_.before.place(stripe.parameter, element).rank / bundle_before_;
            const std::uint64_t end = (bundle + 1) * bundle_before_ * dealt.share_numel - dealt.first_numel;
            const std::uint64_t count = std::min(left, end - element);
            take(Span{bundle, count});
            element += count;
            left -= count;
        }
    }

    void draw_brackets(const Partitions& side, std::uint64_t bundle, bool is_above) {
        if (bundle > 1 || side.sub_groups.size() < 2) {
            return;
        }
        const double y = frame_.y + (is_above ? top_bracket : bottom_bracket);
        const std::string up = is_above ? "v-4H" : "v4H";
        const std::string down = is_above ? "v4" : "v-4";
        std::string shape;
        for (std::uint64_t rank = 0; rank < side.ranks; ++rank) {
            std::uint64_t begin = rank * side.partition_numel;
            for (const std::uint64_t numel : side.sub_groups) {
                const double left = x(side, begin) + 1.5;
                const double right = x(side, begin + numel, true) - 1.5;
                begin += numel;
                if (right - left >= 2) {
                    shape += "M" + coordinate(left) + "," + coordinate(y + (is_above ? 4 : -4));
                    shape += up + coordinate(right);
                    shape += down;
                }
            }
        }
        out_ += R"(<path class="bracket" d=")" + shape + "\"/>";
    }

    void draw_numbers(const Partitions& side, bool is_above) {
        const double y = is_above ? top_number : bottom_number;
        const double box = static_cast<double>(side.partition_numel) * pixels_;
        const double digits =
            static_cast<double>(std::to_string(std::max<std::uint64_t>(side.ranks, 1) - 1).size()) * digit_width;
        std::uint64_t every = 1;
        while (static_cast<double>(every) * box < digits + 12 && every < side.ranks) {
            every *= 2;
        }
        for (std::uint64_t rank = 0; rank < side.ranks; rank += every) {
            const double left = x(side, rank * side.partition_numel);
            if (every == 1) {
                add_text(left + box / 2, y, "number", (box >= digits + 44 ? "rank " : "") + std::to_string(rank),
                         "middle");
            } else if (left + digits <= frame_.x + frame_.width) {
                add_text(left, y, "number", std::to_string(rank), "start");
            }
        }
    }

    const DrawnGroup& group_;
    BarsFrame frame_;
    double pixels_;
    Spread spread_before_;
    Spread spread_after_;
    std::uint64_t bundle_before_;
    std::uint64_t bundle_after_;
    std::vector<Flow> flows_;
    std::string out_;
};

}  // namespace

std::string coordinate(double value) {
    std::array<char, 40> buffer{};
    (void)std::snprintf(buffer.data(), buffer.size(), "%.1f", value);
    std::string result(buffer.data());
    if (result.ends_with(".0")) {
        result.resize(result.size() - 2);
    }
    return result == "-0" ? "0" : result;
}

std::string bars_svg(const DrawnGroup& group, const BarsFrame& frame) {
    return Bars(group, frame).draw();
}

}  // namespace ckptfs::report
