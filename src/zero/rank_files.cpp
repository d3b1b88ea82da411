// What does not depend on the kind of file.
#include "zero/rank_files.h"

#include "util/path.h"

namespace ckptfs::zero {

std::size_t most_parsed_at_a_time() {
    return threads_for_processors(most_opened_at_a_time);
}

Result<std::vector<FileInfo>> look_at_all(const Source& source, const std::string& directory,
                                          const std::vector<std::string>& names) {
    const auto looks = ask_each<FileInfo>(
        names.size(), [&](std::size_t i) { return source.stat_target(join_path(directory, names[i])); });
    std::vector<FileInfo> infos;
    infos.reserve(names.size());
    for (const auto& look : looks) {
        CKPTFS_ASSIGN(infos.emplace_back(), *look);
    }
    return infos;
}

Result<OpenedRankFile> open_rank_file(const Source& source, const std::string& directory, const std::string& name) {
    OpenedRankFile opened;
    opened.file.name = name;
    const std::string path = join_path(directory, name);
    CKPTFS_ASSIGN(opened.file.info, source.stat_target(path));
    CKPTFS_ASSIGN(opened.file.info.mode, source.granted_mode(path, opened.file.info));
    CKPTFS_ASSIGN(opened.file.file, source.open(path));
    CKPTFS_ASSIGN(opened.container, pt::Container::read(opened.file.file));
    return opened;
}

}  // namespace ckptfs::zero
