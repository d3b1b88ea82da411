// Passes everything on to another source, and counts what is opened and read.
#include "io/counting_source.h"

#include <utility>

namespace ckptfs::io {
namespace {

class CountedFile final : public File {
 public:
    CountedFile(std::shared_ptr<const File> inner, std::shared_ptr<WorkCounters> counters)
        : inner_(std::move(inner)), counters_(std::move(counters)) {}

    [[nodiscard]] const std::string& name() const override { return inner_->name(); }
    [[nodiscard]] std::uint64_t size() const override { return inner_->size(); }
    [[nodiscard]] std::vector<std::string> source_names() const override { return inner_->source_names(); }

    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
        counters_->reads.fetch_add(1, std::memory_order_relaxed);
        counters_->nbytes.fetch_add(out.size(), std::memory_order_relaxed);
        counters_->checks.fetch_add(1, std::memory_order_relaxed);
        return inner_->read(offset, out);
    }
    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const override {
        counters_->reads.fetch_add(1, std::memory_order_relaxed);
        counters_->nbytes.fetch_add(out.size(), std::memory_order_relaxed);
        read.add(this);
        FilesRead of_inner;  // whose check() is this one's
        return inner_->read_unchecked(offset, out, of_inner);
    }
    Result<void> check() const override {
        counters_->checks.fetch_add(1, std::memory_order_relaxed);
        return inner_->check();
    }

 private:
    const std::shared_ptr<const File> inner_;
    const std::shared_ptr<WorkCounters> counters_;
};

}  // namespace

std::shared_ptr<const File> counted(std::shared_ptr<const File> file, std::shared_ptr<WorkCounters> counters) {
    return std::make_shared<const CountedFile>(std::move(file), std::move(counters));
}

CountingSource::CountingSource(std::shared_ptr<const Source> inner)
    : inner_(std::move(inner)), counters_(std::make_shared<WorkCounters>()) {}

std::string CountingSource::display(std::string_view path) const {
    return inner_->display(path);
}
void CountingSource::refresh() const {
    inner_->refresh();
}
void CountingSource::release_unused() const {
    inner_->release_unused();
}
void CountingSource::note_rename(const std::string& from, const std::string& to, bool exchanged) const {
    inner_->note_rename(from, to, exchanged);
}

Result<SourceStatistics> CountingSource::statistics() const {
    return inner_->statistics();
}
Result<FileInfo> CountingSource::stat(const std::string& path) const {
    counters_->stats.fetch_add(1, std::memory_order_relaxed);
    return inner_->stat(path);
}
Result<FileInfo> CountingSource::stat_target(const std::string& path) const {
    counters_->stats.fetch_add(1, std::memory_order_relaxed);
    return inner_->stat_target(path);
}
Result<std::uint32_t> CountingSource::granted_mode(const std::string& path, const FileInfo& info) const {
    counters_->access_lists.fetch_add(1, std::memory_order_relaxed);
    return inner_->granted_mode(path, info);
}
Result<std::vector<FileInfo>> CountingSource::way_to(const std::string& path) const {
    return inner_->way_to(path);
}
Result<std::vector<DirectoryEntry>> CountingSource::list(const std::string& path) const {
    counters_->lists.fetch_add(1, std::memory_order_relaxed);
    return inner_->list(path);
}
Result<std::string> CountingSource::read_link(const std::string& path) const {
    counters_->links_read.fetch_add(1, std::memory_order_relaxed);
    return inner_->read_link(path);
}
Result<std::string> CountingSource::resolve(const std::string& path) const {
    return inner_->resolve(path);
}

Result<std::shared_ptr<const File>> CountingSource::open(const std::string& path) const {
    counters_->opens.fetch_add(1, std::memory_order_relaxed);
    CKPTFS_ASSIGN(auto file, inner_->open(path));
    return counted(std::move(file), counters_);
}

}  // namespace ckptfs::io
