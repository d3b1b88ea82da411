// A Source over a real directory, reached through one descriptor that is held.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"
#include "io/root_directory.h"
#include "io/source_writer.h"
#include "io/system_calls.h"

namespace ckptfs::io {

class DirectoryState;

/// The least that a process must be allowed to have open: half of it is for the pool, and every thread that reads may
/// open one more.
inline constexpr std::uint64_t least_descriptors = 64;

/// Everything is opened relative to the directory's own descriptor, so a mount may later cover its path; refresh()
/// follows the path where another directory has taken its place, unless the root is held.
/// Files are opened when they are read and kept in a bounded pool of descriptors. ".." is refused.
/// Its files may outlive it. Safe for concurrent use.
class DirectorySource final : public Source {
 public:
    /// `path`: as the user wrote it; also what messages name. Raises the process's soft limit of open files, and fails
    /// where it stays below `least`.
    static Result<std::shared_ptr<const DirectorySource>> open_directory(std::string path);
    static Result<std::shared_ptr<const DirectorySource>> open_directory(std::string path,
                                                                         std::shared_ptr<const SystemCalls> calls,
                                                                         std::uint64_t least = least_descriptors,
                                                                         RootIs root_is = RootIs::followed);
    static Result<std::shared_ptr<const DirectorySource>> open_directory(std::string path, RootIs root_is);

    /// What changes this directory: it has the same root at all times. May outlive the source.
    [[nodiscard]] std::shared_ptr<const SourceWriter> writer() const;

    [[nodiscard]] std::string display(std::string_view path) const override;
    void refresh() const override;
    /// Descriptors that were not used since the last call.
    void release_unused() const override;
    void note_rename(const std::string& from, const std::string& to, bool exchanged) const override;
    Result<SourceStatistics> statistics() const override;
    Result<FileInfo> stat(const std::string& path) const override;
    Result<FileInfo> stat_target(const std::string& path) const override;
    Result<std::uint32_t> granted_mode(const std::string& path, const FileInfo& info) const override;
    Result<std::vector<FileInfo>> way_to(const std::string& path) const override;
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override;
    Result<std::string> read_link(const std::string& path) const override;
    Result<std::string> resolve(const std::string& path) const override;
    /// `unsupported` for anything but a regular file: a fifo or a device is never opened.
    Result<std::shared_ptr<const File>> open(const std::string& path) const override;

    /// How many descriptors of files are open now, and how many may be.
    [[nodiscard]] std::size_t open_descriptors() const;
    [[nodiscard]] std::size_t descriptor_capacity() const;

 private:
    explicit DirectorySource(std::shared_ptr<DirectoryState> state);

    std::shared_ptr<DirectoryState> state_;
};

}  // namespace ckptfs::io
