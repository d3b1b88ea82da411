// The world-size view as a kind, and what its options mean for a checkpoint.
#include "view/world_size_kind.h"

#include <string>
#include <utility>
#include <vector>

#include "view/world_size_view.h"
#include "view/zero12_files.h"
#include "view/zero3_files.h"
#include "zero/refusal.h"

namespace ckptfs::view {
namespace {

Result<std::shared_ptr<const View>> make_world_size_view(std::shared_ptr<const zero::Written> checkpoint,
                                                         std::uint64_t world_size, const ViewOptions& options,
                                                         std::shared_ptr<FileCache> cache) {
    if (world_size == 0 || world_size > max_world_size) {
        return Error(ErrorCode::invalid_argument, "a world size of " + std::to_string(world_size) +
                                                      " is not possible; give one from 1 to " +
                                                      std::to_string(max_world_size));
    }
    CKPTFS_ASSIGN(const std::uint64_t dp_world_size, dp_world_size_at(*checkpoint, world_size, options));
    std::unique_ptr<const Recut> recut;
    if (checkpoint->format == zero::Format::zero3) {
        CKPTFS_ASSIGN(recut, zero3_recut(checkpoint, dp_world_size, target_sub_group_size(options)));
    } else if (checkpoint->format != zero::Format::stage0) {
        CKPTFS_ASSIGN(recut, zero12_recut(checkpoint, dp_world_size, options.target));
    }
    // Where nothing is re-cut, each rank has its own.
    if (recut && !recut->same_as_source() && !checkpoint->rank_values.empty() && !checkpoint->rank_values_of) {
        return zero::refuse(zero::Refusal::rank_values, checkpoint->rank_values.front().path,
                            zero::rank_values_text(checkpoint->rank_values));
    }
    return std::shared_ptr<const View>(
        std::make_shared<WorldSizeView>(std::move(checkpoint), dp_world_size, std::move(recut), std::move(cache)));
}

class WorldSizeKind final : public Kind {
 public:
    [[nodiscard]] Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                           const ViewRequest& request) const override {
        ViewOptions options = ingredients.options;
        options.counts_data_parallel = options.counts_data_parallel || request.counts_data_parallel;
        return make_world_size_view(ingredients.checkpoint, request.world_size, options, ingredients.cache);
    }
    [[nodiscard]] Placement placement(const ViewRequest& /*request*/) const override { return {.in_tag = true}; }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& /*request*/,
                                                            const ViewOptions& /*options*/) const override {
        return {};
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions(const Ingredients& ingredients) const override {
        return {ViewRequest::at_world_size(ingredients.checkpoint->world_size())};
    }
};

}  // namespace

const Kind& world_size_kind() {
    static const WorldSizeKind kind;
    return kind;
}

std::optional<std::uint64_t> target_sub_group_size(const ViewOptions& options) {
    if (options.sub_group_size || !options.target) {
        return options.sub_group_size;
    }
    return options.target->sub_group_size;
}

Result<std::uint64_t> dp_world_size_at(const zero::Written& checkpoint, std::uint64_t world_size,
                                       const ViewOptions& options) {
    const std::uint64_t degree = checkpoint.degree();
    if (options.counts_data_parallel) {
        return world_size;
    }
    if (world_size % degree != 0) {
        const std::string ranks = checkpoint.sequence_parallel > 1
                                      ? " model- and sequence-parallel ranks to each data-parallel one"
                                      : " model-parallel ranks";
        return Error(ErrorCode::invalid_argument,
                     "a world size of " + std::to_string(world_size) + " does not fit a checkpoint of " +
                         std::to_string(degree) + ranks + ", whose degree must divide it; give a multiple of " +
                         std::to_string(degree) + ", or the data-parallel size with --dp-size");
    }
    return world_size / degree;
}

Result<std::shared_ptr<const View>> world_size_view(std::shared_ptr<const zero::Written> checkpoint,
                                                    std::uint64_t world_size, const ViewOptions& options) {
    return make_world_size_view(std::move(checkpoint), world_size, options, std::make_shared<FileCache>());
}

}  // namespace ckptfs::view
