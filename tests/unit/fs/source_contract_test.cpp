// The contract of Source, held by the source whose faults and generations the tests of the file system plant.
#include "support/source_contract.h"

#include "fakes.h"

namespace ckptfs {
namespace {

class PlantedTree final : public test::ContractTree {
 public:
    void add_file(const std::string& path, const std::string& bytes) override { source_->put_file(path, bytes); }
    void add_directory(const std::string& path) override { source_->put_directory(path); }
    void add_link(const std::string& path, const std::string& target) override { source_->put_symlink(path, target); }
    void remove(const std::string& path) override { source_->remove(path); }
    std::shared_ptr<const Source> source() override { return source_; }

 private:
    std::shared_ptr<fake::MemorySource> source_ = std::make_shared<fake::MemorySource>();
};

using test::SourceContract;
INSTANTIATE_TEST_SUITE_P(FakeSource, SourceContract,
                         test::contract_cases([] { return std::make_unique<PlantedTree>(); },
                                              {.directories = true, .links = true, .changes = true}),
                         test::contract_case_name);

}  // namespace
}  // namespace ckptfs
