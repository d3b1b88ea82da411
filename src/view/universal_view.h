// DeepSpeed's universal checkpoint as a view: what ds_to_universal --inject_missing_state would leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "ckptfs/view.h"
#include "pt/archive_builder.h"
#include "view/file_cache.h"
#include "view/universal_content.h"
#include "zero/written.h"

namespace ckptfs::view {

/// Its files: the model states as they are, zero/optimizer_state.pt, and of every parameter zero/<name>/<state>.pt,
/// each a .pt that is built when it is opened. Sizes are computed from extents, once for all files of equal extents.
class UniversalView final : public View {
 public:
    /// Errors as universal_content(); `damaged` for an optimizer file whose fields are no dicts.
    static Result<std::shared_ptr<const View>> create(std::shared_ptr<const zero::Written> checkpoint,
                                                      std::shared_ptr<FileCache> cache);
    ~UniversalView() override;

    [[nodiscard]] std::size_t file_count() const override { return files_.size(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override;
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const override;
    [[nodiscard]] const ViewDirectories* directories() const override { return &*directories_; }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override;
    [[nodiscard]] FileInfo file_info(std::size_t index) const override;
    [[nodiscard]] bool read_once(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override;

 private:
    enum class Role : std::uint8_t { model_states, optimizer_state, state, step, module_tensor };
    /// `item`: of a model-states file its place in sources_, of a state or step its parameter, of a tensor of the
    /// module that one.
    struct Entry {
        Role role = Role::state;
        std::uint32_t item = 0;
        std::uint32_t state = 0;
    };
    /// A file that is shown as it is.
    struct SourceFile {
        std::string name;
        std::shared_ptr<const File> file;
        FileInfo info;
    };
    /// The optimizer file of a family's first rank, and the step of each group there; nullptr: it counts none.
    struct Steps {
        std::shared_ptr<const pt::Archive> archive;
        std::vector<const pickle::Node*> by_group;
    };

    UniversalView(std::shared_ptr<const zero::Written> checkpoint, UniversalContent content,
                  std::shared_ptr<FileCache> cache);
    Result<void> read_optimizer_files();
    void list_files();

    /// `with_data` false: of the same size, but with zeros for data.
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> build(const Entry& entry, bool with_data) const;
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> build_optimizer_state() const;
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> build_state(const Entry& entry, bool with_data) const;
    [[nodiscard]] Result<std::shared_ptr<const VirtualFile>> build_module_tensor(const Entry& entry,
                                                                                 bool with_data) const;
    [[nodiscard]] Result<const pickle::Node*> sub_parameter_shape(pt::ArchiveBuilder& builder,
                                                                  const UniversalForm& form) const;
    /// What the size of a file hangs on.
    struct SizeClass {
        Role role = Role::optimizer_state;
        std::string parameter;  ///< only where an object of its own stands beside the tensor
        std::string state;
        model::DType dtype = model::DType::float32;
        std::vector<std::uint64_t> shape;
        std::optional<std::int64_t> cat_dim;
        std::optional<std::int64_t> sub_parameters;
        bool is_vocabulary = false;
        std::size_t family = 0;  ///< of a step
        std::size_t group = 0;
        bool operator<(const SizeClass& other) const {
            return std::tie(role, parameter, state, dtype, shape, cat_dim, sub_parameters, is_vocabulary, family,
                            group) < std::tie(other.role, other.parameter, other.state, other.dtype, other.shape,
                                              other.cat_dim, other.sub_parameters, other.is_vocabulary, other.family,
                                              other.group);
        }
    };
    [[nodiscard]] SizeClass size_class(const Entry& entry) const;

    std::shared_ptr<const zero::Written> checkpoint_;
    UniversalContent content_;
    std::vector<Steps> steps_;  // by family
    std::vector<SourceFile> sources_;
    std::vector<Entry> files_;
    std::optional<ViewDirectories> directories_;
    FileInfo info_;
    mutable std::mutex mutex_;
    mutable std::map<SizeClass, std::uint64_t> sizes_;
    std::shared_ptr<FileCache> cache_;
};

}  // namespace ckptfs::view
