// ckptfs run: a command with a view that lives as long as it does.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <ostream>
#include <utility>
#include <variant>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/mount_identity.h"
#include "cli/placeholder.h"
#include "host/job_signals.h"
#include "share/job_world_size.h"
#include "share/private_mount.h"
#include "share/program.h"
#include "share/shared_view.h"
#include "util/log.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

constexpr const char* variable_name = "CKPTFS_VIEW";

StartReport serve(const MountArguments& arguments, const share::SharedPlace& place, const Environment& environment,
                  const std::function<void()>& ready) {
    // What ends whole jobs or asks them for a checkpoint goes to all their processes; the view is still needed then.
    // SIGTERM, SIGINT and SIGHUP are dealt with where the mount is served.
    block_job_signals();
    share::ViewKeeper keeper(place);
    const auto taken = keeper.take();
    if (!taken) {
        return report_of(taken.error());
    }
    if (!*taken) {
        return {share::served_by_another, "another daemon serves the view", 0};
    }
    if (arguments.in_place && ::geteuid() != 0) {
        keeper.offer_user_namespace();
    }
    const auto result = serve_mount(arguments, environment, MountEnds::by_own_signals, [&] {
        if (const auto watching = keeper.watch(); !watching) {
            log::error(watching.error().message());
            ::kill(::getpid(), SIGTERM);
            return;
        }
        ready();
    });
    keeper.finish();
    return report_of(result);
}

Result<TargetArguments> resolve_world_size(TargetArguments target, const Environment& environment) {
    if (!target.of_job) {
        return target;
    }
    CKPTFS_ASSIGN(const auto found, share::job_world_size(environment.variable));
    environment.error << "ckptfs: world size " << found.world_size << ", from " << found.origin << '\n';
    if (!found.warning.empty()) {
        environment.error << "ckptfs: warning: " << found.warning << '\n';
    }
    environment.error << std::flush;
    target.request = ViewRequest::at_world_size(found.world_size);
    target.of_job = false;
    return target;
}

/// What is to be mounted, and where.
struct Plan {
    MountArguments mounted;
    share::SharedPlace place;
    std::string shown_at;  ///< in COMMAND
};

Result<Plan> plan(const MountArguments& arguments, const Environment& environment) {
    CKPTFS_ASSIGN(MountArguments mounted, with_absolute_paths(arguments, environment.working_directory));
    CKPTFS_ASSIGN(mounted.target, resolve_world_size(mounted.target, environment));
    std::string directory = mounted.source;
    while (directory.size() > 1 && directory.back() == '/') {
        directory.pop_back();
    }
    if (mounted.in_place) {
        CKPTFS_TRY(expect_directory(environment, directory));
        CKPTFS_ASSIGN(const auto covered, share::make_coverable(directory));
        mounted.source = covered.path;
        mounted.source_is_new = covered.is_new;
    } else {
        CKPTFS_TRY(expect_there(directory));
    }
    CKPTFS_ASSIGN(const auto place, share::SharedPlace::find(mount_identity(mounted), environment.variable));
    if (mounted.in_place) {
        CKPTFS_TRY(share::expect_outside(place.directory(), mounted.source));
    }
    mounted.mount_point = place.view();
    return Plan{mounted, place, mounted.in_place ? directory : place.view()};
}

}  // namespace

StartReport run_with_view(const RunArguments& arguments, const Environment& environment) {
    const share::SignalMask mask;
    const auto planned = plan(arguments.mount, environment);
    if (!planned) {
        return report_of(planned.error());
    }
    const MountArguments& mounted = planned->mounted;
    const share::SharedPlace& place = planned->place;
    // A run that was killed may have left its daemon to one that has come meanwhile. The keeper knows when nobody is
    // left.
    StartExitCodes codes = start_exit_codes;
    codes.serves_others = true;
    const auto start = [&] {
        return environment.daemonise(
            [&](const std::function<void()>& ready) { return serve(mounted, place, environment, ready); }, codes,
            std::nullopt);
    };
    auto joined = share::SharedView::join(place, start);
    if (!joined) {
        return report_of(joined.error());
    }
    if (auto* failure = std::get_if<StartReport>(&*joined)) {
        return std::move(*failure);
    }
    auto& view = std::get<share::SharedView>(*joined);
    share::Program program{.arguments = {},
                           .environment = {{variable_name, planned->shown_at}},
                           .inherited = view.descriptor(),
                           .prepare = {}};
    if (mounted.in_place) {
        program.prepare = [&]() -> Result<void> {
            CKPTFS_TRY(share::cover_for_this_process(view.path(), mounted.source, view.user_namespace()));
            return share::expect_view_at(mounted.source);
        };
    }
    for (const std::string& word : arguments.command) {
        program.arguments.push_back(with_view(word, planned->shown_at));
    }
    const auto ended = share::run_program(program, mask);
    if (const auto left = view.leave(); !left) {
        environment.error << "ckptfs: warning: " << printable(left.error().message()) << '\n' << std::flush;
    }
    return ended ? StartReport{ended->exit_code, ended->message, 0} : report_of(ended.error());
}

}  // namespace ckptfs::cli
