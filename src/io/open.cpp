// The public way to a Source.
#include "ckptfs/open.h"

#include <utility>

#include "io/posix_source.h"

namespace ckptfs {

Result<std::shared_ptr<const Source>> open_directory(const std::string& path) {
    CKPTFS_ASSIGN(std::shared_ptr<const Source> source, io::DirectorySource::open_directory(path));
    return source;
}

}  // namespace ckptfs
