// What a mount would show, without a mount: a FileSystem that is read as a Source.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "fs/clocks.h"
#include "fs/file_system.h"

namespace ckptfs {

/// Does what the kernel does for the programs that read a mount: takes paths apart, follows symbolic links, relies on
/// entries for as long as it may, and looks a name up again that turns out to have changed. Names, types, sizes, modes,
/// times and inodes are those of the mount. open() hands out the file behind a name itself: a VirtualFile, or SOURCE's
/// own. Directories that were looked at lately stay referenced, a bounded number of them, and nothing else. What a
/// mount has a thread for, to let go of what nobody uses, is done now and then by whoever asks something.
class ViewTree final : public Source {
 public:
    /// `file_system`: read-only. `name`: of its root, for messages. `now`: what lifetimes are measured with.
    ViewTree(std::unique_ptr<FileSystem> file_system, std::string name,
             std::function<TimePoint()> now = std::chrono::steady_clock::now);
    ~ViewTree() override;

    [[nodiscard]] std::string display(std::string_view path) const override;
    /// Of SOURCE, and nothing that was found until now is relied on.
    void refresh() const override;
    /// Of SOURCE, and tags that are gone from it.
    void release_unused() const override;
    Result<SourceStatistics> statistics() const override;
    Result<FileInfo> stat(const std::string& path) const override;
    Result<FileInfo> stat_target(const std::string& path) const override;
    /// Where telling the type of an entry fails, that is FileType::other.
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override;
    Result<std::string> read_link(const std::string& path) const override;
    Result<std::string> resolve(const std::string& path) const override;
    Result<std::shared_ptr<const File>> open(const std::string& path) const override;

    [[nodiscard]] const FileSystem& file_system() const { return *file_system_; }

 private:
    class Reference;
    class Directories;
    class Walk;
    enum class LastLink : unsigned char { kept, followed };

    /// What `operation` answers where a walk along `path` ends, if need be after a second walk.
    template <class Operation>
    auto at(const std::string& path, LastLink last_link, const char* action, Operation&& operation) const;
    [[nodiscard]] Result<FileInfo> info(const std::string& path, LastLink last_link) const;
    /// `action`: what cannot be done, as in "'path' cannot be opened".
    [[nodiscard]] Error error_of(const std::string& path, const char* action, const Errno& failure) const;

    void tidy_if_due() const;

    std::unique_ptr<FileSystem> file_system_;
    std::string name_;
    std::function<TimePoint()> now_;
    std::unique_ptr<Directories> directories_;
    mutable std::mutex tidying_;  // guards the next line; nobody waits for it
    mutable TimePoint tidied_at_;
};

/// What messages call the root of a view of `source`: "/checkpoint (world-size-8)".
[[nodiscard]] std::string name_of_view(const Source& source, const std::optional<ViewRequest>& request);

}  // namespace ckptfs
