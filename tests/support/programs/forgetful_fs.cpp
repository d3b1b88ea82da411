// A file system of the tests' own that forgets inodes, as those do that show an object store: DIR as it is, read-only,
// where every look by name finds another inode number. `forgetful_fs DIR MOUNTPOINT`, in the foreground.
#define FUSE_USE_VERSION 35
#include <dirent.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

/// One thread serves.
struct Forgetful {
    std::unordered_map<fuse_ino_t, std::string> paths;
    fuse_ino_t last = FUSE_ROOT_ID;
};

Forgetful& of(fuse_req_t request) {
    return *static_cast<Forgetful*>(fuse_req_userdata(request));
}

bool look(Forgetful& fs, fuse_ino_t inode, struct stat& out) {
    const bool found = ::lstat(fs.paths.at(inode).c_str(), &out) == 0;
    out.st_ino = inode;
    return found;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    Forgetful& fs = of(request);
    fuse_entry_param entry{};  // lifetimes of 0
    entry.ino = ++fs.last;
    fs.paths[entry.ino] = fs.paths.at(parent) + "/" + name;
    if (!look(fs, entry.ino, entry.attr)) {
        fs.paths.erase(entry.ino);
        fuse_reply_err(request, ENOENT);
        return;
    }
    fuse_reply_entry(request, &entry);
}

void forget(fuse_req_t request, fuse_ino_t inode, std::uint64_t /*lookups*/) {
    of(request).paths.erase(inode);  // looked up once in its life
    fuse_reply_none(request);
}

void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) {
    struct stat status {};
    if (look(of(request), inode, status)) {
        fuse_reply_attr(request, &status, 0);
    } else {
        fuse_reply_err(request, ENOENT);
    }
}

void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
    const int fd = ::open(of(request).paths.at(inode).c_str(), O_RDONLY | O_CLOEXEC);  // NOLINT
    if (fd < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    file->fh = static_cast<std::uint64_t>(fd);
    fuse_reply_open(request, file);
}

void read(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t nbytes, off_t offset, fuse_file_info* file) {
    std::vector<char> bytes(nbytes);
    const ssize_t count = ::pread(static_cast<int>(file->fh), bytes.data(), nbytes, offset);
    if (count < 0) {
        fuse_reply_err(request, errno);
    } else {
        fuse_reply_buf(request, bytes.data(), static_cast<std::size_t>(count));
    }
}

void release(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* file) {
    ::close(static_cast<int>(file->fh));
    fuse_reply_err(request, 0);
}

void readdir(fuse_req_t request, fuse_ino_t inode, std::size_t nbytes, off_t offset, fuse_file_info* /*file*/) {
    DIR* const directory = ::opendir(of(request).paths.at(inode).c_str());
    if (directory == nullptr) {
        fuse_reply_err(request, errno);
        return;
    }
    std::vector<char> bytes(nbytes);
    std::size_t filled = 0;
    off_t at = 0;
    while (const dirent* const entry = ::readdir(directory)) {  // NOLINT(concurrency-mt-unsafe)
        if (at++ < offset) {
            continue;
        }
        struct stat status {};
        status.st_ino = ++of(request).last;
        status.st_mode = static_cast<mode_t>(DTTOIF(entry->d_type));
        const std::size_t length =
            fuse_add_direntry(request, bytes.data() + filled, nbytes - filled, entry->d_name, &status, at);
        if (filled + length > nbytes) {
            break;
        }
        filled += length;
    }
    ::closedir(directory);
    fuse_reply_buf(request, bytes.data(), filled);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: forgetful_fs DIR MOUNTPOINT\n", stderr);
        return 2;
    }
    Forgetful fs;
    fs.paths[FUSE_ROOT_ID] = argv[1];
    fuse_lowlevel_ops operations{};
    operations.lookup = lookup;
    operations.forget = forget;
    operations.getattr = getattr;
    operations.open = open;
    operations.read = read;
    operations.release = release;
    operations.readdir = readdir;
    std::string name = "forgetful_fs";
    std::string option = "-osubtype=forgetful,ro";
    std::array<char*, 3> words{name.data(), option.data(), nullptr};
    fuse_args arguments = FUSE_ARGS_INIT(2, words.data());
    fuse_session* const session = fuse_session_new(&arguments, &operations, sizeof(operations), &fs);
    if (session == nullptr || fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, argv[2]) != 0) {
        return 1;
    }
    const int answer = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    return answer == 0 ? 0 : 1;
}
