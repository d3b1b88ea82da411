// The contract of Source, held by the files of a view.
#include "support/source_contract.h"

#include "unit/verify/plain_view.h"
#include "verify/view_source.h"

namespace ckptfs::verify {
namespace {

class ViewTree final : public ckptfs::test::ContractTree {
 public:
    void add_file(const std::string& path, const std::string& bytes) override {
        view_->add(std::make_shared<ckptfs::test::MemoryFile>(bytes, path));
    }
    std::shared_ptr<const Source> source() override {
        return std::make_shared<ViewSource>(view_, checkpoint_, "the view");
    }

 private:
    std::shared_ptr<PlainView> view_ = std::make_shared<PlainView>();
    zero::Written checkpoint_;
};

using ckptfs::test::SourceContract;
INSTANTIATE_TEST_SUITE_P(ViewSource, SourceContract,
                         ckptfs::test::contract_cases([] { return std::make_unique<ViewTree>(); }, {}),
                         ckptfs::test::contract_case_name);

}  // namespace
}  // namespace ckptfs::verify
