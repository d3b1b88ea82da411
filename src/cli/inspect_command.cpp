// ckptfs inspect: reads the metadata of every tag and describes the one that a mount would start from.
#include <algorithm>
#include <ostream>
#include <utility>

#include "cli/commands.h"
#include "cli/description.h"
#include "cli/survey.h"
#include "cli/text.h"
#include "cli/view_source.h"
#include "view/zero_tag.h"
#include "zero/reader.h"

namespace ckptfs::cli {
namespace {

constexpr std::size_t max_named_left_over = 4;

std::string beside(const std::string& directory, const std::string& name) {
    const std::size_t slash = directory.rfind('/');
    return slash == std::string::npos ? name : directory.substr(0, slash + 1) + name;
}

class Inspection {
 public:
    Inspection(const InspectArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment) {}

    Result<void> run() {
        CKPTFS_ASSIGN(options_, read_view_options(arguments_.target));
        CKPTFS_ASSIGN(source_, environment_.open_source(arguments_.source));
        const auto reader = view::zero_tag_reader(options_);
        CKPTFS_ASSIGN(const auto found, survey(*source_, *reader));
        if (found.tags.empty()) {
            return no_tags(*source_, found);
        }
        description_.source = source_->display("");
        for (const Error& problem : found.problems) {
            description_.problems.push_back(problem.message());
        }
        for (const TagPlace& tag : found.tags) {
            CKPTFS_TRY(look_at(tag));
        }
        environment_.out << (arguments_.json ? as_json(description_) : as_text(description_));
        return description_.checkpoint ? Result<void>() : *first_problem_;
    }

 private:
    Result<void> look_at(const TagPlace& place) {
        TagDescription tag{.name = place.directory, .latest = place.latest, .world_size = 0, .problem = std::nullopt};
        const auto checkpoint = zero::read_checkpoint(*source_, place.directory);
        if (!checkpoint) {
            tag.problem = checkpoint.error().message();
            description_.problems.push_back(checkpoint.error().message());
            if (!first_problem_) {
                first_problem_ = checkpoint.error();
            }
        } else {
            tag.world_size = (*checkpoint)->world_size();
            if (!description_.checkpoint) {
                CKPTFS_TRY(describe_tag(place.directory, *checkpoint));
            }
        }
        description_.tags.push_back(std::move(tag));
        return {};
    }

    Result<void> describe_tag(const std::string& directory, const std::shared_ptr<const zero::Checkpoint>& checkpoint) {
        CKPTFS_ASSIGN(const auto listing, source_->list(directory));
        CKPTFS_ASSIGN(description_.checkpoint, describe(*checkpoint, listing));
        description_.described_tag = directory;
        note_left_over(description_.checkpoint->left_over);
        if (!arguments_.target.world_size) {
            return {};
        }
        CKPTFS_ASSIGN(const auto view, view::world_size_view(checkpoint, *arguments_.target.world_size, options_));
        CKPTFS_ASSIGN(const auto dp_world_size,
                      view::dp_world_size_at(*checkpoint, *arguments_.target.world_size, options_));
        CKPTFS_ASSIGN(description_.recut, describe_recut(*checkpoint, *view, dp_world_size, options_));
        // accelerate counts micro-steps per rank and starts ranks without a file at 0: they wait for each other for
        // ever where the counter is no multiple of the new gradient_accumulation_steps.
        const std::string random_states = beside(directory, "random_states_0.pkl");
        if (description_.recut->world_size > checkpoint->world_size() && source_->stat_target(random_states)) {
            description_.problems.push_back(
                in_quotes(source_->display(random_states)) + " is accelerate's: at more ranks than " +
                std::to_string(checkpoint->world_size()) +
                " the new ones have none and count steps from 0, so a run may hang unless the saved step count is a "
                "multiple of gradient_accumulation_steps");
        }
        return {};
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
    view::ViewOptions options_;
    std::shared_ptr<const Source> source_;
    Description description_;
    std::optional<Error> first_problem_;
};

}  // namespace

Result<void> inspect(const InspectArguments& arguments, const Environment& environment) {
    return Inspection(arguments, environment).run();
}

}  // namespace ckptfs::cli
