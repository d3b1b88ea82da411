// Parts of records are summed where they pass, and joined by arithmetic.
#include "verify/source_pass.h"

#include <algorithm>
#include <string>

#include "pt/crc32.h"
#include "pt/metadata_reads.h"
#include "util/first_failure.h"
#include "util/parallel.h"
#include "util/text.h"

namespace ckptfs::verify {
namespace {

constexpr std::size_t most_threads = 16;

}  // namespace

Result<std::unique_ptr<SourcePass>> SourcePass::over(const zero::Written& checkpoint) {
    std::unique_ptr<SourcePass> pass(new SourcePass(checkpoint));
    std::vector<const File*> files;
    for (const zero::Family& family : checkpoint.families) {
        if (family.model_states_of_ranks().empty()) {
            files.push_back(family.model_states->file().get());
        }
        for (const zero::RankFile* file : family.rank_files()) {
            files.push_back(file->file.get());
        }
    }
    std::vector<Result<void>> results(files.size());
    for (const File* file : files) {
        pass->files_.push_back(std::make_unique<FileState>());
        pass->files_.back()->file = file;
        pass->by_file_.emplace(file, pass->files_.back().get());
    }
    for_each_in_parallel(files.size(), threads_for_processors(most_threads), [&](std::size_t index) {
        results[index] = [&]() -> Result<void> {
            const pt::MetadataReads reads(*files[index]);
            CKPTFS_ASSIGN(auto records, pt::read_directory(reads));
            CKPTFS_TRY(reads.check());
            for (pt::Record& record : records) {
                pass->files_[index]->records.push_back({std::move(record), {}});
            }
            return {};
        }();
        return results[index].ok();
    });
    for (const Result<void>& result : results) {
        CKPTFS_TRY(result);
    }
    return pass;
}

void SourcePass::passed(const File& file, std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto known = by_file_.find(&file);
    if (known == by_file_.end()) {
        return;
    }
    FileState& state = *known->second;
    auto record = std::partition_point(state.records.begin(), state.records.end(), [offset](const RecordState& of) {
        return of.record.data_offset + of.record.nbytes <= offset;
    });
    const std::uint64_t end = offset + bytes.size();
    for (; record != state.records.end() && record->record.data_offset < end; ++record) {
        const std::uint64_t begin = record->record.data_offset;
        const std::uint64_t from = std::max(offset, begin);
        const std::uint64_t to = std::min(end, begin + record->record.nbytes);
        if (from < to) {
            pass(state, *record, from - begin, bytes.subspan(from - offset, to - from));
        }
    }
}

/// Only what no part has yet: everything is summed, and handed on, once.
void SourcePass::pass(FileState& state, RecordState& record, std::uint64_t from, std::span<const std::byte> bytes) {
    const std::uint64_t end = from + bytes.size();
    struct Taken {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
    };
    std::vector<Taken> taken;
    {
        const std::lock_guard lock(state.mutex);
        auto next = record.parts.upper_bound(from);
        std::uint64_t at = next == record.parts.begin() ? from : std::max(from, std::prev(next)->second.end);
        while (at < end) {
            const std::uint64_t until = next == record.parts.end() ? end : std::min(end, next->first);
            if (at < until) {
                record.parts.emplace_hint(next, at, Part{until, 0, false});
                taken.push_back({at, until});
            }
            if (next == record.parts.end()) {
                break;
            }
            at = std::max(at, next->second.end);
            ++next;
        }
    }
    for (const auto& [begin, until] : taken) {
        const auto part = bytes.subspan(begin - from, until - begin);
        const std::uint32_t crc32 = record.record.crc32 == 0 ? 0 : pt::crc32_of(part);
        weights_.passed(*state.file, record.record.data_offset + begin, part);
        const std::lock_guard lock(state.mutex);
        auto summed = record.parts.find(begin);
        summed->second.crc32 = crc32;
        summed->second.is_summed = true;
        const auto join = [&](auto first, auto second) {
            first->second.crc32 =
                pt::crc32_combined(first->second.crc32, second->second.crc32, second->second.end - second->first);
            first->second.end = second->second.end;
            record.parts.erase(second);
        };
        if (const auto after = std::next(summed);
            after != record.parts.end() && after->second.is_summed && after->first == summed->second.end) {
            join(summed, after);
        }
        if (summed != record.parts.begin()) {
            if (const auto before = std::prev(summed);
                before->second.is_summed && before->second.end == summed->first) {
                join(before, summed);
            }
        }
    }
}

/// In blocks.
std::vector<SourcePass::Gap> SourcePass::gaps() const {
    std::vector<Gap> gaps;
    for (const auto& state : files_) {
        for (const RecordState& record : state->records) {
            std::uint64_t at = 0;
            const auto add_until = [&](std::uint64_t end) {
                for (; at < end; at += std::min(block_nbytes, end - at)) {
                    gaps.push_back({state->file, record.record.data_offset + at, std::min(block_nbytes, end - at)});
                }
            };
            for (const auto& [begin, part] : record.parts) {
                add_until(begin);
                at = part.end;
            }
            add_until(record.record.nbytes);
        }
    }
    return gaps;
}

Result<FileTotals> SourcePass::finish(Problems& problems) {
    const std::vector<Gap> left = gaps();
    std::mutex mutex;
    std::vector<std::vector<std::byte>> buffers;  // not in use
    FirstFailure failure;
    for_each_in_parallel(left.size(), threads_for_processors(most_threads), [&](std::size_t index) {
        const Gap& gap = left[index];
        std::vector<std::byte> buffer;
        {
            const std::lock_guard lock(mutex);
            if (!buffers.empty()) {
                buffer = std::move(buffers.back());
                buffers.pop_back();
            }
        }
        buffer.resize(block_nbytes);
        const auto bytes = std::span(buffer).first(gap.nbytes);
        const auto result = gap.file->read(gap.offset, bytes);
        if (result) {
            passed(*gap.file, gap.offset, bytes);
        }
        {
            const std::lock_guard lock(mutex);
            buffers.push_back(std::move(buffer));
        }
        return failure.note(index, result);
    });
    CKPTFS_TRY(failure.result());
    FileTotals totals;
    for (const auto& state : files_) {
        ++totals.files;
        for (const RecordState& of : state->records) {
            const pt::Record& record = of.record;
            ++totals.records;
            totals.nbytes += record.nbytes;
            if (record.crc32 == 0) {
                totals.records_without_crc += record.nbytes == 0 ? 0 : 1;
                continue;
            }
            const std::uint32_t crc32 = of.parts.empty() ? 0 : of.parts.begin()->second.crc32;
            if (crc32 != record.crc32) {
                problems.add(in_quotes(state->file->name()) + ": the CRC-32 of record " + in_quotes(record.name) +
                             " is " + std::to_string(crc32) + ", the directory says " + std::to_string(record.crc32) +
                             ": its bytes have changed since they were saved, restore the file");
            }
        }
    }
    return totals;
}

}  // namespace ckptfs::verify
