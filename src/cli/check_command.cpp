// ckptfs check: would this config resume that checkpoint at that world size? Answered before a GPU is allocated.
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <utility>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/view_options.h"
#include "report/resume_check.h"
#include "report/survey.h"
#include "util/text.h"
#include "view/world_size_kind.h"
#include "view/zero_tag.h"
#include "zero/config.h"
#include "zero/reader.h"

namespace ckptfs::cli {
namespace {

/// `is_said`: nobody reads a sentence twice.
Result<void> expect_agreement(const report::CheckedTag& tag, bool is_said) {
    for (const report::Finding& finding : tag.check.findings) {
        if (finding.kind == report::Finding::Kind::conflict) {
            return Error(ErrorCode::verification, in_quotes(tag.shown_as) + " cannot be resumed with " +
                                                      in_quotes(tag.config_file) + " at " +
                                                      counted(tag.world_size(), "rank") + ": " +
                                                      (is_said ? "see above" : finding.subject + ": " + finding.text));
        }
    }
    return {};
}

}  // namespace

Result<void> check(const CheckArguments& arguments, const Environment& environment) {
    report::CheckedTag tag;
    tag.config_file = arguments.target.config_file;
    std::string config_text;
    CKPTFS_ASSIGN(const auto options, read_view_options(arguments.target, &config_text));
    CKPTFS_ASSIGN(const auto config, zero::parse_config(config_text, tag.config_file));
    Progress progress(environment);
    progress.say("looking for a whole tag");
    CKPTFS_ASSIGN(auto opened, open_checkpoint(environment, arguments.source));
    const auto source = progress.watch(std::move(opened));
    const auto reader = view::zero_tag_reader(options);
    CKPTFS_ASSIGN(const auto found, report::survey(*source, *reader));
    std::vector<Error> broken;
    CKPTFS_ASSIGN(const auto whole, report::first_whole_tag(*source, *reader, found, broken));
    tag.directory = whole.directory;
    progress.say_reading(whole.directory);
    tag.shown_as = source->display(whole.directory);
    CKPTFS_ASSIGN(tag.checkpoint, zero::read_checkpoint(*source, whole.directory, options.read));
    CKPTFS_ASSIGN(tag.dp_world_size, view::dp_world_size_at(*tag.checkpoint, *arguments.target.world_size(), options));
    tag.check = report::check_resume(*tag.checkpoint, config, tag.dp_world_size);
    progress.end();
    environment.out << (arguments.json ? as_json(tag) : as_text(tag, environment.columns));
    return expect_agreement(tag, environment.streams_are_one && !arguments.json);
}

}  // namespace ckptfs::cli
