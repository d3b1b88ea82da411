// One step after another: look, compare with what an earlier run left, write, look again, give it its name.
#include "export/export.h"

#include <algorithm>
#include <bit>

#include "export/destination.h"
#include "export/file_in_work.h"
#include "export/partial.h"
#include "export/plan.h"
#include "export/read_files_back.h"
#include "export/space.h"
#include "export/tree_writer.h"
#include "export/work_items.h"
#include "export/write_files.h"
#include "util/parallel.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

std::uint64_t finished_nbytes(const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished) {
    std::uint64_t sum = 0;
    for (const auto& [number, file] : finished) {
        const FileSegments segments = plan.segments(number);
        if (file.is_complete) {
            sum += segments.file_nbytes;
            continue;
        }
        for (const auto& [segment, parts] : file.segments) {
            sum += segments.range(segment).nbytes();
        }
    }
    return sum;
}

/// Before anything is written: opening a file of a tag that is broken says why.
Result<void> expect_readable(const Source& tree, const Plan& plan, std::size_t jobs,
                             const std::function<bool()>& stops) {
    FirstGraveFailure failure;
    for_each_in_parallel(plan.files.size(), jobs, [&](std::size_t number) {
        const auto file = open_planned(tree, plan.file(number));
        if (!file) {
            failure.note(file.error());
        } else if (stops()) {
            failure.note(interrupted());
            return false;
        }
        return file.ok();
    });
    return failure.result();
}

/// What is to be written; nothing is, where some of it cannot be read.
Result<Plan> plan_of_readable(const ExportRequest& request, const std::function<bool()>& stops) {
    auto plan = make_plan(*request.tree, request.segment_nbytes);
    const auto readable =
        plan ? expect_readable(*request.tree, *plan, request.jobs, stops) : Result<void>(plan.error());
    if (readable || is_interruption(readable.error())) {
        return readable ? std::move(plan) : readable.error();
    }
    const Error& error = readable.error();
    return Error(error.code(), error.message() + "; nothing has been written: --tag=NAME exports one tag alone",
                 error.system_errno());
}

/// Files that were read whole before the source changed are not of the same moment as those that were planned.
Result<void> expect_unchanged(const Source& tree, const ExportRequest& request, const Manifest& planned) {
    tree.refresh();  // a look of a moment ago does not show what was saved since
    const auto now = make_plan(tree, request.segment_nbytes);
    if (!now) {
        const bool is_gone = now.error().code() == ErrorCode::not_found;
        return is_gone ? Error(ErrorCode::stale, now.error().message() + ", and it was there when the export began")
                       : now.error();
    }
    if (const auto difference = planned.difference(Manifest(request.version, request.settings, *now))) {
        return Error(ErrorCode::stale, in_quotes(tree.display("")) + " has changed meanwhile: the export " +
                                           *difference + "; choose a tag that nobody writes (--tag=NAME)");
    }
    return {};
}

}  // namespace

std::uint64_t buffer_nbytes(std::uint64_t memory_nbytes, std::size_t jobs) {
    const std::uint64_t share = std::min(memory_nbytes / jobs, largest_buffer_nbytes);
    return share < least_buffer_nbytes ? 0 : std::bit_floor(share);
}

Result<ExportSummary> export_tree(const ExportRequest& request, const WriteCalls& calls, Counters& counters,
                                  const ExportHooks& hooks) {
    CKPTFS_ASSIGN(const Destination destination, find_destination(request.destination, request.source_path));
    const Source& tree = *request.tree;
    CKPTFS_ASSIGN(const Plan plan, plan_of_readable(request, hooks.stops));
    const Manifest manifest(request.version, request.settings, plan);
    CKPTFS_ASSIGN(Partial partial, Partial::open(calls, destination, manifest, hooks.warn));
    ExportSummary summary{plan.files.size(), destination.path, partial.is_published()};
    counters.total = plan.nbytes;
    if (partial.is_published()) {
        counters.earlier = plan.nbytes;
        return summary;
    }
    for (const std::string& path : plan.left_out) {
        hooks.warn(in_quotes(tree.display(path)) + " is a fifo, a socket or a device, and is left out");
    }
    CKPTFS_TRY(partial.forget_what_is_gone(plan, hooks.warn));
    counters.earlier = finished_nbytes(plan, partial.finished());
    if (auto room = expect_space(tree, plan, partial.finished(), partial.content(), calls, hooks.warn); !room) {
        partial.abandon();
        return room.error();
    }
    CKPTFS_TRY(make_directories(plan, partial.content(), calls));
    counters.phase = Phase::writing;
    const WorkSettings settings{request.jobs, buffer_nbytes(request.memory_nbytes, request.jobs), request.limits};
    CKPTFS_TRY(write_files(tree, plan, partial, settings, calls, counters, hooks.stops));
    if (request.verify) {
        CKPTFS_TRY(read_files_back(tree, plan, partial, settings, calls, counters, hooks.stops));
    }
    CKPTFS_TRY(finish_tree(plan, partial.content(), calls));
    CKPTFS_TRY(expect_unchanged(tree, request, manifest));
    CKPTFS_TRY(partial.publish(hooks.warn));
    return summary;
}

}  // namespace ckptfs::exporting
