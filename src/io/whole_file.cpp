// Written beside, then renamed.
#include "io/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "io/retried.h"
#include "io/unique_fd.h"
#include "util/text.h"

namespace ckptfs::io {
namespace {

constexpr mode_t mode_before_umask = 0666;

Error cannot_write(const std::string& path, int reason) {
    return {ErrorCode::io, in_quotes(path) + " cannot be written: " + std::generic_category().message(reason), reason};
}

Result<UniqueFd> open_to_write(const std::string& path, int flags) {
    UniqueFd file(retried([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, mode_before_umask); }));
    return file.valid() ? Result(std::move(file)) : cannot_write(path, -file.get());
}

Result<void> write_to(UniqueFd file, const std::string& path, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = retried([&] { return ::write(file.get(), bytes.data(), bytes.size()); });
        if (written < 0) {
            return cannot_write(path, static_cast<int>(-written));
        }
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::close(file.release()) != 0) {  // where a full disk or a quota shows itself on network file systems
        return cannot_write(path, errno);
    }
    return {};
}

}  // namespace

Result<void> write_whole_file(const std::string& path, std::string_view bytes) {
    std::error_code failure;
    const auto status = std::filesystem::status(path, failure);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
        CKPTFS_ASSIGN(UniqueFd file, open_to_write(path, 0));
        return write_to(std::move(file), path, bytes);
    }
    const auto resolved = std::filesystem::weakly_canonical(path, failure);
    const std::string target = failure ? path : resolved.string();
    const std::string partial = target + ".partial";
    Result<UniqueFd> file = open_to_write(partial, O_CREAT | O_EXCL);
    if (!file) {
        const bool is_there = file.error().system_errno() == EEXIST;
        return is_there ? Error(ErrorCode::io,
                                in_quotes(partial) + " is there already: another process writes " + in_quotes(path) +
                                    ", or was killed while it did; remove it",
                                EEXIST)
                        : file.error();
    }
    const Result<void> written = write_to(std::move(file).value(), partial, bytes);
    if (written && std::rename(partial.c_str(), target.c_str()) == 0) {
        return {};
    }
    const int reason = errno;
    ::unlink(partial.c_str());
    return written ? Result<void>(cannot_write(path, reason)) : written;
}

}  // namespace ckptfs::io
