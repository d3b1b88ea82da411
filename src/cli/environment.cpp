// The hooks of the real program: directories, libtorch's module, FUSE and fork.
#include "cli/environment.h"

#include <cstdlib>
#include <iostream>
#include <optional>
#include <system_error>

#include "ckptfs/open.h"

namespace ckptfs::cli {
namespace {

Result<void> read_with_module(const File& file, const TorchModule::ChunkVisitor& visit) {
    const auto module = TorchModule::load();
    if (!module) {
        // `not_found` would be taken for a word about SOURCE.
        return Error(ErrorCode::io, module.error().message(), ENOENT);
    }
    return (*module)->read_all_records(file, visit);
}

std::optional<std::string> variable(const std::string& name) {
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets any
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
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
                       .variable = variable,
                       .open_source = ckptfs::open_directory,
                       .read_with_torch = read_with_module,
                       .check_mount_point = ckptfs::check_mount_point,
                       .mount_and_serve = ckptfs::mount_and_serve,
                       .daemonise = ckptfs::daemonise};
}

}  // namespace ckptfs::cli
