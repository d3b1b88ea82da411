// Reads and writes by position. What can change set-user-ID bits, or use what is reserved for root, is done as the
// caller.
#include "io/source_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "io/attribute_change.h"
#include "io/caller_scope.h"
#include "io/file_status.h"
#include "io/retried.h"

namespace ckptfs::io {
namespace {

template <class Answer>
Outcome<Done> done_or_errno(Answer answer) {
    return answer < 0 ? Outcome<Done>(Errno{static_cast<int>(-answer)}) : Outcome(Done{});
}

/// `Value`: of what the system answered.
template <class Value, class Answer>
Outcome<Value> value_or_errno(Answer answer) {
    return answer < 0 ? Outcome<Value>(Errno{static_cast<int>(-answer)}) : Outcome(static_cast<Value>(answer));
}

/// `write` is given what is left, and how much is written. Fewer bytes only where the rest fails.
template <class Write>
Outcome<std::size_t> write_all(std::span<const std::byte> data, Write write) {
    std::size_t written = 0;
    while (written < data.size()) {
        const ssize_t count = without_interruption([&] { return write(data.subspan(written), written); });
        if (count < 0 && written == 0) {
            return Errno{static_cast<int>(-count)};
        }
        if (count <= 0) {
            break;
        }
        written += static_cast<std::size_t>(count);
    }
    return written;
}

/// Groups decide here at most over a set-group-ID bit and over blocks that are reserved: who has a file open for
/// writing writes, though its groups cannot be read.
class Writing final : public Caller {
 public:
    explicit Writing(const Caller& caller) : caller_(caller) {}
    [[nodiscard]] std::uint32_t uid() const override { return caller_.uid(); }
    [[nodiscard]] std::uint32_t gid() const override { return caller_.gid(); }
    [[nodiscard]] std::uint32_t umask() const override { return caller_.umask(); }
    [[nodiscard]] Outcome<std::vector<std::uint32_t>> groups() const override {
        auto found = caller_.groups();
        return found.ok() ? std::move(found) : Outcome(std::vector<std::uint32_t>());
    }

