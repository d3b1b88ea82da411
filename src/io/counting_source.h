// A Source that counts what is asked of another: the work counters of tests and of `verify`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs::io {

/// What was asked for, successfully or not.
struct WorkCounters {
    std::atomic<std::uint64_t> stats{0};  ///< of entries and of targets
    std::atomic<std::uint64_t> lists{0};
    std::atomic<std::uint64_t> links_read{0};
    std::atomic<std::uint64_t> access_lists{0};  ///< of granted_mode()
    std::atomic<std::uint64_t> opens{0};
    std::atomic<std::uint64_t> reads{0};
    std::atomic<std::uint64_t> nbytes{0};  ///< of reads
    std::atomic<std::uint64_t> checks{0};  ///< looks at open files: one of each read() too
};

/// `file` with its reads counted into `counters`.
std::shared_ptr<const File> counted(std::shared_ptr<const File> file, std::shared_ptr<WorkCounters> counters);

/// Passes everything on to `inner`. Safe for concurrent use.
class CountingSource final : public Source {
 public:
    explicit CountingSource(std::shared_ptr<const Source> inner);

    [[nodiscard]] const WorkCounters& counters() const { return *counters_; }

    [[nodiscard]] std::string display(std::string_view path) const override;
    void refresh() const override;
    void release_unused() const override;
    void note_rename(const std::string& from, const std::string& to, bool exchanged) const override;
    Result<SourceStatistics> statistics() const override;
    Result<FileInfo> stat(const std::string& path) const override;
    Result<FileInfo> stat_target(const std::string& path) const override;
    Result<std::uint32_t> granted_mode(const std::string& path, const FileInfo& info) const override;
    Result<std::vector<FileInfo>> way_to(const std::string& path) const override;
    Result<std::vector<DirectoryEntry>> list(const std::string& path) const override;
    Result<std::string> read_link(const std::string& path) const override;
    Result<std::string> resolve(const std::string& path) const override;
    Result<std::shared_ptr<const File>> open(const std::string& path) const override;

 private:
    std::shared_ptr<const Source> inner_;
    std::shared_ptr<WorkCounters> counters_;
};

}  // namespace ckptfs::io
