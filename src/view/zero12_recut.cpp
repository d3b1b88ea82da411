// The ZeRO-1/2 files of every family, for WorldSizeView.
#include <utility>

#include "view/zero12_files.h"

namespace ckptfs::view {
namespace {

class Zero12Recut final : public Recut {
 public:
    Zero12Recut(std::shared_ptr<const zero::Written> checkpoint, TargetLayout target)
        : checkpoint_(std::move(checkpoint)), target_(std::move(target)) {}

    [[nodiscard]] bool same_as_source() const override { return target_.same_as_source; }
    [[nodiscard]] std::uint64_t model_states_count() const override { return 1; }
    [[nodiscard]] std::uint64_t sized_like(std::size_t /*family*/, bool /*optimizer*/,
                                           std::uint64_t rank) const override {
        return rank;  // lean tensors, paddings and slice mappings differ from rank to rank
    }
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> model_states(std::size_t family, std::uint64_t /*rank*/,
                                                                          const std::string& name) const override {
        return recut_model_states_file(checkpoint_, target_, family, name);
    }
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> optimizer(std::size_t family, std::uint64_t rank,
                                                                       const std::string& name) const override {
        return recut_optimizer_file(checkpoint_, target_, family, rank, name);
    }

 private:
    std::shared_ptr<const zero::Written> checkpoint_;
    TargetLayout target_;
};

}  // namespace

Result<std::unique_ptr<const Recut>> zero12_recut(std::shared_ptr<const zero::Written> checkpoint,
                                                  std::uint64_t dp_world_size,
                                                  const std::optional<zero::LayoutConfig>& target) {
    CKPTFS_ASSIGN(TargetLayout layout, target_layout(*checkpoint, dp_world_size, target));
    return std::unique_ptr<const Recut>(std::make_unique<Zero12Recut>(std::move(checkpoint), std::move(layout)));
}

}  // namespace ckptfs::view