 private:
    const Caller& caller_;
};

}  // namespace

SourceFile::SourceFile(UniqueFd fd, bool appends, std::shared_ptr<const SystemCalls> calls,
                       std::shared_ptr<DescriptorPool> pool, std::shared_ptr<const Caller> opener)
    : fd_(std::move(fd)),
      appends_(appends),
      calls_(std::move(calls)),
      pool_(std::move(pool)),
      opener_(std::move(opener)) {}

/// The opener's groups are known, and cost nothing; nobody is a caller where the kernel writes a mapping's pages back.
const Caller& SourceFile::acting(const Caller& caller) const {
    const bool is_opener = caller.uid() == opener_->uid() && caller.gid() == opener_->gid();
    return is_opener || !caller.is_known() ? *opener_ : caller;
}

Outcome<FileInfo> SourceFile::info() const {
    struct stat status {};
    const int answer = calls_->stat_descriptor(fd_.get(), status);
    return answer < 0 ? Outcome<FileInfo>(Errno{-answer}) : Outcome(info_of(status));
}

Outcome<std::size_t> SourceFile::read(std::uint64_t offset, std::span<std::byte> out) const {
    std::size_t filled = 0;
    while (filled < out.size()) {
        const std::span<std::byte> rest = out.subspan(filled);
        const ssize_t count =
            without_interruption([&] { return calls_->read_at(fd_.get(), rest.data(), rest.size(), offset + filled); });
        if (count < 0) {
            return Errno{static_cast<int>(-count)};
        }
        if (count == 0) {
            break;
        }
        filled += static_cast<std::size_t>(count);
    }
    return filled;
}

Outcome<std::size_t> SourceFile::write(std::optional<std::uint64_t> offset, std::span<const std::byte> data,
                                       const Caller& caller) const {
    const CallerScope scope(Writing{acting(caller)});
    if (scope.error() != 0) {
        return Errno{scope.error()};
    }
    if (const bool appends = !offset; appends != appends_) {
        return write_otherwise(offset, data);
    }
    const std::shared_lock turn(appending_);
    return write_all(data, [&](std::span<const std::byte> rest, std::size_t written) {
        return calls_->write_at(fd_.get(), rest.data(), rest.size(), offset.value_or(0) + written);
    });
}

/// Not as the file was opened. The pages of a mapping have their place, and the kernel sends them to whoever has the
/// file open for writing; and a program may set and clear O_APPEND of an open file.
Outcome<std::size_t> SourceFile::write_otherwise(std::optional<std::uint64_t> offset,
                                                 std::span<const std::byte> data) const {
    const auto place = [&](std::size_t written) { return offset ? std::optional(*offset + written) : std::nullopt; };
    auto answer = write_all(data, [&](std::span<const std::byte> rest, std::size_t written) {
        return calls_->write_otherwise_at(fd_.get(), rest.data(), rest.size(), place(written));
    });
    if (answer.error != EOPNOTSUPP) {
        return answer;
    }
    const std::unique_lock alone(appending_);
    if (const int failure = calls_->set_appending(fd_.get(), !appends_); failure < 0) {
        return Errno{-failure};
    }
    const auto again = write_all(data, [&](std::span<const std::byte> rest, std::size_t written) {
        return calls_->write_at(fd_.get(), rest.data(), rest.size(), place(written).value_or(0));
    });
    const int failure = calls_->set_appending(fd_.get(), appends_);
    return failure < 0 ? Errno{-failure} : again;
}

Outcome<Done> SourceFile::change(const AttributeChange& change, const Caller& caller) const {
    const CallerScope scope(acting(caller));
    return done_or_errno(scope.error() != 0 ? -scope.error() : change_open_file(fd_.get(), change));
}

Outcome<Done> SourceFile::flush() const {
    const auto duplicate = [&] {
        return retried([&] {
            return ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0);  // NOLINT(cppcoreguidelines-pro-type-vararg)
        });
    };
    int copy = duplicate();
    if (copy == -EMFILE) {
        pool_->clear();
        copy = duplicate();
    }
    if (copy < 0) {
        return Errno{-copy};
    }
    return ::close(copy) == 0 || errno == EINTR ? Outcome(Done{}) : Errno{errno};  // interrupted, it is closed too
}

Outcome<Done> SourceFile::sync(bool data_only) const {
    return done_or_errno(retried([&] { return data_only ? ::fdatasync(fd_.get()) : ::fsync(fd_.get()); }));
}

Outcome<Done> SourceFile::allocate(int mode, std::uint64_t offset, std::uint64_t nbytes, const Caller& caller) const {
    const CallerScope scope(Writing{acting(caller)});
    if (scope.error() != 0) {
        return Errno{scope.error()};
    }
    return done_or_errno(
        retried([&] { return ::fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(nbytes)); }));
}

Outcome<std::uint64_t> SourceFile::seek(std::uint64_t offset, int whence) const {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        return Errno{EINVAL};
    }
    return value_or_errno<std::uint64_t>(
        retried([&] { return ::lseek(fd_.get(), static_cast<off_t>(offset), whence); }));
}

Outcome<std::size_t> SourceFile::copy_to(std::uint64_t offset, const SourceHandle& target, std::uint64_t target_offset,
                                         std::size_t nbytes, const Caller& caller) const {
    if (target.descriptor() < 0) {
        return Errno{EXDEV};
    }
    const CallerScope scope(Writing{acting(caller)});
    if (scope.error() != 0) {
        return Errno{scope.error()};
    }
    return value_or_errno<std::size_t>(retried([&] {
        auto from = static_cast<off_t>(offset);
        auto to = static_cast<off_t>(target_offset);
        return ::copy_file_range(fd_.get(), &from, target.descriptor(), &to, nbytes, 0);
    }));
}

}  // namespace ckptfs::io
