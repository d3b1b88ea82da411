// What ckptfs/open.h promises to programs.
#include "ckptfs/open.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/memory_source.h"
#include "support/test_data.h"
#include "view/zero_tag.h"

namespace ckptfs {
namespace {

TEST(Open, TagsAndViewsOutliveTheSource) {
    std::shared_ptr<const View> view;
    {
        auto source = open_directory((test_data() / "zero/stage2_bf16_ws4").string());
        ASSERT_TRUE(source.ok());
        const auto tag = zero_tag_reader()->read(**source, "global_step2");
        source = std::shared_ptr<const Source>();
        ASSERT_EQ(tag->problem(), nullptr);
        view = *tag->show(ViewRequest::at_world_size(3));
    }
    for (std::size_t index = 0; index < view->file_count(); ++index) {
        const auto file = view->open(index);
        ASSERT_TRUE(file.ok()) << view->file_name(index);
        std::vector<std::byte> bytes((*file)->size());
        EXPECT_TRUE((*file)->read(0, bytes).ok()) << view->file_name(index);
    }
}

TEST(Open, ATagSuggestsTheWorldSizeThatWroteItFirst) {
    const auto source = open_directory((test_data() / "zero/stage2_bf16_ws4").string());
    ASSERT_TRUE(source.ok());
    const auto suggestions = zero_tag_reader()->read(**source, "global_step2")->suggestions();
    ASSERT_FALSE(suggestions.empty());
    EXPECT_EQ(suggestions.front().name(), "world-size-4");
    EXPECT_TRUE(zero_tag_reader()->read(**source, "nothing")->suggestions().empty());
}

TEST(Open, ATagThatIsSourceItselfHasNoPlaceBesideIt) {
    const auto suggests_universal = [](const std::string& source, const std::string& tag) {
        const auto suggestions = zero_tag_reader()->read(**open_directory(source), tag)->suggestions();
        return std::any_of(suggestions.begin(), suggestions.end(),
                           [](const ViewRequest& request) { return request.kind == ViewKind::universal; });
    };
    const std::string source = (test_data() / "zero/stage2_bf16_ws4").string();
    EXPECT_TRUE(suggests_universal(source, "global_step2"));
    EXPECT_FALSE(suggests_universal(source + "/global_step2", ""));
}

/// Nothing can be looked at, for the reason `code`.
class ClosedSource final : public test::MemorySource {
 public:
    explicit ClosedSource(ErrorCode code) : code_(code) {}
    Result<FileInfo> stat(const std::string& path) const override { return Error(code_, path + " says no"); }

 private:
    ErrorCode code_;
};

TEST(Open, ALatestThatCannotBeLookedAtIsAnError) {
    view::ViewOptions with_tag;
    with_tag.tag = "step2";
    for (const auto& reader : {std::shared_ptr<const TagReader>(view::zero_tag_reader({})),
                               std::shared_ptr<const TagReader>(view::zero_tag_reader(with_tag))}) {
        EXPECT_EQ(reader->named_tag(ClosedSource(ErrorCode::not_found), "run").value(), std::nullopt);
        for (const ErrorCode code : {ErrorCode::io, ErrorCode::stale}) {
            const auto named = reader->named_tag(ClosedSource(code), "run");
            ASSERT_FALSE(named.ok());
            EXPECT_EQ(named.error().code(), code);
        }
    }
}

}  // namespace
}  // namespace ckptfs
