// The one file of a Lightning checkpoint, which stands in the place of the directory that DeepSpeed made of it.
#include "view/lightning_kind.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/text.h"
#include "view/lightning_file.h"
#include "view/source_info.h"

namespace ckptfs::view {
namespace {

/// Lightning calls every tag so, in a directory that has the checkpoint's name.
constexpr std::string_view tag_name = "checkpoint";
constexpr std::string_view unnamed = "checkpoint.ckpt";

std::string last_component(std::string_view path) {
    return std::string(path.substr(path.rfind('/') + 1));
}

/// Of the directory that holds the tag; "checkpoint.ckpt" where its path does not say.
std::string holder_name(std::string_view tag_path) {
    const std::size_t slash = tag_path.rfind('/');
    const std::string name =
        slash == std::string_view::npos ? std::string() : last_component(tag_path.substr(0, slash));
    return name.empty() || name == "." || name == ".." ? std::string(unnamed) : name;
}

/// The file stands nowhere else.
Result<void> expect_tag_name(const Ingredients& ingredients) {
    if (last_component(ingredients.tag) == tag_name) {
        return {};
    }
    const std::string name = in_quotes(ingredients.display);
    if (ingredients.tag.empty()) {
        return Error(ErrorCode::invalid_argument,
                     name +
                         " is itself the tag directory, but the view lightning stands in the place of the directory "
                         "that holds the tag 'checkpoint'; give that directory");
    }
    return Error(ErrorCode::invalid_argument,
                 name +
                     " is not called 'checkpoint', as Lightning calls every tag, and the view lightning stands in "
                     "the place of a directory that holds a tag of that name alone; for the weights alone take the "
                     "view weights");
}

class LightningView final : public View {
 public:
    LightningView(std::shared_ptr<const zero::Written> checkpoint, std::string name, std::shared_ptr<FileCache> cache)
        : checkpoint_(std::move(checkpoint)),
          name_(std::move(name)),
          info_(common_info(checkpoint_->families)),
          cache_(std::move(cache)) {}
    ~LightningView() override { cache_->forget(this); }

    [[nodiscard]] std::size_t file_count() const override { return 1; }
    [[nodiscard]] std::string file_name(std::size_t /*index*/) const override { return name_; }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view file_name) const override {
        return file_name == name_ ? std::optional<std::size_t>(0) : std::nullopt;
    }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override {
        if (const std::uint64_t known = size_.load(std::memory_order_relaxed)) {
            return known;
        }
        CKPTFS_ASSIGN(const std::shared_ptr<const File> file, open(index));
        size_.store(file->size(), std::memory_order_relaxed);
        return file->size();
    }
    [[nodiscard]] FileInfo file_info(std::size_t /*index*/) const override { return info_; }
    [[nodiscard]] bool read_once(std::size_t /*index*/) const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        if (auto cached = cache_->find(this, index)) {
            return cached;
        }
        CKPTFS_ASSIGN(std::shared_ptr<const VirtualFile> built, lightning_file(checkpoint_, name_));
        const std::uint64_t nbytes = built->memory_nbytes();
        return cache_->insert(this, index, std::move(built), nbytes);
    }

 private:
    std::shared_ptr<const zero::Written> checkpoint_;
    std::string name_;
    FileInfo info_;
    std::shared_ptr<FileCache> cache_;
    mutable std::atomic<std::uint64_t> size_{0};  // 0: not known
};

class LightningKind final : public Kind {
 public:
    [[nodiscard]] Result<std::shared_ptr<const View>> make(const Ingredients& ingredients,
                                                           const ViewRequest& /*request*/) const override {
        CKPTFS_TRY(expect_tag_name(ingredients));
        CKPTFS_TRY(check_lightning(*ingredients.checkpoint));
        return std::shared_ptr<const View>(std::make_shared<LightningView>(
            ingredients.checkpoint, holder_name(ingredients.display), ingredients.cache));
    }
    [[nodiscard]] Placement placement(const ViewRequest& /*request*/) const override {
        return {.in_place_of_holder_of = std::string(tag_name)};
    }
    [[nodiscard]] std::vector<std::string> names_of_unshown(const ViewRequest& /*request*/,
                                                            const ViewOptions& /*options*/) const override {
        return {std::string(unnamed)};
    }
    [[nodiscard]] std::vector<ViewRequest> suggestions(const Ingredients& ingredients) const override {
        if (!expect_tag_name(ingredients).ok() || !check_lightning(*ingredients.checkpoint).ok()) {
            return {};
        }
        ViewRequest request;
        request.kind = ViewKind::lightning;
        return {request};
    }
};

}  // namespace

const Kind& lightning_kind() {
    static const LightningKind kind;
    return kind;
}

}  // namespace ckptfs::view
