// What came of a check of a config, for people and for programs.
#include <nlohmann/json.hpp>

#include "report/resume_check.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

using Json = nlohmann::ordered_json;
using FindingKind = Finding::Kind;

const char* name_of(FindingKind kind) {
    switch (kind) {
        case FindingKind::conflict:
            return "conflict";
        case FindingKind::mount:
            return "mount";
        case FindingKind::script:
            return "script";
        case FindingKind::note:
            return "note";
    }
    return "";
}

const char* heading_of(FindingKind kind) {
    switch (kind) {
        case FindingKind::conflict:
            return "disagrees";
        case FindingKind::mount:
            return "the mount must know the config (--ds-config)";
        case FindingKind::script:
            return "the training script must agree";
        case FindingKind::note:
            return "notes";
    }
    return "";
}

std::string text_of(const std::optional<Batch>& batch, std::uint64_t dp_world_size, const char* otherwise) {
    if (!batch) {
        return otherwise;
    }
    return grouped(batch->train) + " = micro batch " + grouped(batch->micro) + " x accumulation " +
           grouped(batch->accumulation) + " x " + counted(dp_world_size, "data-parallel rank");
}

Json json_of(const Batch& batch) {
    return {{"train_batch_size", batch.train},
            {"train_micro_batch_size_per_gpu", batch.micro},
            {"gradient_accumulation_steps", batch.accumulation}};
}

Json json_of(const std::optional<Batch>& batch) {
    return batch ? json_of(*batch) : Json();
}

}  // namespace

std::string as_text(const CheckedTag& tag) {
    const zero::Written& checkpoint = *tag.checkpoint;
    std::string result = "checkpoint   " + printable(tag.shown_as) + ", stage " + std::to_string(checkpoint.stage) +
                         " (" + std::string(zero::name(checkpoint.format)) + "), " +
                         counted(checkpoint.world_size(), "rank") + "\n";
    result += "resume       " + counted(tag.world_size(), "rank") + ", " + printable(tag.config_file) + "\n";
    for (const FindingKind kind : {FindingKind::conflict, FindingKind::mount, FindingKind::script, FindingKind::note}) {
        if (!tag.check.has(kind)) {
            continue;
        }
        result += std::string("\n") + heading_of(kind) + "\n";
        for (const Finding& finding : tag.check.findings) {
            if (finding.kind == kind) {
                result += "  " + finding.subject + ": " + finding.text + "\n";
            }
        }
    }
    for (const std::string& warning : checkpoint.warnings) {
        result += (&warning == &checkpoint.warnings.front() ? "\nwarnings\n  " : "  ") + printable(warning) + "\n";
    }
    result += "\nglobal batch\n";
    result += "  was    " + text_of(tag.check.stored, checkpoint.dp_world_size, "not in the stored config") + "\n";
    result += "  config " + text_of(tag.check.config, tag.dp_world_size, "not said by it") + "\n";
    for (const Batch& batch : tag.check.choices) {
        result += "  keeps  " + text_of(batch, tag.dp_world_size, "") + "\n";
    }
    result += tag.check.has(FindingKind::conflict) ? "\n" : "\nOK: the config agrees with the checkpoint\n";
    return result;
}

std::string as_json(const CheckedTag& tag) {
    Json findings = Json::array();
    for (const Finding& finding : tag.check.findings) {
        findings.push_back({{"kind", name_of(finding.kind)}, {"subject", finding.subject}, {"text", finding.text}});
    }
    Json choices = Json::array();
    for (const Batch& batch : tag.check.choices) {
        choices.push_back(json_of(batch));
    }
    const Json result{{"tag", tag.directory},
                      {"stage", tag.checkpoint->stage},
                      {"world_size", tag.world_size()},
                      {"dp_world_size", tag.dp_world_size},
                      {"agrees", !tag.check.has(FindingKind::conflict)},
                      {"findings", std::move(findings)},
                      {"warnings", tag.checkpoint->warnings},
                      {"stored_batch", json_of(tag.check.stored)},
                      {"config_batch", json_of(tag.check.config)},
                      {"batches_that_keep_it", std::move(choices)}};
    return result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace ckptfs::report
