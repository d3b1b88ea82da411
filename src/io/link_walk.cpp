// A walk from directory to directory by descriptors; the path to where it stands is kept beside them.
#include "io/link_walk.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <deque>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "io/unique_fd.h"
#include "util/path.h"

namespace ckptfs::io {
namespace {

constexpr int max_links = 40;  // as Linux allows for one path

class Walk {
 public:
    Walk(const SystemCalls& calls, int root, const std::string& path) : calls_(calls), root_(root), path_(path) {}

    Result<std::string> run() {
        CKPTFS_TRY(identify(root_, root_identity_));
        CKPTFS_ASSIGN(root_path_, link_text(AT_FDCWD, "/proc/self/fd/" + std::to_string(root_)));
        at_ = root_path_;
        device_ = root_identity_.device;
        CKPTFS_ASSIGN(directory_, open(root_, "."));
        CKPTFS_TRY(put_before_the_rest(path_));
        while (!rest_.empty()) {
            const std::string component = std::move(rest_.front());
            rest_.pop_front();
            CKPTFS_TRY(component == ".." ? go_up() : go_down(component));
        }
        return below_root().value_or(at_);
    }

 private:
    using Identity = SystemCalls::FileIdentity;

    [[nodiscard]] std::optional<std::string> below_root() const { return path_below(at_, root_path_); }

    /// An absolute `path` starts anew at "/".
    Result<void> put_before_the_rest(std::string_view path) {
        if (path.starts_with('/')) {
            at_ = "/";
            CKPTFS_ASSIGN(directory_, open(AT_FDCWD, at_));
        }
        const std::vector<std::string_view> components = path_components(path);
        rest_.insert(rest_.begin(), components.begin(), components.end());
        return {};
    }

    Result<void> go_up() {
        at_.resize(at_.rfind('/'));
        if (at_.empty()) {
            at_ = "/";
        }
        CKPTFS_ASSIGN(UniqueFd parent, open(AT_FDCWD, at_));
        return enter(std::move(parent));
    }

    Result<void> go_down(const std::string& name) {
        CKPTFS_ASSIGN(UniqueFd entry, open_entry(name));
        Identity identity;
        CKPTFS_TRY(identify(entry.get(), identity));
        if (!S_ISLNK(identity.mode)) {
            at_ = join_path(at_, name);
            return enter(std::move(entry));
        }
        if (++links_ > max_links) {
            return failure(ELOOP);
        }
        CKPTFS_ASSIGN(const std::string text, link_text(entry.get(), ""));
        return put_before_the_rest(text);
    }

    Result<void> enter(UniqueFd entry) {
        Identity identity;
        CKPTFS_TRY(identify(entry.get(), identity));
        const bool on_other_device = identity.device != device_ && identity.device != root_identity_.device;
        if (on_other_device && calls_.is_view(identity.device)) {
            return Error(ErrorCode::unsupported, "it leads into '" + at_ + "', which is a mount of ckptfs itself");
        }
        if (S_ISDIR(identity.mode) && identity.same_file(root_identity_)) {
            at_ = root_path_;
        }
        device_ = identity.device;
        directory_ = std::move(entry);
        return {};
    }

    /// As a directory first, since that alone makes the kernel mount what belongs on an automount point.
    [[nodiscard]] Result<UniqueFd> open_entry(const std::string& name) const {
        UniqueFd entry(calls_.open_at(directory_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_DIRECTORY));
        if (entry.get() == -ENOTDIR) {
            return open(directory_.get(), name);
        }
        if (!entry.valid()) {
            return failure(-entry.get());
        }
        return entry;
    }

    Result<UniqueFd> open(int directory, const std::string& name) const {
        UniqueFd entry(calls_.open_at(directory, name.c_str(), O_PATH | O_NOFOLLOW));
        if (!entry.valid()) {
            return failure(-entry.get());
        }
        return entry;
    }

    Result<void> identify(int fd, Identity& out) const {
        const int answer = calls_.identify(fd, out);
        return answer < 0 ? Result<void>(failure(-answer)) : Result<void>();
    }

    Result<std::string> link_text(int directory, const std::string& name) const {
        std::string text(PATH_MAX, '\0');
        const ssize_t length = calls_.read_link_at(directory, name.c_str(), text.data(), text.size());
        if (length < 0) {
            return failure(static_cast<int>(-length));
        }
        text.resize(static_cast<std::size_t>(length));
        return text;
    }

    [[nodiscard]] Error failure(int reason) const {
        const bool nowhere = reason == ENOENT || reason == ENOTDIR;
        return {nowhere ? ErrorCode::not_found : ErrorCode::io,
                "it cannot be followed beyond '" + at_ + "': " + std::generic_category().message(reason), reason};
    }

    const SystemCalls& calls_;
    const int root_;
    const std::string& path_;
    Identity root_identity_;
    std::string root_path_;
    std::string at_;      ///< absolute, without links
    UniqueFd directory_;  ///< of at_
    dev_t device_ = 0;    ///< of at_
    std::deque<std::string> rest_;
    int links_ = 0;
};

}  // namespace

Result<std::string> follow_links(const SystemCalls& calls, int root, const std::string& path) {
    return Walk(calls, root, path).run();
}

}  // namespace ckptfs::io
