// Trees to export, and file systems that break, for the tests of exports.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "export/export.h"
#include "pt/crc32.h"
#include "pt/zip.h"
#include "pt/zip_checksums.h"
#include "pt/zip_layout.h"
#include "support/fake_files.h"
#include "support/memory_source.h"
#include "support/temporary_directory.h"

namespace ckptfs::exporting::test {

using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)

/// What is shown: files in memory, files made of pieces, and links.
class ShownTree final : public MemorySource {
 public:
    void add_file(const std::string& path, std::shared_ptr<const File> file) {
        add(path, std::string());
        made_[path] = std::move(file);
    }
    void add_link(const std::string& path, const std::string& target) {
        add(path, std::string());
        links_[path] = target;
    }
    /// As a save over it does; also while others look.
    void change(const std::string& path) {
        const std::lock_guard lock(mutex_);
        ++generations_[path];
    }
    /// Calls this before each file is opened.
    std::function<void(const std::string& path)> before_open = [](const std::string&) {};

    std::uint32_t file_mode = 0440;
    std::uint32_t directory_mode = 0555;

    /// Listed, and gone when it is opened.
    std::string failing_open;

    Result<FileInfo> stat(const std::string& path) const override {
        CKPTFS_ASSIGN(FileInfo info, MemorySource::stat(path));
        info.stamp.mtime_ns = 1'700'000'000'123'456'789;
        info.atime_ns = 1'600'000'000'000'000'001;
        info.mode = info.type == FileType::directory ? directory_mode : file_mode;
        if (const auto made = made_.find(path); made != made_.end()) {
            info.stamp.size = made->second->size();
        }
        if (const auto link = links_.find(path); link != links_.end()) {
            info.type = FileType::symlink;
            info.stamp.size = link->second.size();
        }
        const std::lock_guard lock(mutex_);
        if (const auto changed = generations_.find(path); changed != generations_.end()) {
            info.stamp.ctime_ns += changed->second;
        }
        return info;
    }
    Result<std::string> read_link(const std::string& path) const override {
        const auto link = links_.find(path);
        return link == links_.end() ? MemorySource::read_link(path) : link->second;
    }
    Result<std::shared_ptr<const File>> open(const std::string& path) const override {
        before_open(path);
        if (!failing_open.empty() && path == failing_open) {
            return Error(ErrorCode::not_found, "'" + path + "' cannot be opened: it is not there", ENOENT);
        }
        const auto made = made_.find(path);
        return made == made_.end() ? MemorySource::open(path) : Result(made->second);
    }

 private:
    std::map<std::string, std::shared_ptr<const File>> made_;
    std::map<std::string, std::string> links_;
    mutable std::mutex mutex_;
    std::map<std::string, std::int64_t> generations_;
};

/// The system's calls, until one of them breaks.
class BreakingCalls final : public WriteCalls {
 public:
    enum class How : unsigned char {
        fails,      ///< that call alone
        is_killed,  ///< and all after it: nothing of this process reaches the disk any more
    };

