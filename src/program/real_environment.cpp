// The hooks of the real program: standard streams, FUSE and fork. It stands outside the layer cli, which a library that
// needs no libfuse has too.
#include "program/real_environment.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <utility>

#include "fuse/mount.h"
#include "host/mount_point.h"
#include "host/service_manager.h"
#include "io/posix_source.h"
#include "share/said_once.h"
#include "util/log.h"

namespace ckptfs {
namespace {

bool lead_to_the_same(int one, int other) {
    struct stat first {};
    struct stat second {};
    return ::fstat(one, &first) == 0 && ::fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/// 0 where `descriptor` is no terminal, or one that does not say.
std::size_t columns_of(int descriptor) {
    struct winsize size {};
    return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

cli::Environment real_environment() {
    cli::Environment environment = cli::environment_without_mounts(std::cout, std::cerr);
    environment.streams_are_one = lead_to_the_same(STDOUT_FILENO, STDERR_FILENO);
    environment.error_is_terminal = ::isatty(STDERR_FILENO) == 1;
    environment.columns = cli::columns(environment.variable, columns_of(STDOUT_FILENO));
    environment.error_columns = [] {
        const std::size_t columns = columns_of(STDERR_FILENO);
        return columns > 0 ? columns : cli::usual_columns;
    };
    environment.open_writable_source = [working_directory = environment.working_directory](
                                           const std::string& path, bool is_held) -> Result<cli::WritableSource> {
        CKPTFS_TRY(cli::absolute_path(path, working_directory));
        using io::DirectorySource, io::RootIs;
        CKPTFS_ASSIGN(auto source, DirectorySource::open_directory(path, is_held ? RootIs::held : RootIs::followed));
        auto writer = source->writer();
        return cli::WritableSource{std::move(source), std::move(writer)};
    };
    environment.tell_service_manager = tell_service_manager;
    environment.is_first_time = [variable = environment.variable](const std::string& what) {
        return share::is_first_time(what, variable);
    };
    environment.log_to_syslog = log::to_syslog;
    environment.check_mount_point = check_mount_point;
    environment.mount_and_serve = mount_and_serve;
    environment.daemonise = daemonise;
    return environment;
}

}  // namespace ckptfs
