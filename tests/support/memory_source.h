// A Source whose files are strings in memory, for tests.
#pragma once

#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/source.h"
#include "support/fake_files.h"

namespace ckptfs::test {

/// Directories exist because a file lies in them. Fill it before anybody reads it.
class MemorySource : public Source {
 public:
    void add(const std::string& path, std::string bytes) {
        Entry entry;
        entry.file = std::make_shared<const MemoryFile>(std::move(bytes), display(path));
        entry.info.type = FileType::regular;
        entry.info.mode = 0644;
        entry.info.stamp = {1, files_.size() + 2, entry.file->size(), 1'000, 1'000};
        files_[path] = std::move(entry);
    }

    [[nodiscard]] std::string display(std::string_view path) const override { return "memory:" + std::string(path); }

    Result<FileInfo> stat(const std::string& path) const override {
        if (const auto found = files_.find(path); found != files_.end()) {
            return found->second.info;
        }
        const auto inside = files_.lower_bound(path + "/");
        if (path.empty() || (inside != files_.end() && inside->first.starts_with(path + "/"))) {
            FileInfo info;
            info.type = FileType::directory;
            info.mode = 0755;
            info.stamp.inode = 1;
            return info;
        }
        return missing(path);
    }

    Result<FileInfo> stat_target(const std::string& path) const override { return stat(path); }

    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override {
        CKPTFS_ASSIGN(const FileInfo info, stat(path));
        if (info.type != FileType::directory) {
            return missing(path + "/");
        }
        const std::string prefix = path.empty() ? "" : path + "/";
        std::map<std::string, FileType> names;
        for (auto it = files_.lower_bound(prefix); it != files_.end() && it->first.starts_with(prefix); ++it) {
            const std::string rest = it->first.substr(prefix.size());
            const std::size_t slash = rest.find('/');
            names.emplace(rest.substr(0, slash), slash == std::string::npos ? FileType::regular : FileType::directory);
        }
        std::vector<DirectoryEntry> entries;
        for (const auto& [name, type] : names) {
            entries.push_back({name, type});
        }
        return entries;
    }

    Result<std::string> read_link(const std::string& path) const override {
        CKPTFS_TRY(stat(path));
        return Error(ErrorCode::io, display(path) + " is no symbolic link", EINVAL);
    }

    Result<std::string> resolve(const std::string& path) const override {
        CKPTFS_TRY(stat(path));
        return path;  // there are no links
    }

    Result<std::shared_ptr<const File>> open(const std::string& path) const override {
        CKPTFS_ASSIGN(const FileInfo info, stat(path));
        if (info.type == FileType::directory) {
            return Error(ErrorCode::unsupported, display(path) + " is a directory");
        }
        return std::shared_ptr<const File>(files_.at(path).file);
    }

 private:
    struct Entry {
        std::shared_ptr<const MemoryFile> file;
        FileInfo info;
    };

    [[nodiscard]] Error missing(const std::string& path) const {
        return {ErrorCode::not_found, display(path) + " does not exist", ENOENT};
    }

    std::map<std::string, Entry> files_;
};

}  // namespace ckptfs::test
