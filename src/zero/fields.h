// Reads typed fields of a pickled tree; what is missing or of another kind is an error that names file and field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "pt/pickle.h"

namespace ckptfs::zero {

/// Where a value was looked for: the file, and the path inside its tree.
struct Place {
    std::string file;
    std::string field;

    [[nodiscard]] Place in(std::string_view key) const;
    [[nodiscard]] Place in(std::size_t index) const;
    /// "FILE: FIELD: expected …"
    [[nodiscard]] Error damaged(std::string_view expectation) const;
    [[nodiscard]] Error inconsistent(std::string_view finding) const;
};

/// A value together with where it was found, so that errors further down can say so.
struct Field {
    const pickle::Node* node = nullptr;
    Place place;

    /// The value at a key of a dict-like value.
    Result<Field> at(std::string_view key) const;
    Result<Field> at(std::int64_t key) const;
    Result<std::uint64_t> as_count() const;
    /// The elements of a list or tuple.
    Result<std::vector<Field>> as_list() const;
    Result<void> expect_dict() const;
    /// The extents of a torch.Size, tuple or list.
    Result<std::vector<std::uint64_t>> as_shape() const;
};

}  // namespace ckptfs::zero
