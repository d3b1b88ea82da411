// What one side of a comparison holds, whatever it was read from: tensors by name, and the numbers beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ckptfs/extent.h"
#include "ckptfs/result.h"
#include "ckptfs/view.h"
#include "model/checkpoint.h"
#include "zero/written.h"

namespace ckptfs::diff {

/// The elements of a tensor, from one file or many. The side that it is of keeps the files.
struct Tensor {
    model::DType dtype = model::DType::float32;
    std::vector<std::uint64_t> shape;
    std::uint64_t numel = 0;
    /// Appends the pieces of elements [from_numel, from_numel + count_numel).
    std::function<void(std::uint64_t from_numel, std::uint64_t count_numel, PieceList& out)> append;
};

/// All that belongs to one name.
struct Entry {
    std::string name;
    std::string role;                          ///< "trained", "frozen", "buffer"; empty where nothing says it
    std::optional<std::size_t> group;          ///< the parameter group's number
    std::optional<model::DType> engine_dtype;  ///< of a parameter: that the engine computes with
    /// "weight", "master" (the fp32 one) and the optimizer's states by their own names.
    std::map<std::string, Tensor> tensors;
};

/// A counter or a hyper-parameter.
struct Number {
    std::string where;  ///< "group 0", "lr_scheduler"; empty for what belongs to the run
    std::string name;
    model::Scalar value;
};

struct Side {
    std::string display;  ///< the tag, for messages
    std::string facts;    ///< "stage 2 (ZeRO-1/2), 4 ranks"
    std::string format;   ///< sides of the same format keep the same numbers
    std::optional<std::int64_t> global_step;
    std::vector<Entry> entries;
    std::unordered_map<std::string, std::size_t> index;  ///< of entries, by name
    std::vector<std::pair<std::string, std::string>> tied;
    std::vector<Number> numbers;
    std::vector<std::string> not_held;  ///< sentences: what the files hold and this does not
    std::vector<std::shared_ptr<const void>> keepers;
};

/// Of a checkpoint. `joined`: model-parallel ranks as one model, as the checkpoint says; otherwise each rank's part
/// stands by itself, "mp_rank_00/" before its names. Reads the few numbers that files keep in tensors.
Result<Side> side_of(std::shared_ptr<const zero::Written> checkpoint, std::string display, bool joined);

/// Of a view that is no re-cut: the tensors that its files hold, under the names that they have there. Reads metadata.
Result<Side> side_of(const std::shared_ptr<const View>& view, const ViewRequest& request, std::string display);

}  // namespace ckptfs::diff