    BreakingCalls() = default;
    BreakingCalls(std::size_t at, How how, int failure) : at_(at), how_(how), failure_(failure) {}

    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] bool has_broken() const { return count_ >= at_; }
    std::size_t longest_write = std::size_t{1} << 30U;
    std::uint64_t free_blocks = std::uint64_t{1} << 40U;
    bool copies = true;
    bool punches = true;
    bool shares = false;
    mutable std::atomic<bool> garbles = false;  ///< writes a wrong byte of a file, once

    /// As a machine does that loses power: what was not brought to disk is there, in parts, as zeros or as anything.
    void lose_power(std::uint64_t seed) {
        std::mt19937_64 random(seed);
        for (const auto& [path, ranges] : unsynced_) {
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            for (const auto& [offset, nbytes] : ranges) {
                const auto fate = random() % 3;
                if (file && fate != 0) {
                    file.seekp(static_cast<std::streamoff>(offset));
                    file << (fate == 1 ? std::string(nbytes, '\0') : random_bytes(nbytes, random()));
                }
            }
        }
        unsynced_.clear();
    }

    int open(const std::string& path, int flags, mode_t mode) const override {
        const int answer = breaks() ? -failure_ : WriteCalls::open(path, flags, mode);
        const std::lock_guard lock(mutex_);
        if (answer >= 0) {
            paths_[answer] = path;
        }
        return answer;
    }
    ssize_t write_at(int fd, std::span<const std::byte> data, std::uint64_t offset) const override {
        if (breaks()) {
            return -failure_;
        }
        data = data.first(std::min(data.size(), longest_write));
        note(fd, offset, data.size());
        if (garbles && data.size() > 10'000 && garbles.exchange(false)) {
            std::vector<std::byte> other(data.begin(), data.end());
            other[50] ^= std::byte{1};
            return WriteCalls::write_at(fd, other, offset);
        }
        return WriteCalls::write_at(fd, data, offset);
    }
    Result<bool> copy(const File& source, std::uint64_t offset, std::uint64_t nbytes, int fd,
                      std::uint64_t fd_offset) const override {
        if (!copies || breaks()) {
            return false;
        }
        CKPTFS_ASSIGN(const std::string bytes, read_range(source, offset, nbytes));
        note(fd, fd_offset, nbytes);
        return WriteCalls::write_at(fd, std::as_bytes(std::span(bytes)), fd_offset) ==
               static_cast<ssize_t>(bytes.size());
    }
    int resize(int fd, std::uint64_t nbytes) const override {
        return breaks() ? -failure_ : WriteCalls::resize(fd, nbytes);
    }
    int punch(int fd, std::uint64_t offset, std::uint64_t nbytes) const override {
        return !punches ? -EOPNOTSUPP : breaks() ? -failure_ : WriteCalls::punch(fd, offset, nbytes);
    }
    int sync(int fd) const override {
        if (breaks()) {
            return -failure_;
        }
        const std::lock_guard lock(mutex_);
        unsynced_.erase(paths_[fd]);
        return 0;
    }
    int set_attributes(int fd, mode_t mode, std::int64_t atime_ns, std::int64_t mtime_ns) const override {
        return breaks() ? -failure_ : WriteCalls::set_attributes(fd, mode, atime_ns, mtime_ns);
    }
    int statistics(const std::string& path, struct statvfs& out) const override {
        const int answer = WriteCalls::statistics(path, out);
        out.f_bfree = out.f_bavail = std::min<std::uint64_t>(out.f_bfree, free_blocks);
        return answer;
    }
    bool may_share_blocks(const std::string& /*path*/) const override { return shares; }
    int make_directory(const std::string& path, mode_t mode) const override {
        return breaks() ? -failure_ : WriteCalls::make_directory(path, mode);
    }
    int make_link(const std::string& target, const std::string& path) const override {
        return breaks() ? -failure_ : WriteCalls::make_link(target, path);
    }
    int set_link_time(const std::string& path, std::int64_t atime_ns, std::int64_t mtime_ns) const override {
        return breaks() ? -failure_ : WriteCalls::set_link_time(path, atime_ns, mtime_ns);
    }
    int rename(const std::string& from, const std::string& to) const override {
        return breaks() ? -failure_ : WriteCalls::rename(from, to);
    }
    int remove(const std::string& path) const override { return breaks() ? -failure_ : WriteCalls::remove(path); }
    int remove_directory(const std::string& path) const override {
        return breaks() ? -failure_ : WriteCalls::remove_directory(path);
    }

 private:
    [[nodiscard]] bool breaks() const {
        const std::size_t number = ++count_;
        return number == at_ || (how_ == How::is_killed && number > at_);
    }
    void note(int fd, std::uint64_t offset, std::uint64_t nbytes) const {
        const std::lock_guard lock(mutex_);
        unsynced_[paths_[fd]].emplace_back(offset, nbytes);
    }

    std::size_t at_ = std::numeric_limits<std::size_t>::max();
    How how_ = How::fails;
    int failure_ = EIO;
    mutable std::atomic<std::size_t> count_ = 0;
    mutable std::mutex mutex_;
    mutable std::map<int, std::string> paths_;
    mutable std::map<std::string, std::vector<std::pair<std::uint64_t, std::uint64_t>>> unsynced_;
};

/// An archive as a view has it: one record whose checksum is known, others of pieces of `source` and zeros, without.
inline std::shared_ptr<const VirtualFile> shown_archive(const std::shared_ptr<const File>& source,
                                                        std::uint64_t zeros_nbytes) {
    pt::ZipLayout layout;
    layout.add_literal("archive/data.pkl", "a pickle");
    PieceList pieces;
    pieces.add_source(source.get(), 0, source->size() / 2);
    pieces.add_zeros(zeros_nbytes);
    pieces.add_source(source.get(), source->size() / 2, source->size() - source->size() / 2);
    layout.add("archive/data/0", pieces, 0);
    PieceList copy;
    copy.add_source(source.get(), 0, source->size());
    layout.add("archive/data/1", copy, pt::crc32_of(*read_all(*source)));
    layout.add("archive/data/2", PieceList(), 0);
    PieceList small;
    small.add_source(source.get(), 1, 77);
    layout.add("archive/data/3", small, 0);
    return *VirtualFile::create("archive", std::move(layout).finish(), source);
}

