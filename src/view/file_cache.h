// The virtual files that were built last, within one budget of memory for all views: stat, open and the second read
// share one build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "ckptfs/extent.h"
#include "ckptfs/view.h"

namespace ckptfs::view {

/// Safe for concurrent use. What it drops lives on as long as somebody has it open.
class FileCache {
 public:
    static constexpr std::uint64_t budget_nbytes = std::uint64_t{16} << 20U;

    /// nullptr when it is not there.
    [[nodiscard]] std::shared_ptr<const VirtualFile> find(const View* view, std::size_t index);
    void insert(const View* view, std::size_t index, std::shared_ptr<const VirtualFile> file);
    /// Drops the files of a view that ends.
    void forget(const View* view);

 private:
    using Key = std::pair<const View*, std::size_t>;
    struct Entry {
        Key key;
        std::shared_ptr<const VirtualFile> file;
    };

    void erase(std::list<Entry>::iterator entry);

    std::mutex mutex_;
    std::list<Entry> entries_;  // newest first
    std::map<Key, std::list<Entry>::iterator> by_key_;
    std::uint64_t nbytes_ = 0;
};

}  // namespace ckptfs::view
