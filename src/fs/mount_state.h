// What a file system can say of itself, and the files in which a mount says it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ckptfs {

/// One tag of which a generation is in memory.
struct TagState {
    std::string path;        ///< as a user would write it
    std::string generation;  ///< 16 hexadecimal digits; others after every change of the tag's files
    bool is_read = false;    ///< false: it is being read just now
    std::string problem;     ///< why it cannot be shown; "": it can
};

struct FileSystemState {
    std::size_t inodes = 0;  ///< that the kernel refers to, the root not counted
    std::size_t open_files = 0;
    std::size_t open_directories = 0;
    std::uint64_t generations_read = 0;  ///< since the start, of all tags
    std::vector<TagState> tags;
};

/// A file in own_directory_name (util/own_names.h), whose text is made when it is opened. The same text is an extended
/// attribute of the mount's root, own_attributes and `name`.
struct OwnFile {
    std::string name;
    bool is_for_all = false;  ///< who may look into the mount may read it; else the owner, and root
    /// Safe for concurrent use.
    std::function<std::string(const FileSystemState& state)> text;
};

struct OwnFiles {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::vector<OwnFile> files;  ///< empty: there is no such directory
};

}  // namespace ckptfs