/// What is exported, and where to.
class ExportTest : public testing::Test {
 protected:
    ExportTest() {
        tree_->add("latest", "step5");
        tree_->add("run.py", random_bytes(140'000, 1));
        tree_->add("empty", "");
        tree_->add("deep/er/notes with blank", "text");
        tree_->add_link("best", "step5");
        tree_->add_file("step5/shard.pt", shown_archive(source_, 100'000));
        PieceList plain;
        plain.add_literal("header");
        plain.add_source(source_.get(), 5, 150'000);
        tree_->add_file("step5/model.safetensors", *VirtualFile::create("model", std::move(plain), source_));
        request_.tree = tree_;
        request_.source_path = directory_ / "source";
        request_.destination = directory_ / "dest";
        request_.version = "1";
        request_.settings = {{"--view", "weights"}};
        request_.jobs = 2;
        request_.memory_nbytes = std::uint64_t{2} << 17U;
        request_.segment_nbytes = 200'000;
        request_.limits.most_waited = std::chrono::milliseconds(0);
        request_.limits.enough_files = 1;
    }

    Result<ExportSummary> run(const WriteCalls& calls) {
        for (auto* counter : {&counters_.total, &counters_.earlier, &counters_.read, &counters_.copied,
                              &counters_.holes, &counters_.verified}) {
            *counter = 0;
        }
        counters_.phase = Phase::looking;
        ExportHooks hooks;
        hooks.warn = [&](const std::string& message) { warnings_.push_back(message); };
        hooks.stops = stops_;
        return export_tree(request_, calls, counters_, hooks);
    }

    [[nodiscard]] bool is_there() const { return std::filesystem::exists(request_.destination); }
    [[nodiscard]] std::string partial() const { return request_.destination + ".partial"; }

    /// Everything is as it is shown, and nothing else is there.
    void expect_exported() {
        const auto entries = std::filesystem::recursive_directory_iterator(request_.destination);
        std::vector<std::string> found;
        for (const auto& entry : entries) {
            found.push_back(entry.path().lexically_relative(request_.destination).string());
        }
        EXPECT_THAT(found, testing::UnorderedElementsAre("latest", "run.py", "empty", "deep", "deep/er", "best",
                                                         "deep/er/notes with blank", "step5", "step5/shard.pt",
                                                         "step5/model.safetensors"));
        for (const std::string& path : found) {
            expect_same(path);
        }
        EXPECT_FALSE(std::filesystem::exists(partial()));
    }

    void expect_same(const std::string& path) {
        const std::string target = request_.destination + "/" + path;
        struct stat status {};
        ASSERT_EQ(::lstat(target.c_str(), &status), 0) << path;
        EXPECT_EQ(status.st_mtim.tv_sec, 1'700'000'000) << path;
        EXPECT_EQ(status.st_mtim.tv_nsec, 123'456'789) << path;
        if (S_ISLNK(status.st_mode)) {
            EXPECT_EQ(std::filesystem::read_symlink(target).string(), *tree_->read_link(path));
            return;
        }
        EXPECT_EQ(status.st_mode & 07777U, S_ISDIR(status.st_mode) ? 0755U : 0640U) << path;
        if (S_ISDIR(status.st_mode)) {
            return;
        }
        const std::string found = file_bytes(target);
        const std::string shown = *read_all(**tree_->open(path));
        if (path.ends_with(".pt")) {
            expect_same_but_for_checksums(found, shown);
        } else {
            EXPECT_TRUE(found == shown) << path;
        }
    }

    static void expect_same_but_for_checksums(std::string found, const std::string& shown) {
        ASSERT_EQ(found.size(), shown.size());
        const auto file = std::make_shared<const MemoryFile>(found);
        const auto records = pt::read_directory(*file);
        ASSERT_TRUE(records.ok()) << records.error().message();
        for (const pt::Record& record : *records) {
            const std::string bytes = *read_range(*file, record.data_offset, record.nbytes);
            EXPECT_EQ(record.crc32, pt::crc32_of(bytes)) << record.name;
        }
        for (const pt::UnknownChecksum& unknown : *pt::unknown_checksums(MemoryFile(shown))) {
            for (const std::uint64_t offset : {unknown.local_offset, unknown.directory_offset}) {
                EXPECT_NE(found.substr(offset, 4), shown.substr(offset, 4));
                found.replace(offset, 4, 4, '\0');
            }
        }
        EXPECT_TRUE(found == shown);
    }

    TemporaryDirectory directory_;
    std::shared_ptr<const MemoryFile> source_ = std::make_shared<const MemoryFile>(random_bytes(180'000, 2), "source");
    std::shared_ptr<ShownTree> tree_ = std::make_shared<ShownTree>();
    ExportRequest request_;
    Counters counters_;
    std::vector<std::string> warnings_;
    std::function<bool()> stops_ = [] { return false; };
};

}  // namespace ckptfs::exporting::test
