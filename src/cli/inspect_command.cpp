// ckptfs inspect: reads the metadata of every tag and describes the one that a mount would start from.
#include <algorithm>
#include <ostream>
#include <string_view>
#include <tuple>
#include <utility>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/view_options.h"
#include "report/description.h"
#include "report/page.h"
#include "report/parameters.h"
#include "report/picture.h"
#include "report/picture_svg.h"
#include "report/resume_warnings.h"
#include "report/survey.h"
#include "util/text.h"
#include "view/kind.h"
#include "view/world_size_kind.h"
#include "view/zero_tag.h"
#include "zero/reader.h"

namespace ckptfs::cli {
namespace {

constexpr std::size_t max_named_left_over = 4;

std::int64_t newest_mtime_ns(const zero::Written& checkpoint) {
    std::int64_t result = 0;
    for (const zero::Family& family : checkpoint.families) {
        result = std::max(result, family.model_states_info.stamp.mtime_ns);
        for (const zero::RankFile& rank : family.optimizer) {
            result = std::max(result, rank.info.stamp.mtime_ns);
        }
    }
    return result;
}

class Inspection {
 public:
    Inspection(const InspectArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment), progress_(environment) {}

    Result<void> run() {
        CKPTFS_ASSIGN(options_, read_view_options(arguments_.target));
        progress_.say("looking for tags");
        CKPTFS_ASSIGN(source_, open_checkpoint(environment_, arguments_.source));
        source_ = progress_.watch(source_);
        reader_ = view::zero_tag_reader(options_);
        CKPTFS_ASSIGN(const auto found, report::survey(*source_, *reader_, report::SurveyExtent::all));
        if (found.tags.empty()) {
            return report::no_tags(*source_, found);
        }
        description_.source = source_->display("");
        for (const Error& problem : found.problems) {
            description_.problems.push_back(problem.message());
        }
        if (!found.complete) {
            description_.problems.emplace_back(
                "SOURCE has too many directories to look into all of them: there may be more tags");
        }
        for (const report::TagPlace& tag : found.tags) {
            CKPTFS_TRY(look_at(tag));
        }
        mark_newest();
        CKPTFS_TRY(write_drawings());
        progress_.end();
        print();
        if (description_.checkpoint) {
            return {};
        }
        // Nobody reads a sentence twice.
        return environment_.streams_are_one && !arguments_.json
                   ? Error(first_problem_->code(), in_quotes(description_.source) + " has no whole tag: see above")
                   : *first_problem_;
    }

 private:
    Result<void> look_at(const report::TagPlace& place) {
        report::TagDescription tag;
        tag.name = place.directory;
        tag.latest = place.latest;
        progress_.say_reading(place.directory);
        zero::OpenedFamilies opened;
        const auto checkpoint = zero::read_checkpoint(*source_, place.directory, options_.read, &opened);
        if (!checkpoint) {
            tag.problem = checkpoint.error().message();
            description_.problems.push_back(checkpoint.error().message());
            if (!first_problem_) {
                first_problem_ = checkpoint.error();
            }
            // Some views may need less of it.
            const auto broken =
                view::broken_tag(*source_, place.directory, checkpoint.error(), std::move(opened), options_);
            tag.views = report::describe_views(place.directory, 0,
                                               [&](const ViewRequest& request) { return broken->show(request); });
        } else {
            tag.world_size = (*checkpoint)->world_size();
            tag.global_step = (*checkpoint)->content.global_steps;
            tag.mtime_ns = newest_mtime_ns(**checkpoint);
            tag.warnings = (*checkpoint)->warnings;
            tag.views = report::describe_views(place.directory, tag.world_size, [&](const ViewRequest& request) {
                return show(place.directory, *checkpoint, request);
            });
            tag.degree = (*checkpoint)->degree();
            tag.elsewhere = other_world_sizes(*checkpoint);
            if (!description_.checkpoint) {
                CKPTFS_TRY(describe_tag(place.directory, *checkpoint));
            }
        }
        description_.tags.push_back(std::move(tag));
        return {};
    }

    Result<void> describe_tag(const std::string& directory, const std::shared_ptr<const zero::Written>& checkpoint) {
        CKPTFS_ASSIGN(const auto listing, source_->list(directory));
        CKPTFS_ASSIGN(description_.checkpoint, report::describe(*checkpoint, listing));
        description_.described_tag = directory;
        described_ = checkpoint;
        note_left_over(description_.checkpoint->left_over);
        if (arguments_.target.derived()) {
            CKPTFS_ASSIGN(auto shown, show(directory, checkpoint, *arguments_.target.derived()));
            const auto view = progress_.say_opening("making the files of the view", std::move(shown));
            CKPTFS_ASSIGN(description_.shown, report::describe_shown(*checkpoint, *view, *arguments_.target.derived()));
        }
        if (!arguments_.target.world_size()) {
            description_.warnings = report::resume_warnings(*source_, directory, *checkpoint, std::nullopt);
            return {};
        }
        CKPTFS_ASSIGN(auto shown, view::world_size_view(checkpoint, *arguments_.target.world_size(), options_));
        const auto view = progress_.say_opening("making the files of the view", std::move(shown));
        CKPTFS_ASSIGN(const auto dp_world_size,
                      view::dp_world_size_at(*checkpoint, *arguments_.target.world_size(), options_));
        CKPTFS_ASSIGN(description_.cuts, report::describe_cuts(*checkpoint, *view, dp_world_size, options_));
        CKPTFS_ASSIGN(picture_, report::make_picture(*checkpoint, dp_world_size, options_));
        if (arguments_.html_file || arguments_.svg_file) {
            const auto drawn = progress_.say_opening("drawing", view);
            CKPTFS_TRY(report::place_files(*checkpoint, *drawn, *picture_));
        }
        description_.warnings =
            report::resume_warnings(*source_, directory, *checkpoint, description_.cuts->world_size);
        return {};
    }

