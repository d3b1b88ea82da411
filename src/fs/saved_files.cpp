// Hashes of names and stamps.
#include "fs/saved_files.h"

#include <algorithm>

#include "fs/identity.h"

namespace ckptfs {

SavedFiles::SavedFiles(const Tag& tag) {
    for (std::size_t i = 0; i < tag.stamped_files().size(); ++i) {
        if (tag.is_of_save(i)) {
            entries_.push_back(entry_of(tag, i));
        }
    }
    std::sort(entries_.begin(), entries_.end());
}

SavedFiles::Entry SavedFiles::entry_of(const Tag& tag, std::size_t index) {
    const FileStamp& stamp = tag.stamps()[index];
    return {
        IdentityHasher().add(tag.stamped_files()[index]).identity().inode,
        IdentityHasher().add(stamp.size).add(static_cast<std::uint64_t>(stamp.mtime_ns)).identity().inode,
    };
}

std::optional<Error> SavedFiles::partly_replaced_in(const Tag& tag) const {
    std::string kept;
    std::string replaced;
    std::size_t replaced_count = 0;
    std::size_t count = 0;
    for (std::size_t i = 0; i < tag.stamped_files().size(); ++i) {
        if (!tag.is_of_save(i)) {
            continue;
        }
        ++count;
        if (std::binary_search(entries_.begin(), entries_.end(), entry_of(tag, i))) {
            kept = tag.stamped_files()[i];
        } else {
            replaced = tag.stamped_files()[i];
            ++replaced_count;
        }
    }
    if (kept.empty() || replaced.empty()) {
        return std::nullopt;
    }
    return Error(
        ErrorCode::incomplete,
        std::to_string(replaced_count) + " of its " + std::to_string(count) + " files, '" + replaced +
            "' among them, were replaced since the tag was whole, '" + kept +
            "' and the others were not: wait for the running save; where there is none and the files do belong "
            "together, touch all of them or mount anew");
}

}  // namespace ckptfs
