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

Result<std::string> absolute_path(const std::string& path, const std::filesystem::path& working_directory) {
    if (path.starts_with('/')) {
        return path;
    }
    if (working_directory.empty()) {
        return Error(ErrorCode::invalid_argument,
                     "'" + path + "' is relative to a working directory that is gone: change to one that exists, or "
                                  "give an absolute path");
    }
    return (working_directory / path).string();
}

Environment real_environment() {
    std::error_code failure;
    auto working_directory = std::filesystem::current_path(failure);
    if (failure) {
        working_directory.clear();
    }
    const auto open_source = [working_directory](const std::string& path) -> Result<std::shared_ptr<const Source>> {
        CKPTFS_TRY(absolute_path(path, working_directory));
        return ckptfs::open_directory(path);
    };
    return Environment{.out = std::cout,
                       .error = std::cerr,
                       .working_directory = std::move(working_directory),
                       .variable = variable,
                       .open_source = open_source,
                       .read_with_torch = read_with_module,
                       .check_mount_point = ckptfs::check_mount_point,
                       .mount_and_serve = ckptfs::mount_and_serve,
                       .daemonise = ckptfs::daemonise};
}

}  // namespace ckptfs::cli
