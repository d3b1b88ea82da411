// The sheet: heading, groups, legend and files.
#include "report/picture_svg.h"

#include <algorithm>
#include <unordered_map>

#include "report/picture_words.h"
#include "report/svg_bars.h"
#include "util/plain_text.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

constexpr double sheet_width = 960;
constexpr double margin = 24;
constexpr double inner_width = sheet_width - 2 * margin;
constexpr double column_gap = 36;
constexpr double column_width = (inner_width - column_gap) / 2;
constexpr double row_height = 20;
constexpr double mix_width = 52;
constexpr std::size_t most_drawn_groups = 8;
constexpr std::size_t most_listed_files = 6;
constexpr std::size_t longest_file_name = 46;
constexpr std::size_t longest_heading = 88;

constexpr const char* style = R"(
.sheet { fill: #ffffff; stroke: #dde2e9; }
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #5a6472; }
.heading { font-size: 18px; font-weight: 600; fill: #101418; }
.title { font-size: 14px; font-weight: 600; fill: #101418; }
.name { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1b2027; }
.inside { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #ffffff; }
.ribbon { fill-opacity: .26; }
.cut { stroke: #ffffff; stroke-opacity: .6; }
.bracket { fill: none; stroke: #5a6472; stroke-width: 1.2; }
.part { shape-rendering: crispEdges; }
.ground { fill: #eceff3; }
.hatch { stroke: #8b95a3; stroke-width: 1.2; }
@media (prefers-color-scheme: dark) {
  .sheet { fill: #151a21; stroke: #2b333e; }
  text { fill: #97a2b0; }
  .heading, .title { fill: #ffffff; }
  .name { fill: #dfe4ea; }
  .inside { fill: #ffffff; }
  .ribbon { fill-opacity: .42; }
  .cut { stroke: #151a21; }
  .bracket { stroke: #97a2b0; }
  .ground { fill: #222932; }
  .hatch { stroke: #6d7886; }
}
)";

class Sheet {
 public:
    Sheet(const Description& description, const Picture& picture) : description_(description), picture_(picture) {}

    std::string draw() {
        add_heading();
        const std::size_t drawn = std::min(picture_.groups.size(), most_drawn_groups);
        for (std::size_t index = 0; index < drawn; ++index) {
            add_group(index);
        }
        if (drawn < picture_.groups.size()) {
            y_ += 18;
            add_text(margin, "number", "… and " + counted(picture_.groups.size() - drawn, "group") + " more");
            y_ += 10;
        }
        if (!picture_.groups.empty()) {
            add_legend();
        }
        add_files();
        return document();
    }

 private:
    void add_text(double x, const char* kind, const std::string& text, const char* anchor = "start") {
        body_ += "<text class=\"" + std::string(kind) + "\" x=\"" + coordinate(x) + "\" y=\"" + coordinate(y_) +
                 "\" text-anchor=\"" + anchor + "\">" + markup(text) + "</text>\n";
    }

    void add_swatch(double x, double width, const std::string& fill) {
        body_ += "<rect x=\"" + coordinate(x) + "\" y=\"" + coordinate(y_ - 10) + "\" width=\"" + coordinate(width) +
                 R"(" height="11" rx="2.5" fill=")" + fill + "\"/>\n";
    }

    void add_heading() {
        y_ = 38;
        add_text(margin, "heading", plain_text(heading(description_, picture_), longest_heading));
        y_ += 21;
        const CheckpointDescription& checkpoint = *description_.checkpoint;
        std::string text = "ZeRO stage " + std::to_string(checkpoint.stage) + ", " +
                           counted(checkpoint.parameters, "parameter") + ", " + counted(checkpoint.numel, "element") +
                           ", " + counted(checkpoint.files, "file") + " of " + human_nbytes(checkpoint.nbytes);
        add_text(margin, "number", text);
        y_ += 17;
        add_text(margin, "number",
                 "Above: as saved. Below: as shown. Colour: the rank whose file the bytes come from, also below.");
        y_ += 6;
    }

    void add_group(std::size_t index) {
        const DrawnGroup& group = picture_.groups[index];
        const auto side = [&](const Partitions& of) { return grouped(of.ranks) + " × " + grouped(of.partition_numel); };
        const auto padding = [&](const Partitions& of) { return grouped(of.ranks * of.partition_numel - group.numel); };
        y_ += 30;
        body_ += "<g>\n<title>" + markup(title(group, picture_)) + "</title>\n";
        body_ += "<text x=\"" + coordinate(margin) + "\" y=\"" + coordinate(y_) + R"("><tspan class="title">)" +
                 markup(title(group, picture_)) + "</tspan><tspan dx=\"10\">" +
                 markup(plain_text(about(group, description_.checkpoint->groups[index]), longest_heading)) +
                 "</tspan></text>\n";
        add_text(sheet_width - margin, "number",
                 side(group.before) + " → " + side(group.after) + ", padding " + padding(group.before) + " → " +
                     padding(group.after),
                 "end");
        y_ += 8;
        body_ += bars_svg(group, {margin, y_, inner_width}) + "\n</g>\n";
        y_ += bars_height;
    }

    void add_legend() {
        y_ += 30;
        double x = margin;
        const auto add = [&](double width, const std::string& fill, const std::string& text) {
            add_swatch(x, width, fill);
            add_text(x + width + 6, "number", text);
            x += width + 6 + 7 * static_cast<double>(text.size()) + 16;
        };
        const std::uint64_t ranks = picture_.groups.front().before.ranks;
        if (ranks <= rank_colours.size()) {
            for (std::uint64_t rank = 0; rank < ranks; ++rank) {
                add(13, rank_colour(rank, ranks), "rank " + std::to_string(rank));
            }
        } else {
            add(120, "url(#ranks)", "ranks 0 to " + grouped(ranks - 1));
        }
        add(13, "url(#padding)", "padding");
        const bool has_sub_groups = std::any_of(picture_.groups.begin(), picture_.groups.end(), [](const auto& group) {
            return group.before.sub_groups.size() > 1 || group.after.sub_groups.size() > 1;
        });
        if (has_sub_groups) {
            body_ += R"(<path class="bracket" d="M)" + coordinate(x) + "," + coordinate(y_ - 3) + "v-4h16v4\"/>\n";
            add_text(x + 22, "number", "a sub-group");
        }
    }

    void add_files() {
        for (const DrawnFile& file : picture_.files_before) {
            ranks_.emplace(file.file.name, file.optimizer_rank);
        }
        y_ += 40;
        const double top = y_;
        const double before = add_file_list(margin, "As saved", picture_.files_before, 0);
        y_ = top;
        const double after = add_file_list(margin + column_width + column_gap, "As shown", picture_.files_after,
                                           picture_.unlisted_files_after);
        y_ = std::max(before, after);
    }

    double add_file_list(double x, const std::string& name, const std::vector<DrawnFile>& files,
                         std::uint64_t unlisted) {
        const bool is_view = &files == &picture_.files_after;
        std::vector<const DrawnFile*> listed;
        for (const bool is_optimizer : {true, false}) {
            for (const DrawnFile& file : files) {
                if (file.optimizer_rank.has_value() == is_optimizer && listed.size() < most_listed_files) {
                    listed.push_back(&file);
                }
            }
        }
        std::uint64_t nbytes = 0;
        for (const DrawnFile& file : files) {
            nbytes += file.file.nbytes;
        }
        add_text(
            x, "title",
            name + ": " + counted(files.size() + unlisted, "file") + (unlisted > 0 ? "" : ", " + human_nbytes(nbytes)));
        y_ += 4;
        for (const DrawnFile* file : listed) {
            y_ += row_height;
            add_file(x, *file, is_view);
        }
        const std::uint64_t left = files.size() + unlisted - listed.size();
        if (left > 0) {
            y_ += row_height;
            add_text(x, "number", "… and " + counted(left, "file") + " more");
        }
        return y_;
    }

    void add_file(double x, const DrawnFile& file, bool is_view) {
        add_text(x, "name", plain_text(file.file.name, longest_file_name));
        const double right = x + column_width;
        add_text(right - mix_width - 12, "number", human_nbytes(file.file.nbytes), "end");
        if (!is_view || file.file.original) {
            add_swatch(right - mix_width, mix_width, colour_of(file.optimizer_rank));
            return;
        }
        std::uint64_t all = 0;
        for (const CutPart& part : file.file.parts) {
            all += part.nbytes;
        }
        double begin = right - mix_width;
        std::uint64_t done = 0;
        for (const CutPart& part : file.file.parts) {
            done += part.nbytes;
            const double end = right - mix_width * static_cast<double>(all - done) / static_cast<double>(all);
            if (end - begin < 1 && done < all) {
                continue;  // Goes with the next: many slivers beside each other would let the ground through.
            }
            const auto source = ranks_.find(part.file);
            // Neighbours share the very number of their common edge, or light would come through.
            body_ += R"(<path class="part" fill=")" +
                     colour_of(source == ranks_.end() ? std::nullopt : source->second) + "\" d=\"M" +
                     coordinate(begin) + "," + coordinate(y_ - 10) + "H" + coordinate(end) + "v11H" +
                     coordinate(begin) + "Z\"/>\n";
            begin = end;
        }
    }

    [[nodiscard]] std::string colour_of(const std::optional<std::uint64_t>& rank) const {
        return rank && !picture_.groups.empty() ? rank_colour(*rank, picture_.groups.front().before.ranks) : "#8b95a3";
    }

    [[nodiscard]] std::string document() const {
        const double height = y_ + margin;
        const std::string name = markup(heading(description_, picture_));
        std::string result =
            R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 )" + coordinate(sheet_width) + " " +
            coordinate(height) + "\" width=\"" + coordinate(sheet_width) + "\" height=\"" + coordinate(height) +
            "\" role=\"img\" aria-labelledby=\"name what\">\n<title id=\"name\">" + name +
            "</title>\n<desc id=\"what\">" + markup(words()) + "</desc>\n<style>" + style + "</style>\n<defs>\n";
        result +=
            "<pattern id=\"padding\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
            "patternTransform=\"rotate(45)\"><rect class=\"ground\" width=\"6\" height=\"6\"/><path class=\"hatch\" "
            "d=\"M1,0V6\"/></pattern>\n<linearGradient id=\"ranks\">";
        for (std::size_t index = 0; index < rank_colours.size(); ++index) {
            const double place = static_cast<double>(index) / static_cast<double>(rank_colours.size() - 1);
            result += "<stop offset=\"" + coordinate(100 * place) + "%\" stop-color=\"" +
                      std::string(rank_colours.at(index)) + "\"/>";
        }
        return result + "</linearGradient>\n</defs>\n<rect class=\"sheet\" x=\"0.5\" y=\"0.5\" width=\"" +
               coordinate(sheet_width - 1) + "\" height=\"" + coordinate(height - 1) + "\" rx=\"12\"/>\n" + body_ +
               "</svg>\n";
    }

    /// The flow in words, for those who do not see it.
    [[nodiscard]] std::string words() const {
        std::string result;
        for (std::size_t index = 0; index < std::min(picture_.groups.size(), most_drawn_groups); ++index) {
            const DrawnGroup& group = picture_.groups[index];
            result += title(group, picture_) + ": " + counted(group.before.ranks, "rank") + " of " +
                      grouped(group.before.partition_numel) + " elements each become " +
                      counted(group.after.ranks, "rank") + " of " + grouped(group.after.partition_numel) + ". ";
        }
        return result.empty() ? "No optimizer state is cut over ranks." : trimmed(result);
    }

    const Description& description_;
    const Picture& picture_;
    std::unordered_map<std::string, std::optional<std::uint64_t>> ranks_;  // of the source's files, by name
    std::string body_;
    double y_ = 0;
};

}  // namespace

std::string as_svg(const Description& description, const Picture& picture) {
    return Sheet(description, picture).draw();
}

}  // namespace ckptfs::report
