// Stamps pinned at open and compared around every read.
#include "io/pinned_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "io/file_status.h"
#include "util/checked.h"

namespace ckptfs::io {
namespace {

constexpr std::uint64_t most_copied_at_once = std::uint64_t{1} << 30U;

class PinnedFile final : public File {
 public:
    PinnedFile(std::shared_ptr<DirectoryState> state, std::string path)
        : state_(std::move(state)), path_(std::move(path)), name_(state_->display(path_)), id_(state_->next_file()) {}

    PinnedFile(const PinnedFile&) = delete;
    PinnedFile& operator=(const PinnedFile&) = delete;
    ~PinnedFile() override { state_->pool().erase(id_); }

    /// Takes the generation that is there now.
    Result<void> pin() {
        CKPTFS_ASSIGN(root_, state_->root().descriptor());
        renames_before_ = state_->renames().count();
        // Asked before it is opened: opening a device can have effects, opening a fifo would wake its writer.
        std::string real;
        CKPTFS_ASSIGN(const struct stat before, state_->target_status(root_, path_, real));
        CKPTFS_TRY(refuse_special(type_of(before.st_mode)));
        CKPTFS_ASSIGN(UniqueFd fd, state_->open(root_, real, O_NOCTTY, "opened"));
        CKPTFS_TRY(stat_descriptor(fd.get(), pinned_));
        inode_may_change_ = state_->inodes_may_change(root_, pinned_.st_dev);
        CKPTFS_TRY(refuse_special(type_of(pinned_.st_mode)));
        CKPTFS_TRY(make_blocking(fd.get()));
        state_->pool().insert(id_, std::make_shared<const UniqueFd>(std::move(fd)));
        return {};
    }

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return static_cast<std::uint64_t>(pinned_.st_size); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        CKPTFS_TRY(expect_within(offset, out.size()));
        if (out.empty()) {
            return {};
        }
        CKPTFS_ASSIGN(const SharedFd fd, descriptor());
        CKPTFS_TRY(fill(fd, offset, out));
        return check_stamp(fd->get());
    }

    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const override {
        CKPTFS_TRY(expect_within(offset, out.size()));
        if (out.empty()) {
            return {};
        }
        CKPTFS_ASSIGN(const SharedFd fd, descriptor());
        read.add(this);
        return fill(fd, offset, out);
    }

    Result<bool> hand_over_unchecked(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target,
                                     FilesRead& read) const override {
        CKPTFS_TRY(expect_within(offset, nbytes));
        CKPTFS_ASSIGN(const SharedFd fd, descriptor());
        read.add(this);
        return target.take(fd->get(), offset, nbytes);
    }

    /// By its descriptor where that is open still, else by its name: opening it again would be the same look, and more.
    Result<void> check() const override {
        if (const SharedFd pooled = state_->pool().find(id_)) {
            return check_stamp(pooled->get());
        }
        std::string real;
        return find_by_name(real);
    }

    Result<bool> copy_to(std::uint64_t offset, std::uint64_t nbytes, int target,
                         std::uint64_t target_offset) const override {
        CKPTFS_TRY(expect_within(offset, nbytes));
        CKPTFS_ASSIGN(const SharedFd fd, descriptor());
        while (nbytes > 0) {
            const auto length = static_cast<std::size_t>(std::min(nbytes, most_copied_at_once));
            const ssize_t count = state_->calls().copy_range(fd->get(), offset, target, target_offset, length);
            if (count == -EINTR) {
                continue;
            }
            if (count <= 0) {  // 0: at an end that should not be there, or of a file system that cannot
                CKPTFS_TRY(check_stamp(fd->get()));
                return false;
            }
            offset += static_cast<std::uint64_t>(count);
            target_offset += static_cast<std::uint64_t>(count);
            nbytes -= static_cast<std::uint64_t>(count);
        }
        CKPTFS_TRY(check_stamp(fd->get()));
        return true;
    }

    [[nodiscard]] OpenDescriptor whole_file() const override {
        const auto fd = descriptor();
        return fd ? OpenDescriptor{(*fd)->get(), *fd} : OpenDescriptor{};
    }

    /// A file system that knows of no holes has one at the end alone.
    Result<FileRun> run_at(std::uint64_t offset) const override {
        CKPTFS_TRY(expect_within(offset, 1));
        CKPTFS_ASSIGN(const SharedFd fd, descriptor());
        const std::int64_t hole = state_->calls().seek(fd->get(), offset, SEEK_HOLE);
        const bool is_hole = hole == static_cast<std::int64_t>(offset);
        // -ENXIO: behind the last data.
        const std::int64_t next = is_hole ? state_->calls().seek(fd->get(), offset, SEEK_DATA) : hole;
        CKPTFS_TRY(check_stamp(fd->get()));
        if (next > static_cast<std::int64_t>(offset)) {
            return FileRun{std::min(static_cast<std::uint64_t>(next), size()) - offset, is_hole};
        }
        if (is_hole && next == -ENXIO) {
            return FileRun{size() - offset, true};
        }
        return FileRun{size() - offset, false};
    }

