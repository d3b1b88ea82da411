// The public way to what a mount would show.
#include "ckptfs/open.h"

#include <utility>

#include "fs/file_system.h"
#include "fs/view_tree.h"

namespace ckptfs {

Result<std::shared_ptr<const Source>> open_view(std::shared_ptr<const Source> source,
                                                std::shared_ptr<const TagReader> reader,
                                                const std::optional<ViewRequest>& request) {
    FileSystemOptions options;
    options.request = request;
    options.source_name = name_of_source(source->display(""));
    std::string name = name_of_view(*source, request);
    CKPTFS_ASSIGN(auto file_system, FileSystem::create(std::move(source), std::move(reader), std::move(options)));
    return std::shared_ptr<const Source>(std::make_shared<const ViewTree>(std::move(file_system), std::move(name)));
}

}  // namespace ckptfs
