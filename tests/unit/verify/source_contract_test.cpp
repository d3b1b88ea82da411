// The contract of Source, held by the files of a view.
#include "support/source_contract.h"

#include "verify/view_source.h"

namespace ckptfs::verify {
namespace {

/// Any files as a view.
class PlainView final : public View {
 public:
    void add(const std::string& name, const std::string& bytes) {
        files_.push_back(std::make_shared<ckptfs::test::MemoryFile>(bytes, name));
    }

    [[nodiscard]] std::size_t file_count() const override { return files_.size(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override { return files_[index]->name(); }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view file_name) const override {
        for (std::size_t index = 0; index < files_.size(); ++index) {
            if (files_[index]->name() == file_name) {
                return index;
            }
        }
        return std::nullopt;
    }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override { return files_[index]->size(); }
    [[nodiscard]] FileInfo file_info(std::size_t index) const override {
        FileInfo info;
        info.type = FileType::regular;
        info.mode = 0444;
        info.stamp.inode = index + 1;
        return info;
    }
    [[nodiscard]] bool read_once(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        return std::shared_ptr<const File>(files_[index]);
    }

 private:
    std::vector<std::shared_ptr<ckptfs::test::MemoryFile>> files_;
};

class ViewTree final : public ckptfs::test::ContractTree {
 public:
    void add_file(const std::string& path, const std::string& bytes) override { view_->add(path, bytes); }
    std::shared_ptr<const Source> source() override {
        return std::make_shared<ViewSource>(view_, checkpoint_, "the view");
    }

 private:
    std::shared_ptr<PlainView> view_ = std::make_shared<PlainView>();
    zero::Checkpoint checkpoint_;
};

using ckptfs::test::SourceContract;
INSTANTIATE_TEST_SUITE_P(ViewSource, SourceContract,
                         ckptfs::test::contract_cases([] { return std::make_unique<ViewTree>(); }, {}),
                         ckptfs::test::contract_case_name);

}  // namespace
}  // namespace ckptfs::verify
