// Where two sides differ, and by how much.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckptfs/result.h"
#include "diff/numbers.h"
#include "diff/side.h"

namespace ckptfs::diff {

/// What a tensor is, apart from its elements.
struct Form {
    model::DType dtype = model::DType::float32;
    std::vector<std::uint64_t> shape;

    bool operator==(const Form&) const = default;
};

/// A tensor of a name that both sides have.
struct TensorDifference {
    std::string name;
    std::string kind;  ///< "weight", "master", or an optimizer state's name
    std::optional<Form> a;
    std::optional<Form> b;    ///< absent: this side has none of this kind
    std::uint64_t numel = 0;  ///< of a side; 0 where nothing could be compared
    Deviation elements;       ///< where the shapes are the same
};

/// Of all tensors of a kind that were compared.
struct KindSummary {
    std::string kind;
    std::uint64_t tensors = 0;
    std::uint64_t tensors_different = 0;
    std::uint64_t numel = 0;
    Deviation elements;
};

/// Something else that differs: a counter, a hyper-parameter, what is known of a name.
struct ValueDifference {
    std::string where;  ///< "group 0", the name of a tensor; empty for what belongs to the run
    std::string name;
    std::optional<model::Scalar> a;
    std::optional<model::Scalar> b;
};

struct Difference {
    std::vector<std::string> only_in_a;  ///< names
    std::vector<std::string> only_in_b;
    std::vector<TensorDifference> tensors;
    std::vector<ValueDifference> values;
    std::vector<KindSummary> kinds;
    std::vector<std::string> notes;  ///< sentences: what was not compared
    std::uint64_t names = 0;         ///< that both sides have
    std::uint64_t numbers = 0;       ///< counters and hyper-parameters that were compared
    std::uint64_t nbytes = 0;        ///< that were read of both sides

    [[nodiscard]] bool is_none() const {
        return only_in_a.empty() && only_in_b.empty() && tensors.empty() && values.empty();
    }
};

/// For whoever watches.
struct Work {
    std::atomic<std::uint64_t> nbytes{0};  ///< of both sides, compared
    std::atomic<std::uint64_t> total{0};
};

/// Elements that a thread holds of each side.
inline constexpr std::uint64_t block_numel = std::uint64_t{1} << 18U;

/// Reads every tensor that both sides have, once, a block at a time, by `threads` threads. A weight that one side does
/// not keep while it has the master (stage 3) is no difference, nor is a number that only one of two formats keeps;
/// `notes` says so. Fails where a side cannot be read.
Result<Difference> find_difference(const Side& a, const Side& b, std::size_t threads, Work& work);

}  // namespace ckptfs::diff
