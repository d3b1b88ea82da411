// ckptfs export: what is shown, which of it is wanted, and what is said while it is written.
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <memory>
#include <ostream>
#include <system_error>
#include <utility>

#include "ckptfs/version.h"
#include "cli/commands.h"
#include "cli/shown.h"
#include "cli/view_options.h"
#include "export/destination.h"
#include "export/export.h"
#include "export/progress.h"
#include "export/trimmed_tree.h"
#include "host/end_signals.h"
#include "io/without_device.h"
#include "pt/crc32.h"
#include "report/tag_selection.h"
#include "util/progress.h"
#include "util/text.h"
#include "view/zero_tag.h"

namespace ckptfs::cli {
namespace {

using exporting::Setting;

/// A word for the bytes of a config, wherever it lies.
std::string digest_of(const std::string& text) {
    return "FILE of " + counted(text.size(), "byte") + ", CRC " + std::to_string(pt::crc32_of(text));
}

/// What decides about the bytes, in a form that does not depend on how it was said.
std::vector<Setting> settings_of(const ExportArguments& arguments, const std::string& config_text) {
    const TargetArguments& target = arguments.target;
    std::vector<Setting> settings{{"--view", target.request->name()}};
    const auto add = [&](const char* name, const auto& value, const auto& text_of) {
        if (value) {
            settings.push_back({name, text_of(*value)});
        }
    };
    const auto as_it_is = [](const std::string& text) { return text; };
    const auto as_number = [](std::uint64_t number) { return std::to_string(number); };
    add("--tag", arguments.tag, as_it_is);
    add("--sub-group-size", target.sub_group_size, as_number);
    add("--rank-values-of", target.read.rank_values_of, as_number);
    add("--max-shard-size", target.names.max_shard_nbytes, as_number);
    add("--parameters", target.names.parameters, as_it_is);
    if (!target.config_file.empty()) {
        settings.push_back({"--ds-config", digest_of(config_text)});
    }
    if (target.read.accept_mixed) {
        settings.push_back({"--accept-mixed", "yes"});
    }
    if (target.names.trainable_only) {
        settings.push_back({"--trainable-only", "yes"});
    }
    for (const std::string& prefix : target.names.strip_prefixes) {
        settings.push_back({"--strip-prefix", prefix});
    }
    for (const view::Rename& rename : target.names.renames) {
        settings.push_back({"--rename", rename.pattern + "=" + rename.replacement});
    }
    return settings;
}

class Exporting {
 public:
    Exporting(const ExportArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment) {}

    /// `signal`: becomes the one that ended it.
    Result<void> run(int& signal) {
        CKPTFS_ASSIGN(request_.destination, absolute_path(arguments_.destination, environment_.working_directory));
        CKPTFS_ASSIGN(request_.source_path, absolute_path(arguments_.source, environment_.working_directory));
        // Reading the checkpoint takes longer.
        CKPTFS_ASSIGN(const auto destination, exporting::find_destination(request_.destination, request_.source_path));
        CKPTFS_TRY(open_tree());
        request_.version = version;
        request_.settings = settings_of(arguments_, config_text_);
        request_.jobs = arguments_.jobs;
        request_.memory_nbytes = arguments_.buffer_nbytes;
        request_.verify = arguments_.verify;
        std::unique_ptr<EndSignals> signals;
        std::function<int()> asked = environment_.interrupted;
        if (!asked) {
            std::signal(SIGXFSZ, SIG_IGN);  // a file that is larger than the limit is an error then, with a sentence
            signals = std::make_unique<EndSignals>();
            asked = EndSignals::received;
        }
        const auto done = write(asked);
        if (done) {
            say(*done);
            return {};
        }
        if (asked() == 0) {
            return done.error();
        }
        signal = signals ? asked() : 0;
        std::error_code failure;
        const bool has_begun = std::filesystem::exists(destination.partial, failure);
        return Error(ErrorCode::io,
                     has_begun ? "interrupted: what is done is in " + in_quotes(destination.partial) +
                                     "; give the same command again to go on, or remove that directory"
                               : "interrupted before anything was written",
                     EINTR);
    }

