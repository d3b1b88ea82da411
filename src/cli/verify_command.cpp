// ckptfs verify: what was read and found, tag by tag, and a one-line verdict.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <utility>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/view_options.h"
#include "report/survey.h"
#include "util/layout.h"
#include "util/text.h"
#include "verify/naming.h"
#include "verify/problems.h"
#include "verify/report.h"
#include "verify/source_pass.h"
#include "verify/verify_derived_view.h"
#include "verify/verify_view.h"
#include "view/kind.h"
#include "view/world_size_kind.h"
#include "view/zero_tag.h"
#include "zero/latest.h"
#include "zero/reader.h"
#include "zero/save_signals.h"
#include "zero/weights_comparison.h"

namespace ckptfs::cli {
namespace {

/// Bytes of all files that are read whole.
std::uint64_t nbytes_of(const zero::Written& checkpoint) {
    std::uint64_t nbytes = 0;
    for (const zero::Family& family : checkpoint.families) {
        if (family.model_states_of_ranks().empty()) {
            nbytes += family.model_states_info.stamp.size;
        }
        for (const zero::RankFile* rank : family.rank_files()) {
            nbytes += rank->info.stamp.size;
        }
    }
    return nbytes;
}

class Verification {
 public:
    Verification(const VerifyArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment), progress_(environment) {}

    Result<void> run() {
        CKPTFS_ASSIGN(options_, read_view_options(arguments_.target));
        progress_.say("looking for tags");
        CKPTFS_ASSIGN(source_, open_checkpoint(environment_, arguments_.source));
        source_ = progress_.watch(source_);
        verified_.source = source_->display("");
        if (arguments_.target.request) {
            verified_.view = arguments_.target.request->name();
        }
        const auto reader = view::zero_tag_reader(options_);
        CKPTFS_ASSIGN(auto found, report::survey(*source_, *reader));
        if (found.tags.empty()) {
            return report::no_tags(*source_, found);
        }
        CKPTFS_TRY(choose(*reader, found));
        if (arguments_.tag.empty()) {
            for (const Error& problem : found.problems) {
                failed(problem, verified_.problems);
            }
        }
        for (const report::TagPlace& tag : found.tags) {
            CKPTFS_TRY(verify_tag(tag));
        }
        return verdict(found.tags.size());
    }

 private:
    /// Leaves only the tag that --tag names, which may lie deeper than a survey looks.
    Result<void> choose(const TagReader& reader, report::Survey& found) const {
        if (arguments_.tag.empty()) {
            return {};
        }
        const auto directory = zero::tag_directory(*source_, "", arguments_.tag);
        if (!directory) {
            return Error(ErrorCode::invalid_argument,
                         "--tag=" + printable(arguments_.tag) + ": " + directory.error().message());
        }
        const auto listing = source_->list(*directory);
        if (!listing || !reader.recognises(*listing)) {
            std::vector<std::string> names;
            for (const report::TagPlace& tag : found.tags) {
                names.push_back(in_quotes(tag.directory));
            }
            return Error(ErrorCode::invalid_argument, in_quotes(source_->display("")) + " has no tag " +
                                                          in_quotes(*directory) + "; its tags are " +
                                                          joined(names, ", "));
        }
        found.tags = {{.directory = *directory, .latest = false, .mtime_ns = 0}};
        return {};
    }

    Result<void> verify_tag(const report::TagPlace& place) {
        verified_.tags.push_back({});
        verified_.tags.back().name = place.directory;
        print(place.directory.empty() ? "tag\n" : printable(place.directory) + "\n");
        progress_.say_reading(place.directory);
        // Signs of two saves are looked for in verify_weights(), when it is known that no byte has changed since it was
        // saved.
        zero::ReadOptions read = options_.read;
        read.look_for_two_saves = false;
        const auto checkpoint = zero::read_checkpoint(*source_, place.directory, read);
        if (!checkpoint) {
            failed(checkpoint.error(), tag().problems);
            return {};
        }
        tag().world_size = (*checkpoint)->world_size();
        warn((*checkpoint)->warnings);
        verify::Problems problems;
        auto result = verify_content(*checkpoint, place.directory, problems);
        for (const std::string& problem : problems.kept()) {
            failed({ErrorCode::verification, problem}, tag().problems);
        }
        tag().unlisted_problems = problems.count() - problems.kept().size();
        if (tag().unlisted_problems > 0) {
            print("  and " + counted(tag().unlisted_problems, "problem") + " more\n");
        }
        return result;
    }

