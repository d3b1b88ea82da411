// The boundary of the file system: whatever is thrown behind it ends here, as an errno and a line in the log.
#include "fs/file_system.h"

#include <cerrno>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include "fs/implementation.h"
#include "util/log.h"

namespace ckptfs {
namespace {

void report_unexpected(const char* operation, const char* what) noexcept {
    try {
        log::error(std::string(operation) + " failed unexpectedly: " + what);
    } catch (const std::exception&) {
        log::error("an operation failed unexpectedly, and there is no memory to say more");
    }
}

template <class Body>
auto guarded(const char* operation, Body&& body) noexcept -> decltype(body()) {
    try {
        return std::forward<Body>(body)();
    } catch (const std::bad_alloc&) {
        log::warn("no memory for an operation, which is answered with ENOMEM: give the daemon more");
        if constexpr (!std::is_void_v<decltype(body())>) {
            return Errno{ENOMEM};
        }
    } catch (const std::exception& failure) {
        report_unexpected(operation, failure.what());
    } catch (...) {
        report_unexpected(operation, "an exception of unknown type");
    }
    if constexpr (!std::is_void_v<decltype(body())>) {
        return Errno{EIO};
    }
}

}  // namespace

std::int64_t system_time_ns() {
    return std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

void sleep_for(std::chrono::milliseconds duration) {
    std::this_thread::sleep_for(duration);
}

Result<std::unique_ptr<FileSystem>> FileSystem::create(std::shared_ptr<const Source> source,
                                                       std::shared_ptr<const TagReader> reader,
                                                       FileSystemOptions options) {
    if (options.request && ViewRequest::parse(options.request->name()) != options.request) {
        return Error(ErrorCode::invalid_argument, "there is no view '" + options.request->name() + "'");
    }
    auto tree = std::make_shared<SourceTree>(std::move(source), std::move(reader),
                                             Clocks{.now = std::move(options.now),
                                                    .wall_now_ns = std::move(options.wall_now_ns),
                                                    .sleep = std::move(options.sleep)},
                                             options.allow_other);
    auto implementation = std::make_unique<Implementation>(std::move(tree), options);
    return std::unique_ptr<FileSystem>(new FileSystem(std::move(implementation)));
}

FileSystem::FileSystem(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
FileSystem::~FileSystem() = default;

void FileSystem::adopt(const std::string& directory, const std::shared_ptr<const Tag>& tag) noexcept {
    guarded("adopting a tag", [&] { implementation_->adopt(directory, tag); });
}

Outcome<LookedUpEntry> FileSystem::lookup(std::uint64_t parent, std::string_view name) noexcept {
    return guarded("lookup", [&] { return implementation_->lookup(parent, name); });
}

void FileSystem::forget(std::uint64_t inode, std::uint64_t lookups) noexcept {
    guarded("forget", [&] { implementation_->forget(inode, lookups); });
}

Outcome<FileAttributes> FileSystem::getattr(std::uint64_t inode) noexcept {
    return guarded("getattr", [&] { return implementation_->getattr(inode); });
}

Outcome<std::string> FileSystem::readlink(std::uint64_t inode) noexcept {
    return guarded("readlink", [&] { return implementation_->readlink(inode); });
}

Outcome<OpenedFile> FileSystem::open(std::uint64_t inode) noexcept {
    return guarded("open", [&] { return implementation_->open(inode); });
}

Outcome<std::size_t> FileSystem::read(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out) noexcept {
    return guarded("read", [&] { return implementation_->read(handle, offset, out); });
}

void FileSystem::release(std::uint64_t handle) noexcept {
    guarded("release", [&] { implementation_->release(handle); });
}

Outcome<std::uint64_t> FileSystem::opendir(std::uint64_t inode) noexcept {
    return guarded("opendir", [&] { return implementation_->opendir(inode); });
}

Outcome<bool> FileSystem::readdir(std::uint64_t handle, std::uint64_t offset,
                                  const std::function<bool(const ListedEntry&)>& take) noexcept {
    return guarded("readdir", [&] { return implementation_->readdir(handle, offset, take); });
}

void FileSystem::releasedir(std::uint64_t handle) noexcept {
    guarded("releasedir", [&] { implementation_->releasedir(handle); });
}

Outcome<SourceStatistics> FileSystem::statfs() noexcept {
    return guarded("statfs", [&] { return implementation_->statfs(); });
}

void FileSystem::tidy() noexcept {
    guarded("tidying up", [&] { implementation_->tidy(); });
}

std::size_t FileSystem::live_inodes() const noexcept {
    return implementation_->live_inodes();
}

}  // namespace ckptfs