 private:
    /// What is shown of the source, or of one tag of it.
    Result<void> open_tree() {
        std::shared_ptr<const Source> source;
        Environment environment = environment_;
        environment.open_source = [&](const std::string& path) -> Result<std::shared_ptr<const Source>> {
            CKPTFS_ASSIGN(auto opened, environment_.open_source(path));
            CKPTFS_ASSIGN(source, io::without_device(std::move(opened)));
            return source;
        };
        ShownArguments shown{arguments_.source, arguments_.target, false};
        const std::shared_ptr<const TagReader> reader = view::zero_tag_reader({});
        const Placement placement = reader->placement(*shown.target.request);
        if (arguments_.tag && !placement.in_place_of_holder_of.empty()) {
            return Error(ErrorCode::invalid_argument, "--tag says nothing of the view " +
                                                          in_quotes(shown.target.request->name()) +
                                                          ", whose tags have one name; leave it out");
        }
        if (shown.target.request->kind == ViewKind::weights) {
            shown.target.names.tag = arguments_.tag;
            shown.only_tag = true;
        }
        CKPTFS_ASSIGN(const auto view_options, read_view_options(shown.target, &config_text_));
        CKPTFS_ASSIGN(request_.tree,
                      open_shown(shown, view_options, environment, [&](const std::string& message) { warn(message); }));
        if (!arguments_.tag) {
            return {};
        }
        CKPTFS_ASSIGN(const auto selection, report::select_tag(*source, *reader, *arguments_.tag, placement));
        exporting::Trimming trimming;
        trimming.hidden = selection.hidden;
        trimming.without_view = selection.lacking;
        trimming.is_of_view = placement.in_holder;
        for (const auto& [path, pointer] : selection.pointers) {
            trimming.texts[path] = {pointer.text, pointer.mtime_ns};
        }
        request_.tree = std::make_shared<const exporting::TrimmedTree>(request_.tree, std::move(trimming));
        return {};
    }

    Result<exporting::ExportSummary> write(const std::function<int()>& asked) {
        using Style = ProgressPrinter::Style;
        const Style style = arguments_.quiet                 ? Style::silent
                            : environment_.error_is_terminal ? Style::one_line
                                                             : Style::lines;
        start_ = std::chrono::steady_clock::now();
        ProgressPrinter printer(exporting::progress_of(counters_), environment_.error, style,
                                environment_.error_columns);
        exporting::ExportHooks hooks;
        hooks.stops = [&] { return asked() != 0; };
        hooks.warn = [&](const std::string& message) { printer.say("ckptfs: warning: " + printable(message)); };
        return exporting::export_tree(request_, exporting::WriteCalls(), counters_, hooks);
    }

    void warn(const std::string& message) {
        environment_.error << "ckptfs: warning: " << printable(message) << '\n' << std::flush;
    }

    void say(const exporting::ExportSummary& summary) {
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
        const std::string where = in_quotes(summary.destination);
        if (summary.was_finished) {
            environment_.out << where << " was exported whole by an earlier run\n";
            return;
        }
        environment_.out << "exported " << counted(summary.files, "file") << ", " << grouped(counters_.total)
                         << " bytes, to " << where << " in "
                         << duration_text(static_cast<std::uint64_t>(std::llround(seconds.count()))) << ": "
                         << grouped(counters_.read) << " read, " << grouped(counters_.copied)
                         << " copied by the system, " << grouped(counters_.holes) << " in holes, "
                         << grouped(counters_.earlier) << " there already";
        if (arguments_.verify) {
            environment_.out << "; read back and found the same";
        }
        environment_.out << '\n';
    }

    const ExportArguments& arguments_;
    const Environment& environment_;
    std::string config_text_;  // of --ds-config
    exporting::ExportRequest request_;
    exporting::Counters counters_;
    std::chrono::steady_clock::time_point start_;
};

}  // namespace

StartReport export_view(const ExportArguments& arguments, const Environment& environment,
                        std::optional<Error>& failed) {
    int signal = 0;
    const auto done = Exporting(arguments, environment).run(signal);
    StartReport report = report_of(done);
    if (!done) {
        failed = done.error();
    }
    if (signal != 0) {  // which has its effect before anything else is said
        environment.error << "ckptfs: " << printable(report.message) << '\n' << std::flush;
        constexpr int ended_by_signal = 128;
        report = {ended_by_signal + signal, "", signal};
    }
    return report;
}

}  // namespace ckptfs::cli
