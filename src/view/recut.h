// What a source layout must offer so that a WorldSizeView can show it at another world size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"

namespace ckptfs::view {

/// Builds the files of one checkpoint under one target layout. Immutable, safe for concurrent use.
class Recut {
 public:
    Recut() = default;
    Recut(const Recut&) = delete;
    Recut& operator=(const Recut&) = delete;
    virtual ~Recut() = default;

    /// Everything is cut as it was: the source's files can pass through.
    [[nodiscard]] virtual bool same_as_source() const = 0;
    /// How many model-states files a family has: 1, or one for each data-parallel rank.
    [[nodiscard]] virtual std::uint64_t model_states_count() const = 0;
    /// `family`: index of the model-parallel rank; `rank`: below model_states_count().
    [[nodiscard]] virtual Result<std::shared_ptr<const VirtualFile>> model_states(std::size_t family,
                                                                                  std::uint64_t rank,
                                                                                  const std::string& name) const = 0;
    /// A rank, none greater than `rank`, whose file of this kind is known to have the same size: so that sizes of many
    /// files cost the building of few.
    [[nodiscard]] virtual std::uint64_t sized_like(std::size_t family, bool optimizer, std::uint64_t rank) const = 0;
    /// `rank`: data-parallel, of the target.
    [[nodiscard]] virtual Result<std::shared_ptr<const VirtualFile>> optimizer(std::size_t family, std::uint64_t rank,
                                                                               const std::string& name) const = 0;
};

}  // namespace ckptfs::view
