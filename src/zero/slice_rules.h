// How tensor-parallel ranks cut each parameter, as a checkpoint's universal_checkpoint_info says.
// DeepSpeed 0.19.8: checkpoint/ds_to_universal.py merge_tp_slices, checkpoint/affine.py, checkpoint/constants.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ckptfs/result.h"
#include "zero/fields.h"
#include "zero/name_patterns.h"

namespace ckptfs::zero {

/// Every rank holds the whole parameter.
struct ReplicatedSlices {};

/// Every rank holds its own values of the whole parameter, of which DeepSpeed takes the mean.
struct AveragedSlices {};

/// Side by side along an axis, in the order of the ranks.
struct ConcatenatedSlices {
    std::uint64_t axis = 0;
};

/// Two parameters in one, one after the other along axis 0: each rank's slice is a half of each.
struct HalvedSlices {};

/// Several parameters in one, one after the other along an axis of a view: each rank's slice holds a part of each.
struct SubParameterSlices {
    std::vector<std::int64_t> view;    ///< the extents of the whole; one may be -1; that of `axis` is not looked at
    std::uint64_t axis = 0;            ///< of the view
    std::vector<std::uint64_t> sizes;  ///< of the sub-parameters along the axis; empty: they are `count` equal ones
    std::uint64_t count = 0;
    /// By sub-parameter, then by rank; empty: equal ones.
    std::vector<std::vector<std::uint64_t>> widths;
};

/// A block of elements: where it lies in the whole parameter, and where in a rank's slice, both flat.
struct AffinePiece {
    std::vector<std::uint64_t> shape;
    std::uint64_t source_offset = 0;
    std::vector<std::uint64_t> source_strides;
    std::uint64_t slice_offset = 0;
    std::vector<std::uint64_t> slice_strides;
    double scale = 1;
};

struct AffineSlices {
    std::vector<std::uint64_t> shape;
    std::vector<std::vector<AffinePiece>> pieces;  ///< by rank
};

using SliceForm =
    std::variant<ReplicatedSlices, AveragedSlices, ConcatenatedSlices, HalvedSlices, SubParameterSlices, AffineSlices>;

struct SliceRule {
    SliceForm form;
    /// Of an embedding padded to a multiple: its rows without the padding.
    std::optional<std::uint64_t> vocabulary_size;
};

class SliceRules {
 public:
    /// `info`: universal_checkpoint_info of a model-states file. `degree`: of tensor parallelism. `unsupported` for
    /// newer versions and expressions that cannot be read, `damaged` for another form than DeepSpeed's.
    static Result<SliceRules> read(const Field& info, std::uint64_t degree);

    /// Parameters that nothing names are side by side along axis 0, as for ds_to_universal. `inconsistent` where two
    /// patterns of a kind match, `unsupported` where the checkpoint itself says that it cannot be made whole.
    Result<SliceRule> rule_of(const std::string& name) const;

    /// A pattern that none of `names` matches: then they are other names than those that the rules were written for.
    [[nodiscard]] Result<std::optional<std::string>> unmatched(const std::vector<std::string>& names) const;

 private:
    static Result<void> read_patterns(const Field& info, std::string_view key, NamePatterns& out);
    Result<void> read_sub_parameters(const Field& info);
    Result<void> read_affine_maps(const Field& info);
    Result<AffineSlices> read_affine_map(const Field& map) const;
    /// The number of the only pattern that matches.
    Result<std::optional<std::size_t>> match(const NamePatterns& patterns, const std::string& name) const;

    Place place_;
    std::uint64_t degree_ = 1;
    NamePatterns replicated_;
    NamePatterns averaged_;
    NamePatterns rows_;
    NamePatterns vocabulary_;
    NamePatterns halves_;
    NamePatterns sub_parameters_;
    NamePatterns affine_;
    NamePatterns refused_;
    std::vector<std::string> refusal_reasons_;    ///< by pattern of refused_
    std::vector<SubParameterSlices> sub_shapes_;  ///< by pattern of sub_parameters_
    std::vector<AffineSlices> affine_maps_;       ///< by pattern of affine_
    std::optional<std::uint64_t> vocabulary_size_;
};

}  // namespace ckptfs::zero
