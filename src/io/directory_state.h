// What a DirectorySource and the files that came from it share: the root, the system calls, the descriptors.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "ckptfs/result.h"
#include "io/descriptor_pool.h"
#include "io/renames.h"
#include "io/root_directory.h"
#include "io/source_writer.h"
#include "io/system_calls.h"
#include "io/unique_fd.h"

namespace ckptfs::io {

/// `failure`: the errno. "'name' cannot be <action>": `not_found` where nothing is there, else `io`.
[[nodiscard]] Error failed_to(const std::string& action, const std::string& name, int failure);

/// Safe for concurrent use.
class DirectoryState {
 public:
    DirectoryState(std::shared_ptr<const SystemCalls> calls, std::shared_ptr<RootDirectory> root,
                   std::size_t pool_capacity);

    [[nodiscard]] const SystemCalls& calls() const { return *calls_; }
    [[nodiscard]] RootDirectory& root() const { return *root_; }
    [[nodiscard]] DescriptorPool& pool() const { return *pool_; }
    [[nodiscard]] std::shared_ptr<const SourceWriter> writer() const;
    [[nodiscard]] Renames& renames() { return renames_; }
    /// A number that no other file has.
    std::uint64_t next_file() { return files_.fetch_add(1, std::memory_order_relaxed); }

    [[nodiscard]] std::string display(std::string_view path) const;
    /// `path` as the system calls take it.
    [[nodiscard]] Result<const char*> below_root(const std::string& path) const;

    /// Of the entry itself: a symbolic link at the end of `path` is not followed.
    [[nodiscard]] Result<struct stat> status(const SharedFd& root, const std::string& path) const;
    /// Of what `path` leads to; `real` becomes a path of that which is no link. A link is followed here and not by the
    /// kernel: one that leads into this process's own mount would make it wait for itself.
    [[nodiscard]] Result<struct stat> target_status(const SharedFd& root, const std::string& path,
                                                    std::string& real) const;
    /// Whether a file on `device`, found below `root`, may have another inode number the next time: object stores have
    /// none, and what serves them through FUSE makes numbers up, for as long as the kernel remembers a file.
    [[nodiscard]] bool inodes_may_change(const SharedFd& root, dev_t device) const;
    [[nodiscard]] Result<std::string> follow(const SharedFd& root, const std::string& path) const;
    /// Opens what `path` leads to, and again lets the kernel follow no link. `action`: for the message.
    [[nodiscard]] Result<UniqueFd> open(const SharedFd& root, const std::string& path, int flags,
                                        const std::string& action) const;

 private:
    /// Opens for reading, never waiting for the other end of a fifo. When the process or the system has no descriptor
    /// left, gives the pool's back and tries again. Whoever has a lease of the file is waited for.
    [[nodiscard]] int open_real(int root, const char* name, int flags) const;

    const std::shared_ptr<const SystemCalls> calls_;
    const std::shared_ptr<RootDirectory> root_;
    const std::shared_ptr<DescriptorPool> pool_;
    Renames renames_;
    std::atomic<std::uint64_t> files_{0};

    mutable std::mutex mutex_;
    mutable SharedFd devices_of_;  // the root that they were found below
    mutable std::map<dev_t, bool> devices_;
};

}  // namespace ckptfs::io
