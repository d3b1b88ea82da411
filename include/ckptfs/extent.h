// What a virtual file is made of: pieces of source files, zeros and literal bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
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

/// Collects pieces in order. Drops empty ones and joins neighbours that continue each other.
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
    [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
    [[nodiscard]] const std::string& literals() const { return literals_; }

 private:
    friend class VirtualFile;
    void add(const Piece& piece);

    std::vector<Piece> pieces_;
    std::string literals_;
    std::vector<const File*> origins_;
    std::uint64_t nbytes_ = 0;
};

/// A file that exists only as a list of pieces. Nothing is read before read() asks for it, and nothing is kept.
class VirtualFile final : public File {
 public:
    /// Checks every source piece against its file's size and the total against overflow; `internal` if one does not
    /// fit. `owner` keeps the files behind the pieces alive.
    static Result<std::shared_ptr<const VirtualFile>> create(std::string name, PieceList pieces,
                                                             std::shared_ptr<const void> owner);

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::uint64_t size() const override { return ends_.empty() ? 0 : ends_.back(); }
    [[nodiscard]] std::vector<std::string> source_names() const override;
    /// Each source file that the bytes come from is checked once, after all is read.
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override;
    Result<void> read_unchecked(std::uint64_t offset, std::span<std::byte> out, FilesRead& read) const override;
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
    [[nodiscard]] const std::vector<Piece>& pieces() const { return list_.pieces(); }
    /// What this object holds in memory, in bytes, for a cache's budget.
    [[nodiscard]] std::uint64_t memory_nbytes() const;

 private:
    VirtualFile(std::string name, PieceList list, std::vector<std::uint64_t> ends, std::shared_ptr<const void> owner);

    std::string name_;
    PieceList list_;
    std::vector<std::uint64_t> ends_;  // ends_[i]: offset in this file just after piece i
    std::shared_ptr<const void> owner_;
};

}  // namespace ckptfs
