// Each form of a rule as rows and parts.
#include "zero/slice_plan.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

#include "util/checked.h"

namespace ckptfs::zero {
namespace {

using Shape = std::vector<std::uint64_t>;

/// Far above what models fuse, and little to allocate for a number in a file.
constexpr std::uint64_t max_sub_parameters = 65'536;

std::optional<std::uint64_t> product(std::span<const std::uint64_t> extents) {
    std::uint64_t result = 1;
    for (const std::uint64_t extent : extents) {
        const auto next = checked_multiply(result, extent);
        if (!next) {
            return std::nullopt;
        }
        result = *next;
    }
    return result;
}

/// A piece as rows of one run each, on both sides.
struct Runs {
    std::uint64_t rows = 1;
    std::uint64_t width = 1;
    std::uint64_t source_row = 0;  ///< from one row to the next
    std::uint64_t slice_row = 0;
};

// nullopt where the elements do not lie in rows of one run on both sides.
std::optional<Runs> runs_of(const AffinePiece& piece) {
    Runs runs;
    std::size_t axis = piece.shape.size();
    while (axis > 0 && (piece.shape[axis - 1] == 1 || (piece.source_strides[axis - 1] == runs.width &&
                                                       piece.slice_strides[axis - 1] == runs.width))) {
        runs.width *= piece.shape[--axis];
    }
    while (axis > 0) {
        --axis;
        if (piece.shape[axis] == 1) {
            continue;
        }
        if (runs.rows == 1) {
            runs.source_row = piece.source_strides[axis];
            runs.slice_row = piece.slice_strides[axis];
        } else if (piece.source_strides[axis] != runs.rows * runs.source_row ||
                   piece.slice_strides[axis] != runs.rows * runs.slice_row) {
            return std::nullopt;
        }
        runs.rows *= piece.shape[axis];
    }
    return runs;
}

class Planner {
 public:
    Planner(const std::string& name, std::span<const Shape> shapes) : name_(name), shapes_(shapes) {}

    Result<SlicePlan> plan(const SliceRule& rule) {
        CKPTFS_TRY(count_elements());
        CKPTFS_TRY(std::visit([this](const auto& form) { return add(form); }, rule.form));
        if (rule.vocabulary_size) {
            CKPTFS_TRY(strip_vocabulary(*rule.vocabulary_size));
        }
        const auto numel = product(plan_.shape);
        if (!numel) {
            return mismatch("more elements than 64 bits count");
        }
        plan_.numel = *numel;
        if (plan_.numel == 0) {
            plan_.rows = 1;
            plan_.parts.clear();
        }
        return std::move(plan_);
    }

    Result<std::vector<std::uint64_t>> sizes(const SubParameterSlices& form) {
        CKPTFS_TRY(count_elements());
        return sizes_of(form);
    }

 private:
    Result<void> count_elements() {
        if (shapes_.empty()) {
            return mismatch("no rank holds it");
        }
        for (const Shape& shape : shapes_) {
            const auto numel = product(shape);
            const auto total = numel ? checked_add(total_numel_, *numel) : std::nullopt;
            if (!total) {
                return mismatch("more elements than 64 bits count");
            }
            numels_.push_back(*numel);
            total_numel_ = *total;
        }
        return {};
    }

    [[nodiscard]] Error mismatch(const std::string& finding) const {
        return {ErrorCode::inconsistent,
                "universal_checkpoint_info does not explain how tensor-parallel ranks cut " + name_ + ": " + finding};
    }

    [[nodiscard]] Error cannot(const std::string& finding) const {
        return {ErrorCode::unsupported, "the tensor-parallel slices of " + name_ + " cannot be joined: " + finding};
    }

    // The shape with the slices' extents along `axis` added up; they must agree in all others.
    Result<Shape> joined_shape(std::size_t axis) const {
        Shape shape = shapes_.front();
        if (axis >= shape.size()) {
            return mismatch("it has " + std::to_string(shape.size()) + " dimensions, and is cut along axis " +
                            std::to_string(axis));
        }
        for (const Shape& other : shapes_.subspan(1)) {
            Shape expected = other;
            if (other.size() == shape.size()) {
                expected[axis] = shape[axis];
            }
            if (expected != shape) {
                return mismatch("its slices differ in more than axis " + std::to_string(axis));
            }
            const auto sum = checked_add(shape[axis], other[axis]);
            if (!sum) {
                return mismatch("a longer axis than 64 bits count");
            }
            shape[axis] = *sum;
        }
        return shape;
    }

