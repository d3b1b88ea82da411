// Directories and libtorch's module, as they are.
#include "cli/environment.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <system_error>
#include <utility>

#include "ckptfs/open.h"
#include "cli/command_line.h"
#include "host/mount_point.h"
#include "io/whole_file.h"
#include "util/text.h"
#include "zero/file_names.h"

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

/// A path that names nothing may be mistyped, or that of something else.
Error with_advice(const Error& error) {
    return error.code() == ErrorCode::not_found && error.system_errno() == ENOENT
               ? Error(error.code(), error.message() + "; give the directory that save_checkpoint was given", ENOENT)
               : error;
}

}  // namespace

Result<std::string> absolute_path(const std::string& path, const std::filesystem::path& working_directory) {
    if (path.starts_with('/')) {
        return path;
    }
    if (working_directory.empty()) {
        return Error(ErrorCode::invalid_argument,
                     "'" + path +
                         "' is relative to a working directory that is gone: change to one that exists, or "
                         "give an absolute path");
    }
    return (working_directory / path).string();
}

Result<void> expect_directory(const Environment& environment, const std::string& path) {
    CKPTFS_ASSIGN(const std::string absolute, absolute_path(path, environment.working_directory));
    CKPTFS_TRY(check_not_in_place(absolute));
    std::error_code failure;
    const std::filesystem::path file = std::filesystem::path(absolute).lexically_normal();
    if (!std::filesystem::exists(file, failure) || std::filesystem::is_directory(file, failure)) {
        return {};
    }
    const std::filesystem::path directory = file.parent_path();
    const std::string start = in_quotes(path) + " is a file; give ";
    if (zero::parse_shard_name(file.filename().string())) {
        return Error(ErrorCode::not_found,
                     start + "the directory that save_checkpoint was given, " +
                         in_quotes(directory.parent_path().string()) + ", or its tag " + in_quotes(directory.string()),
                     ENOTDIR);
    }
    return Error(ErrorCode::not_found, start + "its directory, " + in_quotes(directory.string()), ENOTDIR);
}

Result<void> expect_there(const std::string& path) {
    struct stat found {};
    if (::stat(path.c_str(), &found) == 0 || errno != ENOENT) {
        return {};
    }
    return with_advice(
        {ErrorCode::not_found,
         in_quotes(path) + " cannot be opened as a directory: " + std::generic_category().message(ENOENT), ENOENT});
}

Result<std::shared_ptr<const Source>> open_checkpoint(const Environment& environment, const std::string& path) {
    CKPTFS_TRY(expect_directory(environment, path));
    auto opened = environment.open_source(path);
    return opened ? std::move(opened) : with_advice(opened.error());
}

Result<WritableSource> open_writable_checkpoint(const Environment& environment, const std::string& path, bool is_held) {
    CKPTFS_TRY(expect_directory(environment, path));
    auto opened = environment.open_writable_source(path, is_held);
    return opened ? std::move(opened) : with_advice(opened.error());
}

std::size_t columns(const share::Variables& variable, std::size_t of_terminal) {
    constexpr std::size_t least = 40;
    constexpr std::size_t most = 1'000;  // the picture of a re-cut has a cell for each
    const auto said = variable("COLUMNS");
    const std::size_t columns = said ? parse_count(*said).value_or(0) : 0;
    return std::clamp(columns > 0 ? columns : of_terminal > 0 ? of_terminal : usual_columns, least, most);
}

Environment environment_without_mounts(std::ostream& out, std::ostream& error) {
    std::error_code failure;
    auto working_directory = std::filesystem::current_path(failure);
    if (failure) {
        working_directory.clear();
    }
    const auto open_source = [working_directory](const std::string& path) -> Result<std::shared_ptr<const Source>> {
        CKPTFS_TRY(absolute_path(path, working_directory));
        return ckptfs::open_directory(path);
    };
    const auto write_file = [working_directory](const std::string& path, std::string_view text) -> Result<void> {
        CKPTFS_ASSIGN(const std::string absolute, absolute_path(path, working_directory));
        return io::write_whole_file(absolute, text);
    };
    return Environment{.out = out,
                       .error = error,
                       .working_directory = std::move(working_directory),
                       .variable = variable,
                       .columns = columns(variable, 0),
                       .write_file = write_file,
                       .open_source = open_source,
                       .read_with_torch = read_with_module};
}

}  // namespace ckptfs::cli
