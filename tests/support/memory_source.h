// A Source whose files are strings in memory, for tests.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs::test {

class MemoryFile final : public File {
 public:
    MemoryFile(std::string name, std::shared_ptr<const std::string> bytes)
        : name_(std::move(name)), bytes_(std::move(bytes)) {}

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return bytes_->size(); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset > bytes_->size() || out.size() > bytes_->size() - offset) {
            return Error(ErrorCode::invalid_argument, name_ + ": a read past the end");
        }
        const auto bytes = std::as_bytes(std::span(*bytes_));
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return {};
    }

 private:
    std::string name_;
    std::shared_ptr<const std::string> bytes_;
};

/// Directories exist because a file lies in them. Fill it before anybody reads it.
class MemorySource final : public Source {
 public:
    void add(const std::string& path, std::string bytes) {
        Entry entry;
        entry.bytes = std::make_shared<const std::string>(std::move(bytes));
        entry.info.type = FileType::regular;
        entry.info.mode = 0644;
        entry.info.stamp = {1, files_.size() + 2, entry.bytes->size(), 1'000, 1'000};
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
        return Error(ErrorCode::io, display(path) + " is no symbolic link", EINVAL);
    }

    Result<std::shared_ptr<const File>> open(const std::string& path) const override {
        const auto found = files_.find(path);
        if (found == files_.end()) {
            return missing(path);
        }
        return std::shared_ptr<const File>(std::make_shared<MemoryFile>(display(path), found->second.bytes));
    }

 private:
    struct Entry {
        std::shared_ptr<const std::string> bytes;
        FileInfo info;
    };

    [[nodiscard]] Error missing(const std::string& path) const {
        return {ErrorCode::not_found, display(path) + " does not exist", ENOENT};
    }

    std::map<std::string, Entry> files_;
};

}  // namespace ckptfs::test
