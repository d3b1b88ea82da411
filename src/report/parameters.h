// Every parameter and buffer of a checkpoint, and where its bytes lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zero/written.h"

namespace ckptfs::report {

/// Bytes in a row.
struct PlacedRun {
    std::string file;          ///< a name in the tag directory; empty: zeros, which no file holds
    std::uint64_t offset = 0;  ///< in the file, in bytes
    std::uint64_t nbytes = 0;
};

/// What a checkpoint keeps of a parameter, element by element.
struct PlacedTensor {
    std::string kind;  ///< "weight", "master" (the fp32 one), or an optimizer state's name
    std::string dtype;
    std::uint64_t nbytes = 0;
    std::vector<PlacedRun> runs;  ///< in the order of the elements; together they are the tensor
};

struct PlacedParameter {
    std::string name;
    std::string model_rank;  ///< MM of the files that it is in
    std::string role;        ///< "trained", "frozen" or "buffer"; "parameter" where the checkpoint does not say
    std::optional<std::size_t> group;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;
    std::string dtype;              ///< that the engine computes with
    std::vector<std::string> tied;  ///< further names of it
    std::vector<PlacedTensor> tensors;
};

/// One after the other, since the runs of all of them may be many. Reads nothing.
void for_each_parameter(const zero::Written& checkpoint, const std::function<void(const PlacedParameter&)>& take);

/// Lines are no longer than `columns`, but where one name is. Of many runs the first are named.
[[nodiscard]] std::string as_text(const PlacedParameter& parameter, std::size_t columns);
/// In one line.
[[nodiscard]] std::string as_json(const PlacedParameter& parameter);

}  // namespace ckptfs::report
