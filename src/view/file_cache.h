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

/// Safe for concurrent use. What it drops lives on as long as somebody has it open, and is found as long as it lives: a
/// file is built once for all who read it at a time.
class FileCache {
 public:
    static constexpr std::uint64_t budget_nbytes = std::uint64_t{16} << 20U;

    /// nullptr when nobody has it.
    [[nodiscard]] std::shared_ptr<const File> find(const View* view, std::size_t index);
    /// `memory_nbytes`: what the file holds in memory. Returns the file to use: another where somebody was faster.
    std::shared_ptr<const File> insert(const View* view, std::size_t index, std::shared_ptr<const File> file,
                                       std::uint64_t memory_nbytes);
    /// Drops the files of a view that ends.
    void forget(const View* view);

 private:
    using Key = std::pair<const View*, std::size_t>;
    struct Entry {
        Key key;
        std::shared_ptr<const File> file;
        std::uint64_t memory_nbytes = 0;
    };

    // The caller of the next two functions holds mutex_.
    [[nodiscard]] std::shared_ptr<const File> find_held(const Key& key);
    void erase(std::list<Entry>::iterator entry);

    std::mutex mutex_;          // nobody reserves memory under it
    std::list<Entry> entries_;  // newest first
    std::map<Key, std::list<Entry>::iterator> by_key_;
    std::map<Key, std::weak_ptr<const File>> living_;  // those that were dropped while somebody had them
    std::size_t purge_at_ = 64;
    std::uint64_t nbytes_ = 0;
};

}  // namespace ckptfs::view
