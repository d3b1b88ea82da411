// Rendering, in three forms.
#include "cli/mount_status.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "ckptfs/version.h"
#include "cli/commit.h"
#include "util/log.h"
#include "util/memory_budget.h"
#include "util/own_names.h"
#include "util/progress.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

/// All of a status must fit into an extended attribute.
constexpr std::size_t room_nbytes = max_attribute_nbytes;
constexpr std::size_t most_tags = 30;
constexpr std::size_t most_text_nbytes = 200;

/// What a file system answers; others are told by their number.
std::string name_of_errno(int number) {
    constexpr std::array<std::pair<int, const char*>, 31> names{
        {{EPERM, "EPERM"},         {ENOENT, "ENOENT"}, {EINTR, "EINTR"},     {EIO, "EIO"},
         {ENXIO, "ENXIO"},         {EBADF, "EBADF"},   {EAGAIN, "EAGAIN"},   {ENOMEM, "ENOMEM"},
         {EACCES, "EACCES"},       {EBUSY, "EBUSY"},   {EEXIST, "EEXIST"},   {EXDEV, "EXDEV"},
         {ENOTDIR, "ENOTDIR"},     {EISDIR, "EISDIR"}, {EINVAL, "EINVAL"},   {ENFILE, "ENFILE"},
         {EMFILE, "EMFILE"},       {ENOTTY, "ENOTTY"}, {EFBIG, "EFBIG"},     {ENOSPC, "ENOSPC"},
         {EROFS, "EROFS"},         {EMLINK, "EMLINK"}, {ERANGE, "ERANGE"},   {ENAMETOOLONG, "ENAMETOOLONG"},
         {ENOTEMPTY, "ENOTEMPTY"}, {ELOOP, "ELOOP"},   {ENODATA, "ENODATA"}, {EOPNOTSUPP, "EOPNOTSUPP"},
         {ETIMEDOUT, "ETIMEDOUT"}, {ESTALE, "ESTALE"}, {EDQUOT, "EDQUOT"}}};
    const auto* const found =
        std::find_if(names.begin(), names.end(), [&](const auto& name) { return name.first == number; });
    return found == names.end() ? "errno " + std::to_string(number) : found->second;
}

/// Cut where a character of UTF-8 begins.
std::string shortened(const std::string& text) {
    if (text.size() <= most_text_nbytes) {
        return text;
    }
    constexpr std::size_t longest = 4;  // bytes of a character
    std::size_t end = most_text_nbytes;
    while (end > most_text_nbytes - longest && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) {
        --end;
    }
    return text.substr(0, end) + "...";
}

/// In UTC, "2026-01-31T12:00:00Z".
std::string utc_text(std::int64_t seconds) {
    const auto time = static_cast<std::time_t>(seconds);
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text.data();
}

/// The upper bound of a bucket of latencies.
std::string latency_text(double seconds) {
    if (std::isinf(seconds)) {
        return "> 67 s";
    }
    std::array<char, 32> text{};
    constexpr double ms = 1e-3;
    if (seconds < ms) {
        (void)std::snprintf(text.data(), text.size(), "%.0f us", seconds / ms / ms);
    } else if (seconds < 1) {
        (void)std::snprintf(text.data(), text.size(), "%.1f ms", seconds / ms);
    } else {
        (void)std::snprintf(text.data(), text.size(), "%.1f s", seconds);
    }
    return text.data();
}

std::string version_text() {
    return std::string(version) + (commit.empty() ? "" : " (commit " + std::string(commit) + ")");
}

std::string mode_text(const MountFacts& facts) {
    std::string text = facts.writable ? "writable" : "read-only";
    text += facts.in_place ? ", in place" : "";
    return text + (facts.allow_other ? ", for all users" : "");
}

