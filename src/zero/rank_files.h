// Opens and parses the files of a family's ranks, several at a time, and keeps few trees for many files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"
#include "pt/archive.h"
#include "util/parallel.h"
#include "zero/written.h"

namespace ckptfs::zero {

/// Storage may be far away, where opening a file is waiting: more of them at a time than there are processors.
inline constexpr std::size_t most_opened_at_a_time = 16;
/// Of the trees of one kind of a family's files: ranks differ in the device that they name, and rank 0 in what only it
/// saves, which makes a handful. The tree of a file beyond this is read again when that file of a view is opened.
inline constexpr std::uint64_t kept_trees_nbytes = std::uint64_t{48} << 20U;

/// How many threads ask so many files for a little: where they are few and near, threads would cost more.
[[nodiscard]] constexpr std::size_t asked_at_a_time(std::size_t files) {
    constexpr std::size_t worth_threads = 32;
    return files < worth_threads ? 1 : most_opened_at_a_time;
}
/// As many as there are processors, within most_opened_at_a_time.
[[nodiscard]] std::size_t most_parsed_at_a_time();

/// A file that is open, and not yet parsed.
struct OpenedRankFile {
    RankFile file;  ///< without structure and places
    pt::Container container;
};

/// What `ask` answers to 0, 1, …, a Result<T>, asked by several threads where that is worth it. Up to the first error:
/// what follows it may not have been asked, and is nullopt.
template <class T, class Ask>
std::vector<std::optional<Result<T>>> ask_each(std::size_t count, const Ask& ask) {
    std::vector<std::optional<Result<T>>> answers(count);
    for_each_in_parallel(count, asked_at_a_time(count), [&](std::size_t i) {
        answers[i].emplace(ask(i));
        return answers[i]->ok();
    });
    return answers;
}

/// Of `names` in `directory`, in their order. The error is that of the first that has one.
Result<std::vector<FileInfo>> look_at_all(const Source& source, const std::string& directory,
                                          const std::vector<std::string>& names);
/// `name` in `directory`: its stamp first, then what it holds.
Result<OpenedRankFile> open_rank_file(const Source& source, const std::string& directory, const std::string& name);

/// One rank's file, and what was read from it.
template <class Parsed>
struct ParsedRankFile {
    RankFile file;
    std::shared_ptr<const Parsed> parsed;  ///< ranks whose pickles are equal share one
    pt::RecordPlaces places;               ///< in this rank's file, of the storages that `parsed` numbers
};

/// How files of one kind are read. Called by several threads at once.
template <class Parsed>
struct RankFileKind {
    std::function<Result<Parsed>(std::shared_ptr<const pt::Archive>)> parse;
    /// The pickle with everything blanked that a view cuts anew: of files that have the same one tree is kept. Where it
    /// is empty, the pickles themselves must be equal.
    std::function<Result<std::string>(const Parsed&)> skeleton;
    /// Drops the tree and every pointer into it; what was read from it stays.
    std::function<void(Parsed&)> forget_tree;
    /// Whether joining the ranks looks into trees that are not kept.
    bool join_needs_trees = false;
    std::uint64_t kept_nbytes = kept_trees_nbytes;  ///< of trees; one is kept in any case
};

/// The files of one kind.
template <class Parsed>
class RankFiles {
 public:
    RankFiles(const Source& source, const std::string& directory, RankFileKind<Parsed> kind)
        : source_(source), directory_(directory), kind_(std::move(kind)) {}

    /// By rank. The error is that of the first rank that has one, and which ranks share a tree depends on the files
    /// alone, however the threads ran: the first rank that has a structure keeps the tree.
    Result<std::vector<ParsedRankFile<Parsed>>> read(const std::vector<std::string>& names) {
        std::vector<ParsedRankFile<Parsed>> ranks;
        ranks.reserve(names.size());
        for (std::size_t first = 0; first < names.size(); first += most_opened_at_a_time) {
            CKPTFS_TRY(read_batch(names, first, ranks));
        }
        return ranks;
    }

 private:
    /// A pickle whose tree is kept.
    struct Known {
        std::string pickle;
        std::string skeleton;
        std::shared_ptr<const pt::Archive> archive;
        std::shared_ptr<const Parsed> parsed;
    };
    struct Fresh {
        std::string pickle;
        std::string skeleton;
        std::shared_ptr<const pt::Archive> archive;
        std::optional<Parsed> parsed;
    };
    using Opened = std::vector<std::optional<Result<OpenedRankFile>>>;