    /// Nothing where no tag is whole: that is said at the end.
    Result<void> write_drawings() {
        if (!picture_) {
            return {};
        }
        progress_.say("writing the drawing");
        if (arguments_.svg_file) {
            CKPTFS_TRY(environment_.write_file(*arguments_.svg_file, report::as_svg(description_, *picture_)));
        }
        if (arguments_.html_file) {
            CKPTFS_TRY(environment_.write_file(*arguments_.html_file, report::as_page(description_, *picture_)));
        }
        return {};
    }

    void print() const {
        std::ostream& out = environment_.out;
        if (!arguments_.json) {
            out << report::as_text(description_, picture_ ? &*picture_ : nullptr, environment_.columns);
            if (arguments_.parameters && described_) {
                out << "\nparameters\n";
                report::for_each_parameter(*described_, [&](const report::PlacedParameter& parameter) {
                    out << report::as_text(parameter, environment_.columns);
                });
            }
            return;
        }
        std::string text = report::as_json(description_);
        if (!arguments_.parameters) {
            out << text;
            return;
        }
        // As the object's last key, written one by one: all of them may be more than one wants in memory.
        constexpr std::string_view end = "\n}\n";
        text.resize(text.size() - end.size());
        out << text << ",\n  \"parameters\": [";
        const char* separator = "\n    ";
        if (described_) {
            report::for_each_parameter(*described_, [&](const report::PlacedParameter& parameter) {
                out << std::exchange(separator, ",\n    ") << report::as_json(parameter);
            });
        }
        out << "\n  ]" << end;
    }

    [[nodiscard]] Result<std::shared_ptr<const View>> show(const std::string& directory,
                                                           const std::shared_ptr<const zero::Written>& checkpoint,
                                                           const ViewRequest& request) const {
        return view::kind_of(request.kind)
            .make({checkpoint, options_, cache_, directory, source_->display(directory)}, request);
    }

    /// Whether it can be shown at world sizes that are not its own: some take a config, or an option.
    [[nodiscard]] std::vector<report::ViewAnswer> other_world_sizes(
        const std::shared_ptr<const zero::Written>& checkpoint) const {
        view::ViewOptions options = options_;
        options.counts_data_parallel = false;
        std::vector<report::ViewAnswer> answers;
        for (const std::uint64_t other : {checkpoint->degree(), checkpoint->world_size() + checkpoint->degree()}) {
            if (other != checkpoint->world_size() && other <= max_world_size) {
                const auto view = view::world_size_view(checkpoint, other, options);
                answers.push_back({ViewRequest::at_world_size(other).name(),
                                   view ? std::nullopt : std::optional(view.error().message())});
            }
        }
        return answers;
    }

    /// Copying a checkpoint changes its times, so the step that it holds counts first.
    void mark_newest() {
        const auto older = [](const report::TagDescription& a, const report::TagDescription& b) {
            const auto age = [](const report::TagDescription& tag) {
                return std::tuple(!tag.problem, tag.global_step.value_or(-1), tag.mtime_ns);
            };
            return age(a) < age(b);
        };
        const auto newest = std::max_element(description_.tags.begin(), description_.tags.end(), older);
        newest->newest = !newest->problem;
    }

    void note_left_over(const std::vector<std::string>& names) {
        if (names.empty()) {
            return;
        }
        const std::size_t named = std::min(names.size(), max_named_left_over);
        std::string text = joined({names.begin(), names.begin() + static_cast<std::ptrdiff_t>(named)}, ", ");
        if (named < names.size()) {
            text += " and " + std::to_string(names.size() - named) + " more";
        }
        description_.problems.push_back(description_.described_tag + " holds " + counted(names.size(), "file") +
                                        " left over by an older, larger run (" + text +
                                        "): ignored, and not shown in a mount");
    }

    const InspectArguments& arguments_;
    const Environment& environment_;
    Progress progress_;
    view::ViewOptions options_;
    std::shared_ptr<const Source> source_;
    std::unique_ptr<TagReader> reader_;
    std::shared_ptr<view::FileCache> cache_ = std::make_shared<view::FileCache>();
    report::Description description_;
    std::shared_ptr<const zero::Written> described_;  ///< the checkpoint that it describes
    std::optional<report::Picture> picture_;          ///< of the re-cut, where one is asked for
    std::optional<Error> first_problem_;
};

}  // namespace

Result<void> inspect(const InspectArguments& arguments, const Environment& environment) {
    return Inspection(arguments, environment).run();
}

}  // namespace ckptfs::cli
