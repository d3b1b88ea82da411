// What a virtual file is made of: pieces of source files, zeros and literal bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs {

/// A run of bytes of a virtual file. All numbers are bytes.
struct Piece {
    enum class Kind : std::uint8_t {
        source,   ///< `length` bytes of `file` from `offset` on
        zeros,    ///< `length` zero bytes
        literal,  ///< `length` bytes of the virtual file's literals from `offset` on
    };

    Kind kind = Kind::zeros;
    const File* file = nullptr;  ///< not owned; kept alive by the virtual file's owner
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool operator==(const Piece&) const = default;
};

class MemoryReservation;
class Pieces;

/// Collects pieces in order. Drops empty ones and joins neighbours that continue each other. Pieces of the same place
/// in one file after the other, in the order in which the files came first, take the memory of one: so do a parameter's
/// shares in the files of a thousand ranks.
class PieceList {
 public:
    void add_source(const File* file, std::uint64_t offset, std::uint64_t length);
    void add_zeros(std::uint64_t length);
    /// Copies `bytes` to the end of the literals.
    void add_literal(std::string_view bytes);
    void append(const PieceList& other);
    /// Literals were made from what `file` holds, so that it is among File::add_origins().
    void add_origin(const File* file) { origins_.push_back(file); }

    [[nodiscard]] std::uint64_t nbytes() const { return nbytes_; }
    /// Valid while this list lives and nothing is added.
    [[nodiscard]] Pieces pieces() const&;
    void pieces() const&& = delete;
    [[nodiscard]] const std::string& literals() const { return literals_; }

 private:
    friend class Pieces;
    friend class VirtualFile;

    /// `count` pieces of `length` bytes at `offset`, each of the next file. All other pieces are strips of one.
    struct Strip {
        std::uint64_t end = 0;  ///< offset in the virtual file just after the last of them
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        std::uint32_t file = 0;  ///< of the first: index in files_, or one of the numbers below
        std::uint32_t count = 1;
    };
    static constexpr std::uint32_t zeros_number = UINT32_MAX;
    static constexpr std::uint32_t literal_number = UINT32_MAX - 1;

    void add(const Piece& piece);
    [[nodiscard]] Piece piece_of(const Strip& strip, std::uint32_t index) const;
    [[nodiscard]] bool lengthens_last(const Piece& piece);
    [[nodiscard]] std::uint32_t number_of(const Piece& piece);
    /// What only adding needs.
    void shrink();

    std::vector<Strip> strips_;
    std::vector<const File*> files_;                          // in the order of their first piece
    std::unordered_map<const File*, std::uint32_t> numbers_;  // of files_, once they are many
    std::uint32_t last_number_ = 0;
    std::string literals_;
    std::vector<const File*> origins_;
    std::uint64_t nbytes_ = 0;
    std::size_t count_ = 0;
};

/// The pieces of a list, in order, each made when it is looked at.
class Pieces {
 public:
    class Iterator {
     public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Piece;
        using difference_type = std::ptrdiff_t;
        using pointer = const Piece*;
        using reference = Piece;

        Iterator() = default;
        [[nodiscard]] Piece operator*() const { return list_->piece_of(list_->strips_[strip_], index_); }
        Iterator& operator++() {
            if (++index_ == list_->strips_[strip_].count) {
                index_ = 0;
                ++strip_;
            }
            return *this;
        }
        Iterator operator++(int) {
            Iterator before = *this;
            ++*this;
            return before;
        }
        bool operator==(const Iterator&) const = default;

        /// Where in the virtual file the piece begins and ends.
        [[nodiscard]] std::uint64_t begin_offset() const { return end_offset() - list_->strips_[strip_].length; }
        [[nodiscard]] std::uint64_t end_offset() const {
            const PieceList::Strip& strip = list_->strips_[strip_];
            return strip.end - (strip.count - 1 - index_) * strip.length;
        }

     private:
        friend class Pieces;
        Iterator(const PieceList* list, std::size_t strip, std::uint32_t index)
            : list_(list), strip_(strip), index_(index) {}

        const PieceList* list_ = nullptr;
        std::size_t strip_ = 0;
        std::uint32_t index_ = 0;
    };
    using value_type = Piece;
    using const_iterator = Iterator;
    using iterator = Iterator;

    explicit Pieces(const PieceList& list) : list_(&list) {}

    [[nodiscard]] Iterator begin() const { return {list_, 0, 0}; }
    [[nodiscard]] Iterator end() const { return {list_, list_->strips_.size(), 0}; }
    /// The piece that holds the byte at `offset` of the virtual file; end() behind the last one.
    [[nodiscard]] Iterator at(std::uint64_t offset) const;
    [[nodiscard]] std::size_t size() const { return list_->count_; }
    [[nodiscard]] bool empty() const { return size() == 0; }
    [[nodiscard]] Piece front() const { return *begin(); }

 private:
    const PieceList* list_;
};

inline Pieces PieceList::pieces() const& {
    return Pieces(*this);
}

/// A file that exists only as a list of pieces. Nothing is read before read() asks for it, and nothing is kept.
class VirtualFile final : public File {
 public:
    /// Checks every source piece against its file's size and the total against overflow; `internal` if one does not
    /// fit, `io` with ENOMEM where what all files of the process are made of may not take so much memory. `owner` keeps
    /// the files behind the pieces alive.
    static Result<std::shared_ptr<const VirtualFile>> create(std::string name, PieceList pieces,
                                                             std::shared_ptr<const void> owner);

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return list_.nbytes(); }
    [[nodiscard]] std::vector<std::string> source_names() const override;
    /// Each source file that the bytes come from is checked once, after all is read.
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override;
    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const override;
    /// False where the pieces are small: gathering them is faster.
    Result<bool> hand_over_unchecked(std::uint64_t offset, std::uint64_t nbytes, PageTarget& target,
                                     FilesRead& read) const override;
    Result<void> check() const override;
    void add_origins(std::vector<const File*>& out) const override;
    /// Of the piece there alone.
    Result<FileRun> run_at(std::uint64_t offset) const override;

    /// Of its only piece, where that is a whole file.
    [[nodiscard]] OpenDescriptor whole_file() const override;

    /// Where, behind `offset` and within `nbytes` from there, read() would begin to read from a source anew: ascending
    /// offsets in this file. What lies between two of them can be read at the same time as the rest.
    [[nodiscard]] std::vector<std::uint64_t> separate_reads(std::uint64_t offset, std::uint64_t nbytes) const;

    /// In order; together they are the whole file.
    [[nodiscard]] Pieces pieces() const { return list_.pieces(); }
    /// What this object holds in memory, in bytes, for a cache's budget.
    [[nodiscard]] std::uint64_t memory_nbytes() const;

 private:
    VirtualFile(std::string name, PieceList list, std::shared_ptr<const void> owner,
                std::shared_ptr<const MemoryReservation> memory);

    [[nodiscard]] Result<void> expect_within(std::uint64_t offset, std::uint64_t nbytes) const;

    std::string name_;
    PieceList list_;
    std::shared_ptr<const void> owner_;
    std::shared_ptr<const MemoryReservation> memory_;  // memory_nbytes()
};

}  // namespace ckptfs
