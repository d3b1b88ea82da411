// The view of a ZeRO checkpoint at another world size: names, times and sizes of its files; a Recut builds them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ckptfs/view.h"
#include "util/permissions.h"
#include "view/file_cache.h"
#include "view/recut.h"
#include "zero/written.h"

namespace ckptfs::view {

/// Sizes that were computed once, 8 bytes each, in blocks that exist where somebody asked.
class SizeTable {
 public:
    /// 0: not known.
    [[nodiscard]] std::uint64_t find(std::size_t index) const;
    void set(std::size_t index, std::uint64_t size);

 private:
    static constexpr std::size_t block_count = 256;
    mutable std::mutex mutex_;
    std::unordered_map<std::size_t, std::vector<std::uint64_t>> blocks_;
};

/// Family by family: first its model states, then its optimizer files by data-parallel rank.
class WorldSizeView final : public View {
 public:
    /// `recut` may be nullptr for a checkpoint of which nothing depends on the world size.
    WorldSizeView(std::shared_ptr<const zero::Written> checkpoint, std::uint64_t dp_world_size,
                  std::unique_ptr<const Recut> recut, std::shared_ptr<FileCache> cache);
    ~WorldSizeView() override;

    [[nodiscard]] std::size_t file_count() const override;
    [[nodiscard]] std::string file_name(std::size_t index) const override;
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const override;
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override;
    [[nodiscard]] FileInfo file_info(std::size_t index) const override;
    [[nodiscard]] bool read_once(std::size_t index) const override;
    [[nodiscard]] bool is_as_saved() const override { return pass_through_; }
    /// One for each role of each family.
    [[nodiscard]] std::optional<std::size_t> file_set(std::string_view name) const override;
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override;

 private:
    /// What file an index stands for.
    struct Place {
        std::size_t family = 0;
        bool optimizer = false;
        std::uint64_t rank = 0;
    };
    [[nodiscard]] Place place(std::size_t index) const;
    [[nodiscard]] std::size_t index_of(const Place& place) const;
    [[nodiscard]] std::size_t files_per_family() const { return model_states_count_ + optimizer_count_; }
    [[nodiscard]] const zero::Family& family(const Place& place) const;
    /// The index of the family whose files are named with this model-parallel rank.
    [[nodiscard]] std::optional<std::size_t> find_family(std::string_view model_rank) const;

    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> build(const Place& place, const std::string& name) const;

    std::shared_ptr<const zero::Written> checkpoint_;
    std::unique_ptr<const Recut> recut_;
    std::uint64_t model_states_count_;
    std::uint64_t optimizer_count_;
    bool pass_through_;
    FileInfo newest_;
    /// What all files of a kind grant in common: the bytes of a file of the view may come from each of them.
    struct FamilyPermissions {
        Permissions model_states;
        Permissions optimizer;
    };
    std::vector<FamilyPermissions> permissions_;  ///< by family
    mutable SizeTable sizes_;
    std::shared_ptr<FileCache> cache_;
};

}  // namespace ckptfs::view