    /// A view that was verified, unless it could not be.
    struct ViewFindings {
        verify::Problems problems;
        std::string name;
        std::optional<verify::ViewTotals> totals;
    };

    /// The view is read first, and with it the source; what has not been read of that then follows. But what is wrong
    /// with the source is said first, and nothing of the view then.
    Result<void> verify_content(const std::shared_ptr<const zero::Written>& checkpoint, const std::string& directory,
                                verify::Problems& problems) {
        CKPTFS_ASSIGN(const auto pass, verify::SourcePass::over(*checkpoint));
        const auto passed = [&pass](const File& file, std::uint64_t offset, std::span<const std::byte> bytes) {
            pass->passed(file, offset, bytes);
        };
        const Result<ViewFindings> view = verify_view(checkpoint, directory, passed);
        progress_.say_nbytes(phase("reading every record", directory),
                             view && view->totals ? 0 : nbytes_of(*checkpoint));
        CKPTFS_ASSIGN(const auto totals, pass->finish(problems));
        tag().files = totals;
        say("source: " + counted(checkpoint->world_size(), "rank") + ", " + counted(totals.files, "file") + ", " +
            human_nbytes(totals.nbytes) + " in " + counted(totals.records, "record") + " read, " +
            (totals.records_without_crc == 0 ? std::string("each with a CRC")
                                             : grouped(totals.records_without_crc) + " of them without a CRC"));
        if (problems.count() == 0) {
            CKPTFS_TRY(verify_weights(*checkpoint, *pass, directory, problems));
        }
        if (problems.count() > 0) {
            return {};
        }
        if (!view) {
            return view.error();
        }
        if (view->totals) {
            say_totals(view->name, *view->totals);
        }
        problems.add(view->problems);
        return {};
    }

    /// Every element, where reading a checkpoint looks at a sample.
    Result<void> verify_weights(const zero::Written& checkpoint, const verify::SourcePass& pass,
                                const std::string& directory, verify::Problems& problems) {
        progress_.say_nbytes(phase("comparing weights with masters", directory), 0);
        CKPTFS_ASSIGN(const auto weights, pass.compare_weights());
        if (!weights.ranks.empty()) {
            tag().weights = {weights.compared_numel(), weights.different_numel()};
            say("weights: " + counted(weights.compared_numel(), "element") + " compared with the masters, " +
                (weights.different_numel() == 0 ? std::string("all") : grouped(weights.different_numel()) + " not") +
                " equal when rounded");
        }
        const auto found =
            zero::find_two_saves(checkpoint, source_->display(directory), weights, options_.read.accept_mixed);
        if (found) {
            warn(*found);
            return {};
        }
        if (found.error().code() != ErrorCode::inconsistent) {
            return found.error();
        }
        problems.add(found.error().message());
        return {};
    }

    Result<ViewFindings> verify_view(const std::shared_ptr<const zero::Written>& checkpoint,
                                     const std::string& directory, const verify::PassedBytes& passed) {
        if (arguments_.target.derived()) {
            return verify_derived(checkpoint, directory, *arguments_.target.derived(), passed);
        }
        return arguments_.target.world_size()
                   ? verify_at_world_size(checkpoint, *arguments_.target.world_size(), passed)
                   : ViewFindings();
    }

    void warn(const std::vector<std::string>& warnings) {
        for (const std::string& warning : warnings) {
            say("warning: " + printable(warning));
            tag().warnings.push_back(warning);
        }
    }