    Result<void> add(const ReplicatedSlices& /*form*/) {
        for (const Shape& shape : shapes_) {
            if (shape != shapes_.front()) {
                return mismatch("it is said to be whole on every rank, but ranks have different shapes");
            }
        }
        plan_.shape = shapes_.front();
        plan_.parts.push_back({0, 0, numels_.front()});
        return {};
    }

    Result<void> add(const AveragedSlices& /*form*/) const {
        return cannot(
            "the whole is the mean of what the ranks hold (parameter_to_average_patterns), and no file has "
            "its bytes; convert the checkpoint with ds_to_universal");
    }

    Result<void> add(const ConcatenatedSlices& form) {
        CKPTFS_ASSIGN(plan_.shape, joined_shape(form.axis));
        plan_.rows = *product(std::span(plan_.shape).first(form.axis));
        for (std::size_t rank = 0; rank < shapes_.size(); ++rank) {
            plan_.parts.push_back({rank, 0, row_numel(rank)});
        }
        return {};
    }

    Result<void> add(const HalvedSlices& /*form*/) {
        CKPTFS_ASSIGN(plan_.shape, joined_shape(0));
        for (const bool second : {false, true}) {
            for (std::size_t rank = 0; rank < shapes_.size(); ++rank) {
                const std::uint64_t extent = shapes_[rank][0];
                const std::uint64_t inner = extent == 0 ? 0 : numels_[rank] / extent;
                const std::uint64_t first_half = ceil_divide(extent, std::uint64_t{2});  // as torch.chunk
                plan_.parts.push_back(
                    {rank, second ? first_half * inner : 0, (second ? extent - first_half : first_half) * inner});
            }
        }
        return {};
    }

    Result<void> add(const SubParameterSlices& form) {
        if (form.axis >= form.view.size()) {
            return mismatch("its sub-parameters lie along an axis that their view does not have");
        }
        CKPTFS_ASSIGN(const std::vector<Shape> widths, widths_of(form));
        // Rows and inner extents of the view; the extent that is -1 is what the others leave.
        std::optional<std::size_t> open;
        std::uint64_t along = 0;
        for (const Shape& of_ranks : widths) {
            for (const std::uint64_t width : of_ranks) {
                if (width > total_numel_ - along) {
                    return mismatch("its sub-parameters are wider than its slices");
                }
                along += width;
            }
        }
        Shape view;
        for (std::size_t i = 0; i < form.view.size(); ++i) {
            const bool is_axis = i == form.axis;
            if (form.view[i] < 0 && !is_axis) {
                if (open) {
                    return mismatch("the view of its sub-parameters has two open extents");
                }
                open = i;
            }
            view.push_back(is_axis ? along : (form.view[i] < 0 ? 1 : static_cast<std::uint64_t>(form.view[i])));
        }
        const auto known = product(view);
        if (!known || *known == 0 || (open ? total_numel_ % *known != 0 : total_numel_ != *known)) {
            return mismatch("its sub-parameters do not have as many elements as its slices");
        }
        if (open) {
            view[*open] = total_numel_ / *known;
        }
        plan_.rows = *product(std::span(view).first(form.axis));
        const std::uint64_t inner = *product(std::span(view).subspan(form.axis + 1));
        std::vector<std::uint64_t> offsets(shapes_.size(), 0);
        for (const Shape& of_ranks : widths) {
            for (std::size_t rank = 0; rank < shapes_.size(); ++rank) {
                plan_.parts.push_back({rank, offsets[rank] * inner, of_ranks[rank] * inner});
                offsets[rank] += of_ranks[rank];
            }
        }
        for (std::size_t rank = 0; rank < shapes_.size(); ++rank) {
            if (offsets[rank] * inner * plan_.rows != numels_[rank]) {
                return mismatch("its sub-parameters do not have as many elements as the slice of rank " +
                                std::to_string(rank));
            }
        }
        plan_.shape = shape_of_view(view);
        return {};
    }

