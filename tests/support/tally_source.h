// Another source whose files count how often each of their bytes is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs::test {

/// How often each byte of a file was read.
class Tally {
 public:
    void add(std::uint64_t offset, std::uint64_t nbytes) {
        const std::lock_guard lock(mutex_);
        if (times_.size() < offset + nbytes) {
            times_.resize(offset + nbytes);
        }
        for (std::uint64_t at = offset; at < offset + nbytes; ++at) {
            ++times_[at];
        }
    }
    [[nodiscard]] std::uint64_t nbytes() const {
        const std::lock_guard lock(mutex_);
        return std::accumulate(times_.begin(), times_.end(), std::uint64_t{0});
    }
    void forget() {
        const std::lock_guard lock(mutex_);
        times_.clear();
    }
    [[nodiscard]] std::uint32_t at(std::uint64_t offset) const {
        const std::lock_guard lock(mutex_);
        return offset < times_.size() ? times_[offset] : 0;
    }

 private:
    mutable std::mutex mutex_;
    std::vector<std::uint32_t> times_;
};

/// Of a file: by itself, and as a part of virtual files and of what is taken apart, which ask for checks by themselves.
struct Tallies {
    Tally direct;
    Tally unchecked;
};

class TallyFile final : public File {
 public:
    TallyFile(std::shared_ptr<const File> inner, std::shared_ptr<Tallies> tallies)
        : inner_(std::move(inner)), tallies_(std::move(tallies)) {}

    [[nodiscard]] const std::string& name() const override { return inner_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return inner_->size(); }
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        tallies_->direct.add(offset, out.size());
        return inner_->read(offset, out);
    }
    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& /*read*/) const override {
        tallies_->unchecked.add(offset, out.size());
        return inner_->read(offset, out);
    }

 private:
    std::shared_ptr<const File> inner_;
    std::shared_ptr<Tallies> tallies_;
};

class TallySource final : public Source {
 public:
    explicit TallySource(std::shared_ptr<const Source> inner) : inner_(std::move(inner)) {}

    /// Of the file at `path`, opened however often.
    [[nodiscard]] std::shared_ptr<Tallies> tallies(const std::string& path) const {
        const std::lock_guard lock(mutex_);
        std::shared_ptr<Tallies>& tallies = tallies_[path];
        if (!tallies) {
            tallies = std::make_shared<Tallies>();
        }
        return tallies;
    }
    /// How often the file at `path` was opened.
    [[nodiscard]] int opens(const std::string& path) const {
        const std::lock_guard lock(mutex_);
        const auto known = opens_.find(path);
        return known == opens_.end() ? 0 : known->second;
    }
    /// Bytes that were read of all files, each as often as it was.
    [[nodiscard]] std::uint64_t nbytes() const {
        const std::lock_guard lock(mutex_);
        std::uint64_t nbytes = 0;
        for (const auto& [path, tallies] : tallies_) {
            nbytes += tallies->direct.nbytes() + tallies->unchecked.nbytes();
        }
        return nbytes;
    }
    /// Nothing has been read yet.
    void forget() const {
        const std::lock_guard lock(mutex_);
        for (const auto& [path, tallies] : tallies_) {
            tallies->direct.forget();
            tallies->unchecked.forget();
        }
    }

    [[nodiscard]] std::string display(std::string_view path) const override { return inner_->display(path); }
    Result<FileInfo> stat(const std::string& path) const override { return inner_->stat(path); }
    Result<FileInfo> stat_target(const std::string& path) const override { return inner_->stat_target(path); }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override { return inner_->list(path); }
    Result<std::string> read_link(const std::string& path) const override { return inner_->read_link(path); }
    Result<std::string> resolve(const std::string& path) const override { return inner_->resolve(path); }
    Result<std::shared_ptr<const File>> open(const std::string& path) const override {
        CKPTFS_ASSIGN(auto file, inner_->open(path));
        {
            const std::lock_guard lock(mutex_);
            ++opens_[path];
        }
        return std::shared_ptr<const File>(std::make_shared<TallyFile>(std::move(file), tallies(path)));
    }

 private:
    std::shared_ptr<const Source> inner_;
    mutable std::mutex mutex_;
    mutable std::map<std::string, std::shared_ptr<Tallies>> tallies_;
    mutable std::map<std::string, int> opens_;
};

}  // namespace ckptfs::test
