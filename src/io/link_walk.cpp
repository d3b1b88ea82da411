// A walk from directory to directory by descriptors, up as well as down: a name that was passed may lead elsewhere by
// now, into a mount over the root above all. The path to where it stands is kept beside them.
#include "io/link_walk.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <deque>
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
        CKPTFS_ASSIGN(UniqueFd start, open(root_, "."));
        here_ = {root_path_, root_identity_, std::move(start)};
        CKPTFS_TRY(put_before_the_rest(path_));
        while (!rest_.empty()) {
            const std::string component = std::move(rest_.front());
            rest_.pop_front();
            CKPTFS_TRY(component == ".." ? go_up() : go_down(component));
        }
        return path_below(here_.path, root_path_).value_or(here_.path);
    }

 private:
    using Identity = SystemCalls::FileIdentity;

    /// What the walk has come to.
    struct Place {
        std::string path;  ///< absolute, without links
        Identity identity;
        UniqueFd entry;
    };

    /// An absolute `path` starts anew at "/".
    Result<void> put_before_the_rest(std::string_view path) {
        if (path.starts_with('/')) {
            above_.clear();
            CKPTFS_ASSIGN(UniqueFd top, open(AT_FDCWD, "/"));
            CKPTFS_ASSIGN(here_, entered("/", std::move(top)));
        }
        const std::vector<std::string_view> components = path_components(path);
        rest_.insert(rest_.begin(), components.begin(), components.end());
        return {};
    }

    Result<void> go_up() {
        if (!S_ISDIR(here_.identity.mode)) {
            return failure(ENOTDIR);
        }
        if (!above_.empty()) {
            here_ = std::move(above_.back());
            above_.pop_back();
            return {};
        }
        CKPTFS_ASSIGN(UniqueFd parent, open(here_.entry.get(), ".."));
        CKPTFS_ASSIGN(
            here_, entered(here_.path.substr(0, std::max<std::size_t>(here_.path.rfind('/'), 1)), std::move(parent)));
        return {};
    }

    Result<void> go_down(const std::string& name) {
        CKPTFS_ASSIGN(UniqueFd entry, open_entry(name));
        Identity identity;
        CKPTFS_TRY(identify(entry.get(), identity));
        if (!S_ISLNK(identity.mode)) {
            CKPTFS_ASSIGN(Place next, entered(join_path(here_.path, name), std::move(entry)));
            above_.push_back(std::move(here_));
            here_ = std::move(next);
            return {};
        }
        if (++links_ > max_links) {
            return failure(ELOOP);
        }
        CKPTFS_ASSIGN(const std::string text, link_text(entry.get(), ""));
        return put_before_the_rest(text);
    }

    [[nodiscard]] Result<Place> entered(std::string path, UniqueFd entry) const {
        Identity identity;
        CKPTFS_TRY(identify(entry.get(), identity));
        const bool on_other_device =
            identity.device != here_.identity.device && identity.device != root_identity_.device;
        if (on_other_device && calls_.is_view(identity.device)) {
            return Error(ErrorCode::unsupported, "it leads into '" + path + "', which is a mount of ckptfs itself");
        }
        if (S_ISDIR(identity.mode) && identity.same_file(root_identity_)) {
            path = root_path_;
        }
        return Place{std::move(path), identity, std::move(entry)};
    }

    /// As a directory first, since that alone makes the kernel mount what belongs on an automount point.
    [[nodiscard]] Result<UniqueFd> open_entry(const std::string& name) const {
        UniqueFd entry(calls_.open_at(here_.entry.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_DIRECTORY));
        if (entry.get() == -ENOTDIR) {
            return open(here_.entry.get(), name);
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
                "it cannot be followed beyond '" + here_.path + "': " + std::generic_category().message(reason),
                reason};
    }

    const SystemCalls& calls_;
    const int root_;
    const std::string& path_;
    Identity root_identity_;
    std::string root_path_;
    Place here_;
    std::vector<Place> above_;  ///< that led here, the latest last
    std::deque<std::string> rest_;
    int links_ = 0;
};

}  // namespace

Result<std::string> follow_links(const SystemCalls& calls, int root, const std::string& path) {
    return Walk(calls, root, path).run();
}

}  // namespace ckptfs::io