    [[nodiscard]] Result<std::vector<std::uint64_t>> sizes_of(const SubParameterSlices& form) const {
        if (!form.sizes.empty()) {
            return form.sizes;
        }
        std::uint64_t along = 0;
        for (const Shape& shape : shapes_) {
            if (form.axis >= shape.size()) {
                return mismatch("its sub-parameters lie along an axis that it does not have");
            }
            const auto sum = checked_add(along, shape[form.axis]);
            if (!sum) {
                return mismatch("a longer axis than 64 bits count");
            }
            along = *sum;
        }
        if (form.count == 0 || form.count > along || along % form.count != 0) {
            return mismatch("its extent of " + std::to_string(along) + " is not " + std::to_string(form.count) +
                            " equal sub-parameters");
        }
        // An axis may be longer than all elements are many, where another one is empty.
        if (form.count > std::min(total_numel_, max_sub_parameters)) {
            return mismatch("it has " + std::to_string(total_numel_) + " elements in " + std::to_string(form.count) +
                            " sub-parameters, and at most " + std::to_string(max_sub_parameters) +
                            " of one element or more are accepted");
        }
        return std::vector<std::uint64_t>(form.count, along / form.count);
    }

    // By sub-parameter, then by rank.
    [[nodiscard]] Result<std::vector<Shape>> widths_of(const SubParameterSlices& form) const {
        const std::size_t degree = shapes_.size();
        CKPTFS_ASSIGN(const std::vector<std::uint64_t> sizes, sizes_of(form));
        if (!form.widths.empty()) {
            if (form.widths.size() != sizes.size()) {
                return mismatch("it has widths of other sub-parameters than sizes");
            }
            for (const Shape& of_ranks : form.widths) {
                if (of_ranks.size() != degree) {
                    return mismatch("a sub-parameter has widths for " + std::to_string(of_ranks.size()) +
                                    " ranks, and " + std::to_string(degree) + " hold it");
                }
            }
            return form.widths;
        }
        std::vector<Shape> widths;
        for (const std::uint64_t size : sizes) {
            if (size % degree != 0) {
                return mismatch("a sub-parameter of " + std::to_string(size) + " is not cut evenly over " +
                                std::to_string(degree) + " ranks, and no widths are recorded");
            }
            widths.emplace_back(degree, size / degree);
        }
        return widths;
    }

    // The parameter's own shape where it was cut along one of its axes, else the view's.
    [[nodiscard]] Shape shape_of_view(const Shape& view) const {
        for (std::size_t axis = 0; axis < shapes_.front().size(); ++axis) {
            const auto shape = joined_shape(axis);
            if (shape.ok() && *product(std::span(*shape).first(axis)) == plan_.rows &&
                product(*shape) == total_numel_) {
                return *shape;
            }
        }
        return view;
    }

