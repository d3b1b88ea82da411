// The hooks of the real program: directories, libtorch's module, FUSE and fork.
#include "cli/environment.h"

#include <iostream>
#include <system_error>

#include "io/posix_source.h"

namespace ckptfs::cli {
namespace {

Result<std::shared_ptr<const Source>> open_directory(const std::string& path) {
    CKPTFS_ASSIGN(auto source, io::DirectorySource::open_directory(path));
    return std::shared_ptr<const Source>(std::move(source));
}

Result<void> read_with_module(const File& file, const TorchModule::ChunkVisitor& visit) {
    CKPTFS_ASSIGN(const auto module, TorchModule::load());
    return module->read_all_records(file, visit);
}

}  // namespace

Result<Environment> real_environment() {
    std::error_code failure;
    auto working_directory = std::filesystem::current_path(failure);
    if (failure) {
        return Error(ErrorCode::not_found, "the working directory is gone: change to one that exists");
    }
    return Environment{.out = std::cout,
                       .error = std::cerr,
                       .working_directory = std::move(working_directory),
                       .open_source = open_directory,
                       .read_with_torch = read_with_module,
                       .check_mount_point = ckptfs::check_mount_point,
                       .mount_and_serve = ckptfs::mount_and_serve,
                       .daemonise = ckptfs::daemonise};
}

}  // namespace ckptfs::cli
