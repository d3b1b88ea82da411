// The contract of Source, held by a real directory, by the one that counts, and by the files in memory of other tests.
#include "support/source_contract.h"

#include <filesystem>

#include "io/counting_source.h"
#include "io/posix_source.h"
#include "support/memory_source.h"
#include "support/temporary_directory.h"

namespace ckptfs::io {
namespace {

using test::Abilities;
using test::contract_case_name;
using test::contract_cases;
using test::SourceContract;

class RealTree : public test::ContractTree {
 public:
    void add_file(const std::string& path, const std::string& bytes) override {
        const bool replaces = std::filesystem::exists(directory_ / path);
        directory_.write(replaces ? ".new" : path, bytes);
        if (replaces) {
            std::filesystem::rename(directory_ / ".new", directory_ / path);
        }
    }
    void add_directory(const std::string& path) override { std::filesystem::create_directory(directory_ / path); }
    void add_link(const std::string& path, const std::string& target) override {
        std::filesystem::create_symlink(target, directory_ / path);
    }
    void remove(const std::string& path) override { std::filesystem::remove(directory_ / path); }
    std::shared_ptr<const Source> source() override {
        return DirectorySource::open_directory(directory_.path()).value();
    }

 private:
    test::TemporaryDirectory directory_;
};

class CountedTree final : public RealTree {
 public:
    std::shared_ptr<const Source> source() override { return std::make_shared<CountingSource>(RealTree::source()); }
};

class TreeInMemory final : public test::ContractTree {
 public:
    void add_file(const std::string& path, const std::string& bytes) override { source_->add(path, bytes); }
    void add_directory(const std::string& /*path*/) override {}  // they are there as soon as a file lies in them
    std::shared_ptr<const Source> source() override { return source_; }

 private:
    std::shared_ptr<test::MemorySource> source_ = std::make_shared<test::MemorySource>();
};

constexpr Abilities everything{.directories = true, .links = true, .changes = true};

INSTANTIATE_TEST_SUITE_P(DirectorySource, SourceContract,
                         contract_cases([] { return std::make_unique<RealTree>(); }, everything), contract_case_name);
INSTANTIATE_TEST_SUITE_P(CountingSource, SourceContract,
                         contract_cases([] { return std::make_unique<CountedTree>(); }, everything),
                         contract_case_name);
INSTANTIATE_TEST_SUITE_P(MemorySource, SourceContract,
                         contract_cases([] { return std::make_unique<TreeInMemory>(); }, {.directories = true}),
                         contract_case_name);

}  // namespace
}  // namespace ckptfs::io