 private:
    /// Reads nothing but bytes.
    Result<void> fill(const SharedFd& fd, std::uint64_t offset, std::span<std::byte> out) const {
        while (!out.empty()) {
            const ssize_t count = state_->calls().read_at(fd->get(), out.data(), out.size(), offset);
            if (count == -EINTR) {
                continue;
            }
            if (count < 0) {
                return failed_to("read at byte " + std::to_string(offset), name_, static_cast<int>(-count));
            }
            if (count == 0) {
                CKPTFS_TRY(check_stamp(fd->get()));
                return Error(ErrorCode::damaged, "'" + name_ + "' ends at byte " + std::to_string(offset) +
                                                     ", but its size is " + std::to_string(size()));
            }
            out = out.subspan(static_cast<std::size_t>(count));
            offset += static_cast<std::uint64_t>(count);
        }
        return {};
    }

    [[nodiscard]] Result<void> expect_within(std::uint64_t offset, std::uint64_t nbytes) const {
        if (fits(offset, nbytes, size())) {
            return {};
        }
        return Error(ErrorCode::invalid_argument, std::to_string(nbytes) + " bytes from byte " +
                                                      std::to_string(offset) + " of '" + name_ +
                                                      "' were asked for, which has " + std::to_string(size()));
    }

    Result<void> refuse_special(FileType type) const {
        if (type == FileType::regular) {
            return {};
        }
        return Error(ErrorCode::unsupported, "'" + name_ + "' is " +
                                                 (type == FileType::directory ? "a directory" : "a special file") +
                                                 ", not a regular file");
    }

    Error changed() const {
        state_->pool().erase(id_);  // nobody will read it again
        return {ErrorCode::stale, "'" + name_ + "' has changed since it was opened: open it again"};
    }

    Error gone_or(const Error& error) const { return error.code() == ErrorCode::not_found ? changed() : error; }

    Result<void> stat_descriptor(int fd, struct stat& status) const {
        const int answer = state_->calls().stat_descriptor(fd, status);
        if (answer < 0) {
            return failed_to("looked up", name_, -answer);
        }
        return {};
    }

    Result<void> check_stamp(int fd) const {
        struct stat status {};
        CKPTFS_TRY(stat_descriptor(fd, status));
        if (!has_same_bytes(status, pinned_, inode_may_change_)) {
            return changed();
        }
        return {};
    }

    /// A server may have moved a file to tape: reading it is to wait, and not to end with EAGAIN.
    Result<void> make_blocking(int fd) const {
        const int answer = state_->calls().make_blocking(fd);
        if (answer < 0) {
            return failed_to("made ready for reading", name_, -answer);
        }
        return {};
    }

    /// `real` becomes a path of it that is no link.
    Result<void> find_by_name(std::string& real) const {
        const auto status = state_->target_status(root_, state_->renames().follow(path_, renames_before_), real);
        if (!status) {
            return gone_or(status.error());
        }
        if (!has_same_bytes(*status, pinned_, inode_may_change_)) {
            return changed();
        }
        return {};
    }

    /// From the pool, or opened again and found to be the pinned generation.
    Result<SharedFd> descriptor() const {
        if (SharedFd pooled = state_->pool().find(id_)) {
            return pooled;
        }
        std::string real;
        CKPTFS_TRY(find_by_name(real));
        auto opened = state_->open(root_, real, O_NOCTTY, "opened");
        if (!opened) {
            return gone_or(opened.error());
        }
        UniqueFd fd = std::move(opened).value();
        CKPTFS_TRY(check_stamp(fd.get()));
        CKPTFS_TRY(make_blocking(fd.get()));
        return state_->pool().insert(id_, std::make_shared<const UniqueFd>(std::move(fd)));
    }

    const std::shared_ptr<DirectoryState> state_;
    const std::string path_;
    const std::string name_;
    const std::uint64_t id_;
    SharedFd root_;  // the directory that the path is relative to
    std::uint64_t renames_before_ = 0;
    struct stat pinned_ {};
    bool inode_may_change_ = false;
};

}  // namespace

Result<std::shared_ptr<const File>> pin_file(std::shared_ptr<DirectoryState> state, const std::string& path) {
    auto file = std::make_shared<PinnedFile>(std::move(state), path);
    CKPTFS_TRY(file->pin());
    return std::shared_ptr<const File>(std::move(file));
}

}  // namespace ckptfs::io