std::string operations_table(const RequestTotals& requests) {
    std::vector<std::vector<std::string>> rows{{"operation", "requests", "errors", "bytes", "median", "99 %"}};
    for (std::size_t i = 0; i < operation_count; ++i) {
        const OperationTotals& one = requests.operations.at(i);
        if (one.count > 0) {
            constexpr double most = 0.99;
            rows.push_back({std::string(name_of(static_cast<Operation>(i))), grouped(one.count), grouped(one.errors),
                            one.nbytes > 0 ? human_nbytes(one.nbytes) : "", latency_text(one.latencies.quantile_s(0.5)),
                            latency_text(one.latencies.quantile_s(most))});
        }
    }
    return rows.size() == 1 ? "" : "\n" + table(rows, {false, true, true, true, true, true}, "");
}

std::string state_of(const TagState& tag) {
    if (!tag.is_read) {
        return "is being read";
    }
    return tag.problem.empty() ? "whole" : shortened(tag.problem);
}

/// In at most `room` bytes, but for the lines around the tags.
std::string tags_text(const FileSystemState& files, std::size_t room) {
    std::string text = "\n" + counted(files.tags.size(), "tag") + " in memory, " +
                       counted(files.generations_read, "generation") + " read since the start\n";
    std::size_t told = 0;
    while (told < std::min(files.tags.size(), most_tags)) {
        const TagState& tag = files.tags[told];
        const std::string line =
            "  " + printable(shortened(tag.path)) + "  " + tag.generation + "  " + printable(state_of(tag)) + "\n";
        if (text.size() + line.size() > room) {
            break;
        }
        text += line;
        ++told;
    }
    return text + (files.tags.size() > told ? "  and " + counted(files.tags.size() - told, "more", "more") + "\n" : "");
}