    Result<void> read_batch(const std::vector<std::string>& names, std::size_t first,
                            std::vector<ParsedRankFile<Parsed>>& ranks) {
        Opened opened(std::min(most_opened_at_a_time, names.size() - first));
        for_each_in_parallel(opened.size(), most_opened_at_a_time, [&](std::size_t i) {
            opened[i].emplace(open_rank_file(source_, directory_, names[first + i]));
            return opened[i]->ok();
        });
        // Files before the first that cannot be opened are parsed: theirs would be the first error.
        const auto failed = std::find_if(opened.begin(), opened.end(), [](const auto& file) { return !file->ok(); });
        const auto whole = static_cast<std::size_t>(failed - opened.begin());
        std::vector<std::optional<Result<Fresh>>> fresh(whole);
        const std::vector<std::size_t> to_parse = find_unknown(opened, whole);
        for_each_in_parallel(to_parse.size(), most_parsed_at_a_time(), [&](std::size_t i) {
            fresh[to_parse[i]].emplace(parse(opened[to_parse[i]]->value().container));
            return fresh[to_parse[i]]->ok();
        });
        for (std::size_t i = 0; i < whole; ++i) {
            if (fresh[i]) {
                CKPTFS_TRY(*fresh[i]);
            }
            CKPTFS_ASSIGN(ParsedRankFile<Parsed> rank, commit(opened[i]->value(), fresh[i]));
            ranks.push_back(std::move(rank));
        }
        return failed == opened.end() ? Result<void>() : Result<void>((*failed)->error());
    }

    // Of the first `whole` files, those whose pickle is neither kept nor that of an earlier one.
    std::vector<std::size_t> find_unknown(const Opened& opened, std::size_t whole) const {
        std::vector<std::size_t> unknown;
        for (std::size_t i = 0; i < whole; ++i) {
            const pt::Container& container = opened[i]->value().container;
            const bool seen = std::any_of(known_.begin(), known_.end(),
                                          [&](const Known& known) { return known.pickle == container.pickle; }) ||
                              std::any_of(unknown.begin(), unknown.end(), [&](std::size_t earlier) {
                                  return opened[earlier]->value().container.pickle == container.pickle;
                              });
            if (!seen) {
                unknown.push_back(i);
            }
        }
        return unknown;
    }

    Result<Fresh> parse(pt::Container& container) const {
        Fresh fresh;
        fresh.pickle = container.pickle;
        CKPTFS_ASSIGN(fresh.archive, pt::Archive::parse(std::move(container)));
        CKPTFS_ASSIGN(fresh.parsed, kind_.parse(fresh.archive));
        if (kind_.skeleton) {
            CKPTFS_ASSIGN(fresh.skeleton, kind_.skeleton(*fresh.parsed));
        }
        return fresh;
    }

    Result<ParsedRankFile<Parsed>> commit(OpenedRankFile& opened, std::optional<Result<Fresh>>& parsed_before) {
        ParsedRankFile<Parsed> rank;
        rank.file = std::move(opened.file);
        if (!parsed_before) {
            for (const Known& known : known_) {
                if (known.pickle != opened.container.pickle) {
                    continue;
                }
                if (auto places = known.archive->places_in(opened.container)) {
                    rank.file.structure = known.archive;
                    tables_.share(*places);
                    rank.file.places = *places;
                    rank.places = *std::move(places);
                    rank.parsed = known.parsed;
                    return rank;
                }
            }
            parsed_before.emplace(parse(opened.container));
            CKPTFS_TRY(*parsed_before);
        }
        keep(parsed_before->value(), rank);
        return rank;
    }

    void keep(Fresh& fresh, ParsedRankFile<Parsed>& rank) {
        rank.places = fresh.archive->own_places();
        tables_.share(rank.places);
        const auto same = std::find_if(known_.begin(), known_.end(), [&](const Known& known) {
            return kind_.skeleton && known.skeleton == fresh.skeleton &&
                   known.archive->storages().size() == rank.places.size();
        });
        const std::uint64_t nbytes = fresh.archive->tree()->memory_nbytes();
        const bool is_kept = same == known_.end() && (known_.empty() || nbytes_ + nbytes <= kind_.kept_nbytes);
        if (same != known_.end() || (!is_kept && !kind_.join_needs_trees)) {
            kind_.forget_tree(*fresh.parsed);
        }
        rank.parsed = std::make_shared<const Parsed>(*std::move(fresh.parsed));
        if (same != known_.end()) {
            rank.file.structure = same->archive;
            rank.file.places = rank.places;
        } else if (is_kept) {
            nbytes_ += nbytes;
            rank.file.structure = fresh.archive;
            rank.file.places = rank.places;
            known_.push_back(
                {std::move(fresh.pickle), std::move(fresh.skeleton), std::move(fresh.archive), rank.parsed});
        }
    }

    const Source& source_;
    const std::string& directory_;
    RankFileKind<Parsed> kind_;
    std::list<Known> known_;
    pt::PlaceTables tables_;
    std::uint64_t nbytes_ = 0;  // of the trees of known_
};

}  // namespace ckptfs::zero
