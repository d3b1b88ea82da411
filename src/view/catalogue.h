// What stands beside the views in the root of a mount that was asked for none.
#pragma once

#include <string>
#include <vector>

namespace ckptfs::view {

/// A file or symbolic link of that root.
struct CatalogueEntry {
    std::string path;  ///< '/' between components
    bool is_link = false;
    std::string text;  ///< the bytes of a file, or where a link leads
};

/// A guard. DeepSpeed that is pointed at the root would find no `latest`, and train from scratch without a word. So
/// there is one, which names a directory whose model states are links that lead nowhere: DeepSpeed opens them, at every
/// stage, and ends in a FileNotFoundError whose path says what to do.
[[nodiscard]] std::vector<CatalogueEntry> catalogue_guard();

}  // namespace ckptfs::view