    Result<ViewFindings> verify_at_world_size(const std::shared_ptr<const zero::Written>& checkpoint,
                                              std::uint64_t world_size, const verify::PassedBytes& passed) {
        ViewFindings found;
        found.name = "view at " + std::to_string(world_size);
        CKPTFS_ASSIGN(const auto view, view::world_size_view(checkpoint, world_size, options_));
        CKPTFS_ASSIGN(const auto dp_world_size, view::dp_world_size_at(*checkpoint, world_size, options_));
        progress_.say_nbytes("verifying the " + found.name, 0);
        CKPTFS_ASSIGN(found.totals, verify::verify_view(*checkpoint, view, dp_world_size, environment_.read_with_torch,
                                                        found.problems, passed));
        return found;
    }

    /// A view that cannot be made is a problem of the tag.
    Result<ViewFindings> verify_derived(const std::shared_ptr<const zero::Written>& checkpoint,
                                        const std::string& directory, const ViewRequest& request,
                                        const verify::PassedBytes& passed) {
        ViewFindings found;
        found.name = "view " + request.name();
        const auto view = view::kind_of(request.kind)
                              .make({checkpoint, options_, std::make_shared<view::FileCache>(), directory,
                                     source_->display(directory)},
                                    request);
        if (!view) {
            found.problems.add(view.error().message());
            return found;
        }
        CKPTFS_ASSIGN(const verify::Naming naming, verify::naming_of(options_, request, checkpoint->content));
        progress_.say_nbytes("verifying the " + found.name, 0);
        CKPTFS_ASSIGN(found.totals, verify::verify_derived_view(checkpoint->content, **view, request, naming,
                                                                environment_.read_with_torch, found.problems, passed));
        return found;
    }

    void say_totals(const std::string& view, const verify::ViewTotals& totals) {
        tag().view = totals;
        say(view + ": " + counted(totals.files, "file") + " and " + counted(totals.records, "record") +
            " read by libtorch, " + counted(totals.tensors, "tensor") + " (" + human_nbytes(totals.compared_nbytes) +
            ") compared with the source");
    }

    /// What is said while verification goes on.
    [[nodiscard]] static std::string phase(const std::string& what, const std::string& directory) {
        return (directory.empty() ? "" : printable(directory) + ": ") + what;
    }

    /// A sentence below the tag's name.
    void say(const std::string& sentence) { print(wrapped(sentence, environment_.columns, "  ", 4)); }

    void print(const std::string& lines) {
        if (!arguments_.json) {
            progress_.aside(environment_.out, lines);
        }
    }

    [[nodiscard]] verify::VerifiedTag& tag() { return verified_.tags.back(); }

    void failed(const Error& problem, std::vector<std::string>& problems) {
        problems.push_back(problem.message());
        say("problem: " + printable(problem.message()));
        if (!first_problem_) {
            first_problem_ = problem;
        }
        all_unsupported_ = all_unsupported_ && problem.code() == ErrorCode::unsupported;
    }

    Result<void> verdict(std::size_t tag_count) {
        progress_.end();
        if (arguments_.json) {
            environment_.out << verify::as_json(verified_);
        }
        if (first_problem_) {
            const ErrorCode code = all_unsupported_ ? ErrorCode::unsupported : ErrorCode::verification;
            // Nobody reads a sentence twice.
            return Error(
                code, in_quotes(source_->display("")) + " did not pass verification: " +
                          (environment_.streams_are_one && !arguments_.json ? "see above" : first_problem_->message()));
        }
        std::string what = " whole";
        if (arguments_.target.derived()) {
            what += ", and shown right as " + arguments_.target.derived()->name();
        } else if (arguments_.target.world_size()) {
            what += ", and shown right at world size " + std::to_string(*arguments_.target.world_size());
        }
        print("OK: " + counted(tag_count, "tag") + what + "\n");
        return {};
    }

    const VerifyArguments& arguments_;
    const Environment& environment_;
    Progress progress_;
    view::ViewOptions options_;
    std::shared_ptr<const Source> source_;
    verify::VerifiedSource verified_;
    std::optional<Error> first_problem_;
    bool all_unsupported_ = true;
};

}  // namespace

Result<void> verify(const VerifyArguments& arguments, const Environment& environment) {
    return Verification(arguments, environment).run();
}

}  // namespace ckptfs::cli
