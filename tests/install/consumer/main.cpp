// consumer CHECKPOINT TAG WORLD_SIZE: prints the name and size of every file that the tag has at that world size, which
// a tree of what a mount shows must have too.
#include <ckptfs/open.h>
#include <ckptfs/version.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

ckptfs::Result<void> print_view(const std::string& path, const std::string& tag_name, std::uint64_t world_size) {
    CKPTFS_ASSIGN(const auto source, ckptfs::open_directory(path));
    const std::shared_ptr<const ckptfs::TagReader> reader = ckptfs::zero_tag_reader();
    CKPTFS_ASSIGN(const auto tree, ckptfs::open_view(source, reader, ckptfs::ViewRequest::at_world_size(world_size)));
    const auto tag = reader->read(*source, tag_name);
    if (tag->problem() != nullptr) {
        return *tag->problem();
    }
    CKPTFS_ASSIGN(const auto view, tag->show(ckptfs::ViewRequest::at_world_size(world_size)));
    for (std::size_t i = 0; i < view->file_count(); ++i) {
        CKPTFS_ASSIGN(const auto file, view->open(i));
        std::vector<std::byte> bytes(file->size());
        CKPTFS_TRY(file->read(0, bytes));
        CKPTFS_ASSIGN(const auto shown, tree->stat(tag_name + "/" + view->file_name(i)));
        if (shown.stamp.size != bytes.size()) {
            return ckptfs::Error(ckptfs::ErrorCode::internal, "the tree shows another size of " + view->file_name(i));
        }
        std::cout << view->file_name(i) << ' ' << bytes.size() << '\n';
    }
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: consumer CHECKPOINT TAG WORLD_SIZE (ckptfs " << ckptfs::version << ")\n";
        return 2;
    }
    const auto result = print_view(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
    if (!result.ok()) {
        std::cerr << result.error().message() << '\n';
        return 1;
    }
    return 0;
}
