// Trees and files of the C interface.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "c/failure.h"
#include "ckptfs/ckptfs.h"
#include "ckptfs/extent.h"
#include "ckptfs/version.h"
#include "cli/arguments.h"
#include "cli/environment.h"
#include "cli/shown.h"
#include "io/file_status.h"

struct ckptfs_tree {
    std::shared_ptr<const ckptfs::ViewTree> tree;
};

struct ckptfs_file {
    std::shared_ptr<const ckptfs::File> file;
};

namespace ckptfs::c {
namespace {

ckptfs_attributes attributes_of(const FileInfo& info) {
    ckptfs_attributes attributes{};
    attributes.inode = info.stamp.inode;
    attributes.mode = io::type_bits(info.type) | info.mode;
    attributes.nlink = static_cast<std::uint32_t>(info.nlink);
    attributes.uid = info.uid;
    attributes.gid = info.gid;
    attributes.size = info.stamp.size;
    attributes.blocks = info.blocks;
    attributes.atime_ns = info.atime_ns;
    attributes.mtime_ns = info.stamp.mtime_ns;
    attributes.ctime_ns = info.stamp.ctime_ns;
    return attributes;
}

Result<void> open_tree(const char* source, const std::vector<std::string>& words, const cli::Warn& warn,
                       ckptfs_tree** out) {
    CKPTFS_ASSIGN(auto arguments, cli::parse_shown_options(words));
    arguments.source = source;
    std::ostream nowhere(nullptr);
    CKPTFS_ASSIGN(auto tree, cli::open_shown(arguments, cli::environment_without_mounts(nowhere, nowhere), warn));
    *out = std::make_unique<ckptfs_tree>(ckptfs_tree{std::move(tree)}).release();
    return {};
}

}  // namespace
}  // namespace ckptfs::c

using ckptfs::Result;
using ckptfs::c::guarded;

uint32_t ckptfs_interface_version() {
    return CKPTFS_INTERFACE_VERSION;
}

const char* ckptfs_version() {
    return ckptfs::version;
}

void ckptfs_free(void* memory) {
    std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): C's own
}

int ckptfs_tree_open(const char* source, const char* const* words, size_t word_count,
                     void (*warn)(void* context, const char* message), void* context, ckptfs_tree** out,
                     ckptfs_failure* failure) {
    return guarded(failure, [&] {
        return ckptfs::c::open_tree(
            source, {words, words + word_count},
            [&](const std::string& message) {
                if (warn != nullptr) {
                    warn(context, message.c_str());
                }
            },
            out);
    });
}

void ckptfs_tree_close(ckptfs_tree* tree) {
    const std::unique_ptr<ckptfs_tree> closed(tree);
}

int ckptfs_tree_attributes(const ckptfs_tree* tree, const char* path, int follow, ckptfs_attributes* out,
                           ckptfs_failure* failure) {
    return guarded(failure, [&]() -> Result<void> {
        CKPTFS_ASSIGN(const auto info, follow != 0 ? tree->tree->stat_target(path) : tree->tree->stat(path));
        *out = ckptfs::c::attributes_of(info);
        return {};
    });
}

int ckptfs_tree_list(const ckptfs_tree* tree, const char* path,
                     int (*take)(void* context, const char* name, uint32_t type), void* context,
                     ckptfs_failure* failure) {
    return guarded(failure, [&]() -> Result<void> {
        CKPTFS_ASSIGN(const auto entries, tree->tree->list(path));
        for (const auto& entry : entries) {
            if (take(context, entry.name.c_str(), ckptfs::io::type_bits(entry.type)) != 0) {
                break;
            }
        }
        return {};
    });
}

int ckptfs_tree_read_link(const ckptfs_tree* tree, const char* path, char** out, ckptfs_failure* failure) {
    return guarded(failure, [&]() -> Result<void> {
        CKPTFS_ASSIGN(const auto text, tree->tree->read_link(path));
        char* const copy = ::strdup(text.c_str());
        if (copy == nullptr) {
            throw std::bad_alloc();
        }
        *out = copy;
        return {};
    });
}

int ckptfs_tree_open_file(const ckptfs_tree* tree, const char* path, ckptfs_file** out, ckptfs_failure* failure) {
    return guarded(failure, [&]() -> Result<void> {
        CKPTFS_ASSIGN(auto file, tree->tree->open(path));
        *out = std::make_unique<ckptfs_file>(ckptfs_file{std::move(file)}).release();
        return {};
    });
}

void ckptfs_file_close(ckptfs_file* file) {
    const std::unique_ptr<ckptfs_file> closed(file);
}

uint64_t ckptfs_file_nbytes(const ckptfs_file* file) {
    return file->file->size();
}

int ckptfs_file_is_virtual(const ckptfs_file* file) {
    return dynamic_cast<const ckptfs::VirtualFile*>(file->file.get()) != nullptr ? 1 : 0;
}

int ckptfs_file_read(const ckptfs_file* file, uint64_t offset, void* out, uint64_t nbytes, ckptfs_failure* failure) {
    return guarded(failure, [&] {
        return file->file->read(offset, {static_cast<std::byte*>(out), static_cast<std::size_t>(nbytes)});
    });
}
