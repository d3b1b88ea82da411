// The virtual files that were built last, within a budget of memory: stat, open and the second read share one build.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "ckptfs/extent.h"

namespace ckptfs::view {

/// Safe for concurrent use. What it drops lives on as long as somebody has it open.
class FileCache {
 public:
    static constexpr std::uint64_t budget_nbytes = 16U << 20U;

    /// nullptr when it is not there.
    [[nodiscard]] std::shared_ptr<const VirtualFile> find(std::size_t index);
    void insert(std::size_t index, std::shared_ptr<const VirtualFile> file);

 private:
    struct Entry {
        std::size_t index;
        std::shared_ptr<const VirtualFile> file;
    };

    std::mutex mutex_;
    std::list<Entry> entries_;  // newest first
    std::unordered_map<std::size_t, std::list<Entry>::iterator> by_index_;
    std::uint64_t nbytes_ = 0;
};

}  // namespace ckptfs::view
