// ckptfs check: would this config resume that checkpoint at that world size? Answered before a GPU is allocated.
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <utility>

#include "cli/commands.h"
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

using Json = nlohmann::ordered_json;
using Kind = report::Finding::Kind;

const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::conflict:
            return "conflict";
        case Kind::mount:
            return "mount";
        case Kind::script:
            return "script";
        case Kind::note:
            return "note";
    }
    return "";
}

std::string heading(Kind kind) {
    switch (kind) {
        case Kind::conflict:
            return "disagrees";
        case Kind::mount:
            return "the mount must know the config (--ds-config)";
        case Kind::script:
            return "the training script must agree";
        case Kind::note:
            return "notes";
    }
    return "";
}

std::string as_text(const report::Batch& batch, std::uint64_t dp_world_size) {
    return grouped(batch.train) + " = micro batch " + grouped(batch.micro) + " x accumulation " +
           grouped(batch.accumulation) + " x " + counted(dp_world_size, "data-parallel rank");
}

Json as_json(const report::Batch& batch) {
    return {{"train_batch_size", batch.train},
            {"train_micro_batch_size_per_gpu", batch.micro},
            {"gradient_accumulation_steps", batch.accumulation}};
}

class Check {
 public:
    Check(const CheckArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment) {}

    Result<void> run() {
        CKPTFS_ASSIGN(const auto options, read_view_options(arguments_.target));
        CKPTFS_ASSIGN(const auto config, zero::read_config_file(arguments_.target.config_file));
        CKPTFS_ASSIGN(const auto source, open_checkpoint(environment_, arguments_.source));
        const auto reader = view::zero_tag_reader(options);
        CKPTFS_ASSIGN(const auto found, report::survey(*source, *reader));
        std::vector<Error> broken;
        CKPTFS_ASSIGN(const auto whole, report::first_whole_tag(*source, *reader, found, broken));
        CKPTFS_ASSIGN(checkpoint_, zero::read_checkpoint(*source, whole.directory, options.read));
        CKPTFS_ASSIGN(dp_world_size_, view::dp_world_size_at(*checkpoint_, *arguments_.target.world_size(), options));
        tag_ = whole.directory;
        name_ = source->display(whole.directory);
        check_ = report::check_resume(*checkpoint_, config, dp_world_size_);
        environment_.out << (arguments_.json ? json() : text());
        if (check_.has(Kind::conflict)) {
            return Error(ErrorCode::verification, in_quotes(name_) + " cannot be resumed with " +
                                                      in_quotes(arguments_.target.config_file) + " at " +
                                                      counted(ranks(), "rank") + ": " + first_conflict());
        }
        return {};
    }

 private:
    [[nodiscard]] std::uint64_t ranks() const { return dp_world_size_ * checkpoint_->degree(); }

    [[nodiscard]] std::string first_conflict() const {
        for (const report::Finding& finding : check_.findings) {
            if (finding.kind == Kind::conflict) {
                return finding.subject + ": " + finding.text;
            }
        }
        return "";
    }

    [[nodiscard]] std::string text() const {
        std::string result = "checkpoint   " + printable(name_) + ", stage " + std::to_string(checkpoint_->stage) +
                             " (" + std::string(zero::name(checkpoint_->format)) + "), " +
                             counted(checkpoint_->world_size(), "rank") + "\n";
        result += "resume       " + counted(ranks(), "rank") + ", " + printable(arguments_.target.config_file) + "\n";
        for (const Kind kind : {Kind::conflict, Kind::mount, Kind::script, Kind::note}) {
            if (!check_.has(kind)) {
                continue;
            }
            result += "\n" + heading(kind) + "\n";
            for (const report::Finding& finding : check_.findings) {
                if (finding.kind == kind) {
                    result += "  " + finding.subject + ": " + finding.text + "\n";
                }
            }
        }
        for (const std::string& warning : checkpoint_->warnings) {
            result +=
                (&warning == &checkpoint_->warnings.front() ? "\nwarnings\n  " : "  ") + printable(warning) + "\n";
        }
        result += "\nglobal batch\n";
        result += "  was    " +
                  (check_.stored ? as_text(*check_.stored, checkpoint_->dp_world_size)
                                 : std::string("not in the stored config")) +
                  "\n";
        result += "  config " +
                  (check_.config ? as_text(*check_.config, dp_world_size_) : std::string("not said by it")) + "\n";
        for (const report::Batch& batch : check_.choices) {
            result += "  keeps  " + as_text(batch, dp_world_size_) + "\n";
        }
        result += check_.has(Kind::conflict) ? "\n" : "\nOK: the config agrees with the checkpoint\n";
        return result;
    }

    [[nodiscard]] std::string json() const {
        Json findings = Json::array();
        for (const report::Finding& finding : check_.findings) {
            findings.push_back({{"kind", name_of(finding.kind)}, {"subject", finding.subject}, {"text", finding.text}});
        }
        Json choices = Json::array();
        for (const report::Batch& batch : check_.choices) {
            choices.push_back(as_json(batch));
        }
        const Json result{{"tag", tag_},
                          {"stage", checkpoint_->stage},
                          {"world_size", ranks()},
                          {"dp_world_size", dp_world_size_},
                          {"agrees", !check_.has(Kind::conflict)},
                          {"findings", std::move(findings)},
                          {"warnings", checkpoint_->warnings},
                          {"stored_batch", check_.stored ? as_json(*check_.stored) : Json()},
                          {"config_batch", check_.config ? as_json(*check_.config) : Json()},
                          {"batches_that_keep_it", std::move(choices)}};
        return result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    }

    const CheckArguments& arguments_;
    const Environment& environment_;
    std::shared_ptr<const zero::Written> checkpoint_;
    std::uint64_t dp_world_size_ = 1;
    std::string tag_;
    std::string name_;
    report::ResumeCheck check_;
};

}  // namespace

Result<void> check(const CheckArguments& arguments, const Environment& environment) {
    return Check(arguments, environment).run();
}

}  // namespace ckptfs::cli
