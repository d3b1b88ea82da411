// The boundary of the file system: whatever is thrown behind it ends here, as an errno and a line in the log.
#include "fs/file_system.h"

#include <fcntl.h>

#include <cerrno>
#include <exception>
#include <filesystem>
#include <new>
#include <system_error>
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

std::string name_of_source(const std::string& path) {
    std::error_code failure;  // of a working directory that is gone: the path says what it says
    const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
    const std::filesystem::path normal = (failure ? std::filesystem::path(path) : absolute).lexically_normal();
    std::string name = (normal.has_filename() ? normal : normal.parent_path()).filename().string();
    return name.empty() ? FileSystemOptions().source_name : name;
}

Result<std::unique_ptr<FileSystem>> FileSystem::create(std::shared_ptr<const Source> source,
                                                       std::shared_ptr<const TagReader> reader,
                                                       FileSystemOptions options) {
    if (options.request && ViewRequest::parse(options.request->name()) != options.request) {
        return Error(ErrorCode::invalid_argument, "there is no view '" + options.request->name() + "'");
    }
    if (options.writer && (!options.request || options.request->kind != ViewKind::world_size)) {
        return Error(ErrorCode::invalid_argument,
                     "only the view of a world size can be written: name it, or mount read-only");
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
    return guarded("open", [&] { return implementation_->open(inode, O_RDONLY, nullptr); });
}

Outcome<OpenedFile> FileSystem::open(std::uint64_t inode, int flags, const Caller& caller) noexcept {
    return guarded("open", [&] { return implementation_->open(inode, flags, &caller); });
}

Outcome<std::shared_ptr<const File>> FileSystem::open_file(std::uint64_t inode) noexcept {
    return guarded("open", [&] { return implementation_->open_file(inode); });
}

Outcome<std::size_t> FileSystem::read(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out) noexcept {
    return guarded("read", [&] { return implementation_->read(handle, offset, out); });
}

Outcome<ReadBytes> FileSystem::fetch(std::uint64_t handle, std::uint64_t offset, std::span<std::byte> out,
                                     PageTarget* target) noexcept {
    return guarded("read", [&] { return implementation_->fetch(handle, offset, out, target); });
}

void FileSystem::let_hand_over(std::uint64_t handle) noexcept {
    guarded("handing over", [&] { implementation_->let_hand_over(handle); });
}

bool FileSystem::hands_over() const noexcept {
    return implementation_->hands_over();
}

OpenDescriptor FileSystem::whole_file(std::uint64_t handle) noexcept {
    const auto found = guarded("open", [&] { return Outcome(implementation_->whole_file(handle)); });
    return found.ok() ? found.value : OpenDescriptor{};
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

Outcome<CreatedFile> FileSystem::create(std::uint64_t parent, std::string_view name, int flags, std::uint32_t mode,
                                        const Caller& caller) noexcept {
    return guarded("create", [&] { return implementation_->create(parent, name, flags, mode, caller); });
}

Outcome<LookedUpEntry> FileSystem::mkdir(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                                         const Caller& caller) noexcept {
    return guarded("mkdir", [&] {
        return implementation_->on_node(parent, name,
                                        [&](Node& node) { return node.make_directory(parent, name, mode, caller); });
    });
}

Outcome<LookedUpEntry> FileSystem::mknod(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                                         std::uint64_t device, const Caller& caller) noexcept {
    return guarded("mknod", [&] {
        return implementation_->on_node(parent, name,
                                        [&](Node& node) { return node.make_node(parent, name, mode, device, caller); });
    });
}

Outcome<LookedUpEntry> FileSystem::symlink(std::uint64_t parent, std::string_view name, std::string_view target,
                                           const Caller& caller) noexcept {
    return guarded("symlink", [&] {
        return implementation_->on_node(
            parent, name, [&](Node& node) { return node.make_symlink(parent, name, std::string(target), caller); });
    });
}

Outcome<LookedUpEntry> FileSystem::link(std::uint64_t inode, std::uint64_t parent, std::string_view name,
                                        const Caller& caller) noexcept {
    return guarded("link", [&] { return implementation_->link(inode, parent, name, caller); });
}

Outcome<Done> FileSystem::unlink(std::uint64_t parent, std::string_view name, const Caller& caller) noexcept {
    return guarded("unlink", [&] {
        return implementation_->on_node(parent, name, [&](Node& node) { return node.remove_file(name, caller); });
    });
}

Outcome<Done> FileSystem::rmdir(std::uint64_t parent, std::string_view name, const Caller& caller) noexcept {
    return guarded("rmdir", [&] {
        return implementation_->on_node(parent, name, [&](Node& node) { return node.remove_directory(name, caller); });
    });
}

Outcome<Done> FileSystem::rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                                 std::string_view new_name, unsigned flags, const Caller& caller) noexcept {
    return guarded("rename",
                   [&] { return implementation_->rename(parent, name, new_parent, new_name, flags, caller); });
}

Outcome<FileAttributes> FileSystem::setattr(std::uint64_t inode, std::optional<std::uint64_t> handle,
                                            const AttributeChange& change, const Caller& caller) noexcept {
    return guarded("setattr", [&] { return implementation_->setattr(inode, handle, change, caller); });
}

Outcome<std::size_t> FileSystem::write(std::uint64_t handle, std::optional<std::uint64_t> offset,
                                       std::span<const std::byte> data, const Caller& caller) noexcept {
    return guarded("write", [&] { return implementation_->write(handle, offset, data, caller); });
}

Outcome<Done> FileSystem::flush(std::uint64_t handle) noexcept {
    return guarded("flush", [&] { return implementation_->flush(handle); });
}

Outcome<Done> FileSystem::fsync(std::uint64_t handle, bool data_only) noexcept {
    return guarded("fsync", [&] { return implementation_->fsync(handle, data_only); });
}

Outcome<Done> FileSystem::fsyncdir(std::uint64_t handle, bool data_only) noexcept {
    return guarded("fsyncdir", [&] { return implementation_->fsyncdir(handle, data_only); });
}

Outcome<Done> FileSystem::fallocate(std::uint64_t handle, int mode, std::uint64_t offset, std::uint64_t nbytes,
                                    const Caller& caller) noexcept {
    return guarded("fallocate", [&] { return implementation_->fallocate(handle, mode, offset, nbytes, caller); });
}

Outcome<std::uint64_t> FileSystem::lseek(std::uint64_t handle, std::uint64_t offset, int whence) noexcept {
    return guarded("lseek", [&] { return implementation_->lseek(handle, offset, whence); });
}

Outcome<std::size_t> FileSystem::copy_file_range(std::uint64_t handle, std::uint64_t offset,
                                                 std::uint64_t target_handle, std::uint64_t target_offset,
                                                 std::size_t nbytes, const Caller& caller) noexcept {
    return guarded("copy_file_range", [&] {
        return implementation_->copy_file_range(handle, offset, target_handle, target_offset, nbytes, caller);
    });
}

Outcome<std::vector<std::byte>> FileSystem::getxattr(std::uint64_t inode, std::string_view name,
                                                     const Caller& caller) noexcept {
    return guarded("getxattr", [&] { return implementation_->getxattr(inode, name, caller); });
}

Outcome<std::vector<std::string>> FileSystem::listxattr(std::uint64_t inode, const Caller& caller) noexcept {
    return guarded("listxattr", [&] {
        return implementation_->on_node(inode, [&](Node& node) { return node.attribute_names(caller); });
    });
}

Outcome<Done> FileSystem::setxattr(std::uint64_t inode, std::string_view name, std::span<const std::byte> value,
                                   int flags, const Caller& caller) noexcept {
    return guarded("setxattr", [&] {
        return implementation_->on_node(
            inode, [&](Node& node) { return node.set_attribute(std::string(name), value, flags, caller); });
    });
}

Outcome<Done> FileSystem::removexattr(std::uint64_t inode, std::string_view name, const Caller& caller) noexcept {
    return guarded("removexattr", [&] {
        return implementation_->on_node(inode,
                                        [&](Node& node) { return node.remove_attribute(std::string(name), caller); });
    });
}

void FileSystem::refresh() noexcept {
    guarded("looking again", [&] { implementation_->refresh(); });
}

void FileSystem::tidy() noexcept {
    guarded("tidying up", [&] { implementation_->tidy(); });
}

std::size_t FileSystem::live_inodes() const noexcept {
    return implementation_->live_inodes();
}

FileSystemState FileSystem::state() const {
    return implementation_->state();
}

}  // namespace ckptfs