std::string rendered(const nlohmann::ordered_json& json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// For a label of Prometheus, which is UTF-8: what is none stands there as U+FFFD.
std::string label(std::string_view text) {
    const auto utf8 = nlohmann::ordered_json::parse(rendered(text)).get<std::string>();
    std::string escaped;
    for (const char character : utf8) {
        if (character == '\n') {
            escaped += "\\n";
        } else {
            escaped += character == '\\' || character == '"' ? "\\" : "";
            escaped += character;
        }
    }
    return '"' + escaped + '"';
}

class Metrics {
 public:
    /// Begins a metric.
    void describe(const std::string& name, const char* type, const char* help) {
        name_ = "ckptfs_" + name;
        text_ += "# HELP " + name_ + " " + help + "\n# TYPE " + name_ + " " + type + "\n";
    }
    void value(const std::string& number, const std::string& labels = "", const char* suffix = "") {
        text_ += name_ + suffix + (labels.empty() ? "" : "{" + labels + "}") + " " + number + "\n";
    }
    void only(const std::string& name, const char* type, const char* help, std::uint64_t number) {
        describe(name, type, help);
        value(std::to_string(number));
    }
    [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
    std::string name_;
    std::string text_;
};

std::string seconds_text(double seconds) {
    std::array<char, 32> text{};
    (void)std::snprintf(text.data(), text.size(), "%.9g", seconds);
    return text.data();
}

void add_requests(Metrics& metrics, const RequestTotals& requests) {
    const auto each = [&](auto&& say) {
        for (std::size_t i = 0; i < operation_count; ++i) {
            if (requests.operations.at(i).count > 0) {
                say("operation=" + label(name_of(static_cast<Operation>(i))), requests.operations.at(i));
            }
        }
    };
    metrics.describe("request_errors_total", "counter", "Requests that were answered with an error.");
    each([&](const std::string& labels, const OperationTotals& one) {
        metrics.value(std::to_string(one.errors), labels);
    });
    metrics.describe("request_errno_total", "counter", "Requests that were answered with this error.");
    for (const auto& [number, count] : requests.errors) {
        metrics.value(std::to_string(count), "errno=" + label(name_of_errno(number)));
    }
    metrics.describe("request_duration_seconds", "histogram", "How long requests took.");
    each([&](const std::string& labels, const OperationTotals& one) {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < Latencies::bucket_count; ++i) {
            sum += one.latencies.counts.at(i);
            const double bound = Latencies::upper_bound_s(i);
            if (i % 2 == 0 && !std::isinf(bound)) {  // steps of four are enough to draw
                metrics.value(std::to_string(sum), labels + ",le=" + label(seconds_text(bound)), "_bucket");
            }
        }
        metrics.value(std::to_string(sum), labels + ",le=\"+Inf\"", "_bucket");
        constexpr double ns = 1e-9;
        metrics.value(seconds_text(static_cast<double>(one.ns) * ns), labels, "_sum");
        metrics.value(std::to_string(sum), labels, "_count");
    });
    metrics.only("requests_in_progress", "gauge", "Requests that are being answered.", requests.in_progress);
    metrics.describe("bytes_total", "counter", "Bytes of files that went through the daemon.");
    metrics.value(std::to_string(requests.of(Operation::read).nbytes), R"(direction="read")");
    metrics.value(std::to_string(requests.of(Operation::write).nbytes), R"(direction="written")");
    metrics.only("bytes_handed_over_total", "counter",
                 "Bytes of those that were read which the kernel moved by itself, without the daemon's having them.",
                 requests.handed_over_nbytes);
}

std::size_t tags_with_problem(const FileSystemState& files) {
    return static_cast<std::size_t>(
        std::count_if(files.tags.begin(), files.tags.end(), [](const TagState& tag) { return !tag.problem.empty(); }));
}

nlohmann::ordered_json requests_json(const RequestTotals& requests) {
    using Json = nlohmann::ordered_json;
    Json operations = Json::array();
    for (std::size_t i = 0; i < operation_count; ++i) {
        const OperationTotals& one = requests.operations.at(i);
        if (one.count == 0) {
            continue;
        }
        Json latencies = Json::array();
        for (std::size_t bucket = 0; bucket < Latencies::bucket_count; ++bucket) {
            if (const auto count = one.latencies.counts.at(bucket); count > 0) {
                const double bound = Latencies::upper_bound_s(bucket);
                latencies.push_back({{"at_most_s", std::isinf(bound) ? Json() : Json(bound)}, {"count", count}});
            }
        }
        constexpr double ns = 1e-9;
        operations.push_back({{"name", name_of(static_cast<Operation>(i))},
                              {"count", one.count},
                              {"errors", one.errors},
                              {"nbytes", one.nbytes},
                              {"seconds", static_cast<double>(one.ns) * ns},
                              {"latencies", std::move(latencies)}});
    }
    Json errors = Json::object();
    for (const auto& [number, count] : requests.errors) {
        errors[name_of_errno(number)] = count;
    }
    return {{"count", requests.count()},
            {"errors", requests.error_count()},
            {"in_progress", requests.in_progress},
            {"by_errno", std::move(errors)},
            {"operations", std::move(operations)}};
}

/// In at most `room` bytes.
nlohmann::ordered_json tags_json(const FileSystemState& files, std::size_t room) {
    using Json = nlohmann::ordered_json;
    Json tags = Json::array();
    for (std::size_t i = 0; i < std::min(files.tags.size(), most_tags); ++i) {
        const TagState& tag = files.tags[i];
        Json json{{"path", shortened(tag.path)},
                  {"generation", tag.generation},
                  {"is_read", tag.is_read},
                  {"problem", tag.problem.empty() ? Json() : Json(shortened(tag.problem))}};
        const std::size_t nbytes = rendered(json).size() + 1;
        if (nbytes > room) {
            break;
        }
        room -= nbytes;
        tags.push_back(std::move(json));
    }
    return tags;
}

/// What may stand in the rest of a text of `nbytes` so far.
std::size_t room_after(std::size_t nbytes) {
    constexpr std::size_t around = 200;  // what frames the tags
    return room_nbytes - std::min(room_nbytes, nbytes + around);
}

/// Of a line such as "VmRSS:      1234 kB" in /proc/self/status.
std::uint64_t nbytes_of(const std::string& text, const std::string& name) {
    constexpr std::uint64_t kib = 1024;
    const std::size_t at = text.find(name + ":");
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + name.size() + 1, nullptr, 10) * kib;
}

}  // namespace

