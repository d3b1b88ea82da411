// The tree that the paths of a view's files make.
#include <algorithm>

#include "ckptfs/view.h"

namespace ckptfs {

ViewDirectories::ViewDirectories(const std::vector<std::string>& paths) {
    entries_[""];
    for (std::size_t index = 0; index < paths.size(); ++index) {
        std::string path = paths[index];
        std::optional<std::size_t> file = index;
        // Upwards, until a directory is known already.
        for (bool is_new = true; is_new && !path.empty();) {
            const auto slash = path.rfind('/');
            const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
            path.resize(slash == std::string::npos ? 0 : slash);
            is_new = !entries_.contains(path);
            entries_[path].push_back({name, file});
            file.reset();
        }
    }
    for (auto& [path, entries] : entries_) {
        std::sort(entries.begin(), entries.end(),
                  [](const ViewEntry& a, const ViewEntry& b) { return a.name < b.name; });
    }
}

const std::vector<ViewEntry>* ViewDirectories::find(std::string_view path) const {
    const auto found = entries_.find(path);
    return found == entries_.end() ? nullptr : &found->second;
}

}  // namespace ckptfs
