// ckptfs verify: what was read and found, tag by tag, and a one-line verdict.
#include <ostream>
#include <utility>

#include "cli/commands.h"
#include "cli/view_options.h"
#include "report/survey.h"
#include "util/text.h"
#include "verify/naming.h"
#include "verify/problems.h"
#include "verify/verify_derived_view.h"
#include "verify/verify_files.h"
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

class Verification {
 public:
    Verification(const VerifyArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment) {}

    Result<void> run() {
        CKPTFS_ASSIGN(options_, read_view_options(arguments_.target));
        CKPTFS_ASSIGN(source_, open_checkpoint(environment_, arguments_.source));
        const auto reader = view::zero_tag_reader(options_);
        CKPTFS_ASSIGN(auto found, report::survey(*source_, *reader));
        if (found.tags.empty()) {
            return report::no_tags(*source_, found);
        }
        CKPTFS_TRY(choose(*reader, found));
        if (arguments_.tag.empty()) {
            for (const Error& problem : found.problems) {
                failed(problem);
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
        environment_.out << (place.directory.empty() ? "tag" : printable(place.directory)) << '\n';
        // Signs of two saves are looked for in verify_weights(), when it is known that no byte has changed since it was
        // saved.
        zero::ReadOptions read = options_.read;
        read.look_for_two_saves = false;
        const auto checkpoint = zero::read_checkpoint(*source_, place.directory, read);
        if (!checkpoint) {
            failed(checkpoint.error());
            return {};
        }
        warn((*checkpoint)->warnings);
        verify::Problems problems;
        auto result = verify_content(*checkpoint, place.directory, problems);
        for (const std::string& problem : problems.kept()) {
            failed({ErrorCode::verification, problem});
        }
        if (problems.count() > problems.kept().size()) {
            environment_.out << "  and " << counted(problems.count() - problems.kept().size(), "problem") << " more\n";
        }
        return result;
    }

    Result<void> verify_content(const std::shared_ptr<const zero::Written>& checkpoint, const std::string& directory,
                                verify::Problems& problems) {
        CKPTFS_ASSIGN(const auto totals, verify::verify_files(*checkpoint, problems));
        environment_.out << "  source: " << counted(checkpoint->world_size(), "rank") << ", "
                         << counted(totals.files, "file") << ", " << human_nbytes(totals.nbytes) << " in "
                         << counted(totals.records, "record") << " read, "
                         << (totals.records_without_crc == 0
                                 ? std::string("each with a CRC")
                                 : grouped(totals.records_without_crc) + " of them without a CRC")
                         << '\n'
                         << std::flush;
        if (problems.count() == 0) {
            CKPTFS_TRY(verify_weights(*checkpoint, directory, problems));
        }
        if (problems.count() > 0) {
            return {};
        }
        if (arguments_.target.derived()) {
            return verify_derived(checkpoint, directory, *arguments_.target.derived(), problems);
        }
        return arguments_.target.world_size()
                   ? verify_at_world_size(checkpoint, *arguments_.target.world_size(), problems)
                   : Result<void>();
    }

    /// Every element, where reading a checkpoint looks at a sample.
    Result<void> verify_weights(const zero::Written& checkpoint, const std::string& directory,
                                verify::Problems& problems) {
        CKPTFS_ASSIGN(const auto weights, zero::compare_weights(checkpoint));
        if (!weights.ranks.empty()) {
            environment_.out << "  weights: " << counted(weights.compared_numel(), "element")
                             << " compared with the masters, "
                             << (weights.different_numel() == 0 ? std::string("all")
                                                                : grouped(weights.different_numel()) + " not")
                             << " equal when rounded\n"
                             << std::flush;
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

    void warn(const std::vector<std::string>& warnings) {
        for (const std::string& warning : warnings) {
            environment_.out << "  warning: " << printable(warning) << '\n' << std::flush;
        }
    }

    Result<void> verify_at_world_size(const std::shared_ptr<const zero::Written>& checkpoint, std::uint64_t world_size,
                                      verify::Problems& problems) {
        CKPTFS_ASSIGN(const auto view, view::world_size_view(checkpoint, world_size, options_));
        CKPTFS_ASSIGN(const auto dp_world_size, view::dp_world_size_at(*checkpoint, world_size, options_));
        CKPTFS_ASSIGN(const auto totals,
                      verify::verify_view(*checkpoint, view, dp_world_size, environment_.read_with_torch, problems));
        print("view at " + std::to_string(world_size), totals);
        return {};
    }

    /// A view that cannot be made is a problem of the tag.
    Result<void> verify_derived(const std::shared_ptr<const zero::Written>& checkpoint, const std::string& directory,
                                const ViewRequest& request, verify::Problems& problems) {
        const auto view = view::kind_of(request.kind)
                              .make({checkpoint, options_, std::make_shared<view::FileCache>(), directory,
                                     source_->display(directory)},
                                    request);
        if (!view) {
            problems.add(view.error().message());
            return {};
        }
        CKPTFS_ASSIGN(const verify::Naming naming, verify::naming_of(options_, request, checkpoint->content));
        CKPTFS_ASSIGN(const auto totals, verify::verify_derived_view(checkpoint->content, **view, request, naming,
                                                                     environment_.read_with_torch, problems));
        print("view " + request.name(), totals);
        return {};
    }

    void print(const std::string& view, const verify::ViewTotals& totals) {
        environment_.out << "  " << view << ": " << counted(totals.files, "file") << " and "
                         << counted(totals.records, "record") << " read by libtorch, "
                         << counted(totals.tensors, "tensor") << " (" << human_nbytes(totals.compared_nbytes)
                         << ") compared with the source\n"
                         << std::flush;
    }

    void failed(const Error& problem) {
        environment_.out << "  problem: " << printable(problem.message()) << '\n' << std::flush;
        if (!first_problem_) {
            first_problem_ = problem;
        }
        all_unsupported_ = all_unsupported_ && problem.code() == ErrorCode::unsupported;
    }

    Result<void> verdict(std::size_t tag_count) const {
        const std::string name = in_quotes(source_->display(""));
        if (first_problem_) {
            const ErrorCode code = all_unsupported_ ? ErrorCode::unsupported : ErrorCode::verification;
            // Nobody reads a sentence twice.
            return Error(code, name + " did not pass verification: " +
                                   (environment_.streams_are_one ? "see above" : first_problem_->message()));
        }
        std::string what = " whole";
        if (arguments_.target.derived()) {
            what += ", and shown right as " + arguments_.target.derived()->name();
        } else if (arguments_.target.world_size()) {
            what += ", and shown right at world size " + std::to_string(*arguments_.target.world_size());
        }
        environment_.out << "OK: " << name << ": " << counted(tag_count, "tag") << what << '\n';
        return {};
    }

    const VerifyArguments& arguments_;
    const Environment& environment_;
    view::ViewOptions options_;
    std::shared_ptr<const Source> source_;
    std::optional<Error> first_problem_;
    bool all_unsupported_ = true;
};

}  // namespace

Result<void> verify(const VerifyArguments& arguments, const Environment& environment) {
    return Verification(arguments, environment).run();
}

}  // namespace ckptfs::cli
