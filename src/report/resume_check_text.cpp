// What came of a check of a config, for people and for programs.
#include <nlohmann/json.hpp>
#include <string_view>

#include "report/resume_check.h"
#include "util/layout.h"
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

std::string as_text(const CheckedTag& tag, std::size_t columns) {
    const zero::Written& checkpoint = *tag.checkpoint;
    const auto line = [&](std::string_view label, const std::string& text) {
        return wrapped(text, columns, label, shown_width(label));
    };
    std::string result =
        line("checkpoint   ", unbroken(printable(tag.shown_as)) + ", stage " + std::to_string(checkpoint.stage) + " (" +
                                  std::string(zero::name(checkpoint.format)) + "), " +
                                  counted(checkpoint.world_size(), "rank"));
    result += line("resume       ", counted(tag.world_size(), "rank") + ", " + unbroken(printable(tag.config_file)));
    for (const FindingKind kind : {FindingKind::conflict, FindingKind::mount, FindingKind::script, FindingKind::note}) {
        if (!tag.check.has(kind)) {
            continue;
        }
        result += std::string("\n") + heading_of(kind) + "\n";
        for (const Finding& finding : tag.check.findings) {
            if (finding.kind == kind) {
                result += wrapped(printable(finding.subject + ": " + finding.text), columns, "  ", 4);
            }
        }
    }
    for (const std::string& warning : checkpoint.warnings) {
        result += &warning == &checkpoint.warnings.front() ? "\nwarnings\n" : "";
        result += wrapped(printable(warning), columns, "  ", 4);
    }
    result += "\nglobal batch\n";
    result += line("  was    ", text_of(tag.check.stored, checkpoint.dp_world_size, "not in the stored config"));
    result += line("  config ", text_of(tag.check.config, tag.dp_world_size, "not said by it"));
    for (const Batch& batch : tag.check.choices) {
        result += line("  keeps  ", text_of(batch, tag.dp_world_size, ""));
    }
    result += tag.check.has(FindingKind::conflict) ? "" : "\nOK: the config agrees with the checkpoint\n";
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
    const Json result{{"schema_version", 1},
                      {"tag", tag.directory},
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