MountStatus status_now(const MountFacts& facts, const RequestCounters& counters, const FileSystemState& files) {
    std::ifstream stream("/proc/self/status");
    const std::string memory{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    return {
        .facts = facts,
        .files = files,
        .requests = counters.totals(),
        .now_s = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
                     .count(),
        .resident_nbytes = nbytes_of(memory, "VmRSS"),
        .most_resident_nbytes = nbytes_of(memory, "VmHWM"),
        .counted_nbytes = MemoryBudget::of_process().held(),
        .most_counted_nbytes = MemoryBudget::of_process().limit(),
        .log_level = std::string(name_of(log::level())),
        .lines_held_back = log::lines_held_back()};
}

std::string status_text(const MountStatus& status) {
    const MountFacts& facts = status.facts;
    const RequestTotals& requests = status.requests;
    const std::string log = printable(facts.log.name) + (facts.log.is_read ? "" : ", where nobody reads it") +
                            ", level " + status.log_level + (facts.log.is_json ? ", JSON" : "") + "; " +
                            counted(status.lines_held_back, "repeated line") + " held back";
    const std::vector<std::vector<std::string>> rows{
        {"mount", printable(facts.mount_point)},
        {"source", printable(facts.source)},
        {"view", facts.view + ", " + mode_text(facts)},
        {"daemon", "ckptfs " + version_text() + ", process " + std::to_string(facts.daemon.number) + " of user " +
                       std::to_string(facts.user)},
        {"since",
         utc_text(facts.started_s) + ", " +
             duration_text(static_cast<std::uint64_t>(std::max<std::int64_t>(status.now_s - facts.started_s, 0)))},
        {"memory", human_nbytes(status.resident_nbytes) + ", " + human_nbytes(status.most_resident_nbytes) +
                       " at most so far; of checkpoints " + human_nbytes(status.counted_nbytes) + " of " +
                       human_nbytes(status.most_counted_nbytes)},
        {"kernel", counted(status.files.inodes, "inode") + ", " + counted(status.files.open_files, "open file") + ", " +
                       counted(status.files.open_directories, "open directory", "open directories")},
        {"requests", grouped(requests.count()) + ", " + grouped(requests.error_count()) +
                         " of them answered with an error, " + grouped(requests.in_progress) + " in progress"},
        {"bytes", human_nbytes(requests.of(Operation::read).nbytes) + " read, " +
                      human_nbytes(requests.of(Operation::write).nbytes) + " written"},
        {"log", log}};
    std::string text = table(rows, {false, false}, "") + operations_table(requests);
    if (!requests.errors.empty()) {
        std::vector<std::string> errors;
        for (const auto& [number, count] : requests.errors) {
            errors.push_back(name_of_errno(number) + " " + grouped(count));
        }
        text += "\nerrors: " + joined(errors, ", ") + "\n";
    }
    return text + tags_text(status.files, room_after(text.size()));
}

std::string status_json(const MountStatus& status) {
    using Json = nlohmann::ordered_json;
    const MountFacts& facts = status.facts;
    Json document{{"schema_version", 1},
                  {"version", version},
                  {"commit", commit.empty() ? Json() : Json(commit)},
                  {"mount_point", facts.mount_point},
                  {"source", facts.source},
                  {"view", facts.view},
                  {"writable", facts.writable},
                  {"in_place", facts.in_place},
                  {"allow_other", facts.allow_other},
                  {"process", facts.daemon.number},
                  {"user", facts.user},
                  {"started", utc_text(facts.started_s)},
                  {"uptime_s", status.now_s - facts.started_s},
                  {"log",
                   {{"target", facts.log.name},
                    {"is_read", facts.log.is_read},
                    {"format", facts.log.is_json ? "json" : "text"},
                    {"level", status.log_level},
                    {"lines_held_back", status.lines_held_back}}},
                  {"memory",
                   {{"resident_nbytes", status.resident_nbytes},
                    {"most_resident_nbytes", status.most_resident_nbytes},
                    {"counted_nbytes", status.counted_nbytes},
                    {"most_counted_nbytes", status.most_counted_nbytes}}},
                  {"kernel",
                   {{"inodes", status.files.inodes},
                    {"open_files", status.files.open_files},
                    {"open_directories", status.files.open_directories}}},
                  {"bytes",
                   {{"read", status.requests.of(Operation::read).nbytes},
                    {"handed_over", status.requests.handed_over_nbytes},
                    {"written", status.requests.of(Operation::write).nbytes}}},
                  {"requests", requests_json(status.requests)},
                  {"generations_read", status.files.generations_read},
                  {"tag_count", status.files.tags.size()},
                  {"tags", Json::array()}};
    document["tags"] = tags_json(status.files, room_after(rendered(document).size()));
    return rendered(document) + "\n";
}

std::string status_metrics(const MountStatus& status) {
    const MountFacts& facts = status.facts;
    Metrics metrics;
    metrics.describe("info", "gauge", "What is mounted, by which version.");
    metrics.value("1", "version=" + label(version) + ",source=" + label(facts.source) +
                           ",mount_point=" + label(facts.mount_point) + ",view=" + label(facts.view));
    metrics.only("start_time_seconds", "gauge", "When the mount began, since the epoch.",
                 static_cast<std::uint64_t>(facts.started_s));
    add_requests(metrics, status.requests);
    metrics.only("resident_memory_bytes", "gauge", "Memory of the daemon.", status.resident_nbytes);
    metrics.only("most_resident_memory_bytes", "gauge", "The most that it was so far.", status.most_resident_nbytes);
    metrics.only("counted_memory_bytes", "gauge", "What is held of checkpoints.", status.counted_nbytes);
    metrics.only("most_counted_memory_bytes", "gauge", "What that may be (--memory).", status.most_counted_nbytes);
    metrics.only("inodes", "gauge", "Inodes that the kernel refers to.", status.files.inodes);
    metrics.only("open_files", "gauge", "Files that are open in the mount.", status.files.open_files);
    metrics.only("open_directories", "gauge", "Directories that are open in the mount.", status.files.open_directories);
    metrics.only("generations_read_total", "counter", "Times that a tag was read.", status.files.generations_read);
    metrics.only("tags", "gauge", "Tags in memory.", status.files.tags.size());
    metrics.only("tags_with_problem", "gauge", "Tags in memory that cannot be shown.", tags_with_problem(status.files));
    metrics.only("log_lines_held_back_total", "counter", "Repeated lines that were kept out of the log.",
                 status.lines_held_back);
    return std::move(metrics).text();
}

OwnFiles own_files(const MountFacts& facts, const std::shared_ptr<const RequestCounters>& counters) {
    const auto text_by = [facts, counters](std::string (*render)(const MountStatus&)) {
        return [facts, counters, render](const FileSystemState& state) {
            return render(status_now(facts, *counters, state));
        };
    };
    const auto fixed = [](const std::string& text) { return [text](const FileSystemState&) { return text; }; };
    // The last lines alone, where they are more than an extended attribute has room for.
    const auto log_lines = [](const FileSystemState&) {
        std::string text = log::last_lines();
        constexpr std::size_t most = 60'000;
        return text.size() <= most ? text : text.substr(text.find('\n', text.size() - most) + 1);
    };
    return {.uid = facts.user,
            .gid = ::getegid(),
            .files = {{.name = status_file, .text = text_by(status_text)},
                      {.name = status_json_file, .text = text_by(status_json)},
                      {.name = log_lines_file, .text = log_lines},
                      // Numbers, and what /proc/mounts and the command line of the daemon say to everybody.
                      {.name = metrics_file, .is_for_all = true, .text = text_by(status_metrics)},
                      {.name = view_file, .is_for_all = true, .text = fixed(facts.view)},
                      {.name = daemon_file, .is_for_all = true, .text = fixed(text_of(facts.daemon))}}};
}

}  // namespace ckptfs::cli