    Result<void> add(const AffineSlices& form) {
        if (form.pieces.size() != shapes_.size()) {
            return mismatch("its affine map is of " + std::to_string(form.pieces.size()) + " ranks, and " +
                            std::to_string(shapes_.size()) + " hold it");
        }
        const auto numel = product(form.shape);
        if (!numel) {
            return mismatch("more elements than 64 bits count");
        }
        struct PlacedPart {
            std::uint64_t source = 0;
            SlicePart part;
        };
        std::vector<PlacedPart> placed;
        std::optional<std::uint64_t> rows;
        for (std::size_t rank = 0; rank < form.pieces.size(); ++rank) {
            for (const AffinePiece& piece : form.pieces[rank]) {
                const auto piece_numel = product(piece.shape);
                if (!piece_numel || *piece_numel > numels_[rank]) {
                    return mismatch("a piece of its affine map is larger than the slice of rank " +
                                    std::to_string(rank));
                }
                if (*piece_numel == 0) {
                    continue;
                }
                if (piece.scale != 1) {
                    return cannot("its affine map scales it by " + std::to_string(piece.scale) +
                                  "; convert the checkpoint with ds_to_universal");
                }
                const std::optional<Runs> runs = runs_of(piece);
                if (!runs || (rows && *rows != runs->rows)) {
                    return cannot(
                        "its affine map does not cut it along one axis; convert the checkpoint with "
                        "ds_to_universal");
                }
                rows = runs->rows;
                // Rows are equally far apart in the whole and in the slice, and all of them are in the piece.
                const bool is_whole = runs->rows == 1 || (runs->source_row == *numel / runs->rows &&
                                                          runs->slice_row == numels_[rank] / runs->rows &&
                                                          numels_[rank] % runs->rows == 0);
                if (!is_whole || *numel % runs->rows != 0 ||
                    !within(piece.source_offset, runs->width, *numel / runs->rows) ||
                    !within(piece.slice_offset, runs->width, numels_[rank] / runs->rows)) {
                    return cannot(
                        "its affine map does not cut it along one axis; convert the checkpoint with "
                        "ds_to_universal");
                }
                placed.push_back({piece.source_offset, {rank, piece.slice_offset, runs->width}});
            }
        }
        std::stable_sort(placed.begin(), placed.end(),
                         [](const PlacedPart& a, const PlacedPart& b) { return a.source < b.source; });
        plan_.shape = form.shape;
        plan_.rows = rows.value_or(1);
        std::uint64_t end = 0;
        std::uint64_t begin = 0;
        for (const PlacedPart& at : placed) {
            const bool is_replica =
                !plan_.parts.empty() && at.source == begin && at.part.width_numel == plan_.parts.back().width_numel;
            if (is_replica) {
                continue;  // of the first rank that has it
            }
            if (at.source != end) {
                return mismatch("the pieces of its affine map leave a gap or overlap");
            }
            begin = at.source;
            end += at.part.width_numel;
            plan_.parts.push_back(at.part);
        }
        if (end * plan_.rows != *numel) {
            return mismatch("the pieces of its affine map do not cover it");
        }
        return {};
    }

    [[nodiscard]] static bool within(std::uint64_t first, std::uint64_t width, std::uint64_t extent) {
        return first <= extent && width <= extent - first;
    }

    // Padding rows of an embedding come last.
    Result<void> strip_vocabulary(std::uint64_t rows) {
        if (plan_.shape.empty() || plan_.rows != 1 || plan_.shape[0] < rows) {
            return mismatch("a vocabulary of " + std::to_string(rows) + " rows");
        }
        plan_.shape[0] = rows;
        std::uint64_t left = *product(plan_.shape);
        std::vector<SlicePart> parts;
        for (SlicePart part : plan_.parts) {
            part.width_numel = std::min(part.width_numel, left);
            left -= part.width_numel;
            if (part.width_numel > 0) {
                parts.push_back(part);
            }
        }
        plan_.parts = std::move(parts);
        return {};
    }

    [[nodiscard]] std::uint64_t row_numel(std::size_t rank) const {
        return plan_.rows == 0 ? 0 : numels_[rank] / plan_.rows;
    }

    const std::string& name_;
    std::span<const Shape> shapes_;
    std::vector<std::uint64_t> numels_;
    std::uint64_t total_numel_ = 0;
    SlicePlan plan_;
};

}  // namespace

model::Elements SlicePlan::apply(std::span<const model::Elements> slices) const {
    std::vector<model::Elements> narrowed;
    for (const SlicePart& part : parts) {
        narrowed.push_back(model::narrow(slices[part.rank], rows, part.first_numel, part.width_numel));
    }
    if (narrowed.empty()) {
        return {slices.front().dtype(), 0, model::Zeros{}};
    }
    return narrowed.size() == 1 ? std::move(narrowed.front()) : model::join(std::move(narrowed), rows);
}

Result<SlicePlan> plan_slices(const std::string& name, const SliceRule& rule,
                              std::span<const std::vector<std::uint64_t>> shapes) {
    return Planner(name, shapes).plan(rule);
}

Result<std::vector<std::uint64_t>> sub_parameter_sizes(const std::string& name, const SubParameterSlices& form,
                                                       std::span<const std::vector<std::uint64_t>> shapes) {
    return Planner(name, shapes).sizes(form);
}

}  // namespace ckptfs::zero
