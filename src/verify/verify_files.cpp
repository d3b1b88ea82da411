// Files by several threads, each record by record, in big blocks.
#include "verify/verify_files.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "pt/crc32.h"
#include "pt/zip.h"
#include "util/parallel.h"
#include "util/text.h"

namespace ckptfs::verify {
namespace {

constexpr std::uint64_t block_nbytes = std::uint64_t{2} << 20;
constexpr std::size_t most_files_at_a_time = 16;

class FileVerifier {
 public:
    FileVerifier(Problems& problems, FileTotals& totals) : problems_(problems), totals_(totals), block_(block_nbytes) {}

    Result<void> verify(const File& file) {
        ++totals_.files;
        CKPTFS_ASSIGN(const auto records, pt::read_directory(file));
        for (const pt::Record& record : records) {
            CKPTFS_TRY(verify(file, record));
        }
        return {};
    }

 private:
    Result<void> verify(const File& file, const pt::Record& record) {
        std::uint32_t crc = 0;
        for (std::uint64_t offset = 0; offset < record.nbytes; offset += block_nbytes) {
            const auto part = std::span(block_).first(std::min(block_nbytes, record.nbytes - offset));
            CKPTFS_TRY(file.read(record.data_offset + offset, part));
            crc = pt::crc32_of(part, crc);
        }
        ++totals_.records;
        totals_.nbytes += record.nbytes;
        if (record.crc32 == 0) {
            totals_.records_without_crc += record.nbytes == 0 ? 0 : 1;
        } else if (crc != record.crc32) {
            problems_.add(in_quotes(file.name()) + ": the CRC-32 of record " + in_quotes(record.name) + " is " +
                          std::to_string(crc) + ", the directory says " + std::to_string(record.crc32) +
                          ": its bytes have changed since they were saved, restore the file");
        }
        return {};
    }

    Problems& problems_;
    FileTotals& totals_;
    std::vector<std::byte> block_;
};

}  // namespace

Result<FileTotals> verify_files(const zero::Written& checkpoint, Problems& problems) {
    std::vector<const File*> files;
    for (const zero::Family& rank : checkpoint.families) {
        if (rank.model_states_of_ranks().empty()) {
            files.push_back(rank.model_states->file().get());
        }
        for (const zero::RankFile* file : rank.rank_files()) {
            files.push_back(file->file.get());
        }
    }
    struct Found {
        Problems problems;
        FileTotals totals;
        Result<void> result;
    };
    std::vector<Found> found(files.size());
    for_each_in_parallel(files.size(), threads_for_processors(most_files_at_a_time), [&](std::size_t index) {
        Found& of_file = found[index];
        of_file.result = FileVerifier(of_file.problems, of_file.totals).verify(*files[index]);
        return of_file.result.ok();
    });
    FileTotals totals;
    for (const Found& of_file : found) {
        CKPTFS_TRY(of_file.result);
        problems.add(of_file.problems);
        totals.files += of_file.totals.files;
        totals.records += of_file.totals.records;
        totals.records_without_crc += of_file.totals.records_without_crc;
        totals.nbytes += of_file.totals.nbytes;
    }
    return totals;
}

}  // namespace ckptfs::verify
