// ckptfs diff: finds the tag of either source, and says where what they hold differs.
#include <ostream>
#include <utility>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/progress.h"
#include "cli/view_options.h"
#include "diff/report.h"
#include "report/survey.h"
#include "util/parallel.h"
#include "util/text.h"
#include "verify/view_source.h"
#include "view/kind.h"
#include "view/world_size_kind.h"
#include "view/zero_tag.h"
#include "zero/reader.h"

namespace ckptfs::cli {
namespace {

constexpr std::size_t most_threads = 16;

/// A tag of one of the sources.
struct Opened {
    std::shared_ptr<const Source> source;
    std::string directory;
    std::string display;
    std::shared_ptr<const zero::Written> checkpoint;
};

class Comparing {
 public:
    Comparing(const DiffArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment), progress_(environment) {}

    /// Whether both hold the same.
    Result<bool> run() {
        CKPTFS_ASSIGN(options_, read_view_options(arguments_.target));
        CKPTFS_ASSIGN(const Opened opened_a, open(arguments_.a));
        CKPTFS_ASSIGN(const Opened opened_b, open(arguments_.b));
        const bool joined = opened_a.checkpoint->content.ranks.size() != opened_b.checkpoint->content.ranks.size();
        CKPTFS_ASSIGN(const diff::Side a, side_of(opened_a, joined));
        CKPTFS_ASSIGN(const diff::Side b, side_of(opened_b, joined));
        progress_.say([this] { return "compared: " + amount_text(work_.nbytes, work_.total, 0); });
        const auto difference = diff::find_difference(a, b, threads_for_processors(most_threads), work_);
        progress_.end();
        if (!difference) {
            return difference.error();
        }
        environment_.out << (arguments_.json ? diff::as_json(a, b, *difference)
                                             : diff::as_text(a, b, *difference, environment_.columns));
        return difference->is_none();
    }

 private:
    Result<Opened> open(const std::string& path) {
        progress_.say("reading " + printable(path));
        Opened opened;
        CKPTFS_ASSIGN(opened.source, open_checkpoint(environment_, path));
        const auto reader = view::zero_tag_reader(options_);
        CKPTFS_ASSIGN(const auto found, report::survey(*opened.source, *reader));
        std::vector<Error> broken;
        CKPTFS_ASSIGN(const auto whole, report::first_whole_tag(*opened.source, *reader, found, broken));
        opened.directory = whole.directory;
        opened.display = opened.source->display(whole.directory);
        for (const Error& problem : broken) {
            progress_.aside(environment_.error, "ckptfs: warning: " + printable(problem.message()) + "\n");
        }
        CKPTFS_ASSIGN(opened.checkpoint, zero::read_checkpoint(*opened.source, whole.directory, options_.read));
        return opened;
    }

    Result<diff::Side> side_of(const Opened& opened, bool joined) {
        if (arguments_.target.derived()) {
            const ViewRequest request = *arguments_.target.derived();
            CKPTFS_ASSIGN(const auto view, view::kind_of(request.kind)
                                               .make({opened.checkpoint, options_, std::make_shared<view::FileCache>(),
                                                      opened.directory, opened.display},
                                                     request));
            return diff::side_of(view, request, opened.display);
        }
        if (!arguments_.target.world_size()) {
            return diff::side_of(opened.checkpoint, opened.display, joined);
        }
        const std::uint64_t world_size = *arguments_.target.world_size();
        CKPTFS_ASSIGN(const auto view, view::world_size_view(opened.checkpoint, world_size, options_));
        const auto files = std::make_shared<const verify::ViewSource>(
            view, *opened.checkpoint, opened.display + " at " + std::to_string(world_size));
        CKPTFS_ASSIGN(
            auto shown,
            zero::read_checkpoint(
                *files, "", {.accept_mixed = false, .rank_values_of = std::nullopt, .look_for_two_saves = false}));
        CKPTFS_ASSIGN(diff::Side side, diff::side_of(std::move(shown), opened.display, joined));
        side.keepers.push_back(files);
        side.keepers.push_back(opened.checkpoint);
        return side;
    }

    const DiffArguments& arguments_;
    const Environment& environment_;
    diff::Work work_;  // read by the thread of progress_, which ends first
    Progress progress_;
    view::ViewOptions options_;
};

}  // namespace

StartReport diff_sources(const DiffArguments& arguments, const Environment& environment, std::optional<Error>& failed) {
    const auto same = Comparing(arguments, environment).run();
    if (!same) {
        failed = same.error();
        return report_of(same.error());
    }
    if (*same) {
        return {};
    }
    // To people a difference is no error: the output is the word for it.
    failed = Error(ErrorCode::verification, in_quotes(arguments.a) + " and " + in_quotes(arguments.b) + " differ");
    return {status_of(ExitCode::verification), "", 0};
}

}  // namespace ckptfs::cli
