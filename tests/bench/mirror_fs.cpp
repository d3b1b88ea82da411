// A file system that hands out another directory: the peer that ckptfs is measured against, and, with a delay, the slow
// storage under it.
//
//     mirror_fs SOURCE MOUNTPOINT [--delay-ms=N] [--nothing] [--direct]
//
// In the foreground, read-only, through libfuse's own loop; one pread() into a buffer and one reply for each read, as
// libfuse's passthrough examples do. --delay-ms: before every operation that a server would have to be asked for.
// --nothing: no file of a MiB or more is read, whatever is in memory is the answer, so that what is left is what the
// kernel and libfuse take for themselves. --direct: nothing stays in the page cache.
#define FUSE_USE_VERSION 314

#include <dirent.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr unsigned threads = 64;
constexpr double known_for = 3;  // as NFS keeps what it knows of a file, in seconds
constexpr off_t large = off_t{1} << 20;

struct Mirror {
    std::string source;
    std::chrono::milliseconds delay{0};
    bool reads_nothing = false;
    bool is_direct = false;

    std::mutex mutex;
    std::vector<std::string> paths;            // by inode - 1
    std::map<std::string, fuse_ino_t> inodes;  // by path
};

Mirror& mirror_of(fuse_req_t request) {
    return *static_cast<Mirror*>(fuse_req_userdata(request));
}

/// As long as a server takes to answer.
Mirror& ask(fuse_req_t request) {
    Mirror& mirror = mirror_of(request);
    std::this_thread::sleep_for(mirror.delay);
    return mirror;
}

std::string path_of(Mirror& mirror, fuse_ino_t inode) {
    const std::lock_guard lock(mirror.mutex);
    return mirror.paths.at(inode - 1);
}

fuse_ino_t inode_of(Mirror& mirror, const std::string& path) {
    const std::lock_guard lock(mirror.mutex);
    const auto [at, is_new] = mirror.inodes.try_emplace(path, mirror.paths.size() + 1);
    if (is_new) {
        mirror.paths.push_back(path);
    }
    return at->second;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    Mirror& mirror = ask(request);
    const std::string path = path_of(mirror, parent) + "/" + name;
    fuse_entry_param entry{};
    if (::lstat(path.c_str(), &entry.attr) != 0) {
        fuse_reply_err(request, errno);
        return;
    }
    entry.ino = entry.attr.st_ino = inode_of(mirror, path);
    entry.attr_timeout = entry.entry_timeout = known_for;
    fuse_reply_entry(request, &entry);
}

void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) {
    Mirror& mirror = ask(request);
    struct stat attributes {};
    if (::lstat(path_of(mirror, inode).c_str(), &attributes) != 0) {
        fuse_reply_err(request, errno);
        return;
    }
    attributes.st_ino = inode;
    fuse_reply_attr(request, &attributes, known_for);
}

void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
    Mirror& mirror = ask(request);
    const int descriptor = ::open(path_of(mirror, inode).c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    file->fh = static_cast<std::uint64_t>(descriptor);
    file->direct_io = mirror.is_direct ? 1 : 0;
    fuse_reply_open(request, file);
}

void read(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t nbytes, off_t offset, fuse_file_info* file) {
    const Mirror& mirror = ask(request);
    thread_local std::vector<char> buffer;
    buffer.resize(std::max(buffer.size(), nbytes));
    struct stat attributes {};
    const int descriptor = static_cast<int>(file->fh);
    ssize_t got = 0;
    if (mirror.reads_nothing && ::fstat(descriptor, &attributes) == 0 && attributes.st_size >= large) {
        got = std::clamp<off_t>(attributes.st_size - offset, 0, static_cast<off_t>(nbytes));
    } else {
        got = ::pread(descriptor, buffer.data(), nbytes, offset);
    }
    if (got < 0) {
        fuse_reply_err(request, errno);
    } else {
        fuse_reply_buf(request, buffer.data(), static_cast<std::size_t>(got));
    }
}

void release(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* file) {
    ::close(static_cast<int>(file->fh));
    fuse_reply_err(request, 0);
}

void readlink(fuse_req_t request, fuse_ino_t inode) {
    std::array<char, 4096> target{};
    const auto length = ::readlink(path_of(ask(request), inode).c_str(), target.data(), target.size() - 1);
    length < 0 ? fuse_reply_err(request, errno) : fuse_reply_readlink(request, target.data());
}

void readdir(fuse_req_t request, fuse_ino_t inode, std::size_t nbytes, off_t offset, fuse_file_info* /*file*/) {
    const auto close = [](DIR* opened) { ::closedir(opened); };
    const std::unique_ptr<DIR, decltype(close)> directory(::opendir(path_of(ask(request), inode).c_str()), close);
    if (!directory) {
        fuse_reply_err(request, errno);
        return;
    }
    std::vector<char> buffer(nbytes);
    std::size_t used = 0;
    ::seekdir(directory.get(), offset);
    while (const dirent* entry = ::readdir(directory.get())) {
        struct stat attributes {};
        attributes.st_ino = entry->d_ino;
        attributes.st_mode = static_cast<mode_t>(DTTOIF(entry->d_type));
        const auto needed =
            fuse_add_direntry(request, buffer.data() + used, nbytes - used, entry->d_name, &attributes, entry->d_off);
        if (needed > nbytes - used) {
            break;
        }
        used += needed;
    }
    fuse_reply_buf(request, buffer.data(), used);
}

void init(void* user_data, fuse_conn_info* connection) {
    static_cast<void>(user_data);
    connection->want &= ~static_cast<unsigned>(FUSE_CAP_READDIRPLUS | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
    connection->max_background = 2 * threads;
}

int serve(Mirror& mirror, const char* program, const char* mount_point) {
    fuse_lowlevel_ops operations{};
    operations.init = init;
    operations.lookup = lookup;
    operations.getattr = getattr;
    operations.readlink = readlink;
    operations.open = open;
    operations.read = read;
    operations.release = release;
    operations.readdir = readdir;
    std::array<char*, 3> words{const_cast<char*>(program), const_cast<char*>("-o"),
                               const_cast<char*>("ro,fsname=mirror,subtype=mirror_fs")};
    fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(words.size()), words.data());
    fuse_session* const session = fuse_session_new(&arguments, &operations, sizeof(operations), &mirror);
    if (session == nullptr || fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, mount_point) != 0) {
        return 1;
    }
    fuse_loop_config* const config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, threads);
    const int outcome = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    return outcome < 0 ? 1 : 0;
}

}  // namespace

int main(int count, char** words) {
    Mirror mirror;
    std::vector<const char*> places;
    constexpr std::string_view delay_option = "--delay-ms=";
    for (int i = 1; i < count; ++i) {
        const std::string_view word = words[i];
        if (word == "--nothing") {
            mirror.reads_nothing = true;
        } else if (word == "--direct") {
            mirror.is_direct = true;
        } else if (word.starts_with(delay_option)) {
            int milliseconds = 0;
            std::from_chars(word.data() + delay_option.size(), word.data() + word.size(), milliseconds);
            mirror.delay = std::chrono::milliseconds(milliseconds);
        } else {
            places.push_back(words[i]);
        }
    }
    if (places.size() != 2) {
        std::cerr << "usage: mirror_fs SOURCE MOUNTPOINT [--delay-ms=N] [--nothing] [--direct]\n";
        return 2;
    }
    mirror.source = places[0];
    inode_of(mirror, mirror.source);
    return serve(mirror, words[0], places[1]);
}
