// Finds a whole tag, says what is wrong with others, and makes the tree.
#include "cli/shown.h"

#include <utility>
#include <vector>

#include "cli/view_options.h"
#include "report/survey.h"
#include "util/text.h"
#include "view/catalogue.h"
#include "view/zero_tag.h"

namespace ckptfs::cli {
namespace {

class Showing {
 public:
    Showing(const WritableSource& opened, const TagReader& reader, const ShowOptions& options, const Warn& warn)
        : source_(*opened.source),
          is_writable_(opened.writer != nullptr),
          reader_(reader),
          options_(options),
          warn_(warn) {}

    /// Without a tag where none is needed.
    Result<report::WholeTag> find_tag() {
        CKPTFS_ASSIGN(const auto found, report::survey(source_, reader_, extent()));
        CKPTFS_TRY(expect_tag(found));
        std::vector<Error> broken;
        auto whole = report::first_whole_tag(source_, reader_, found, broken, options_.shown.target.request);
        if (!whole && !options_.shown.allow_empty) {
            return whole.error();
        }
        for (const Error& problem : found.problems) {
            warn_(problem.message());
        }
        for (const Error& problem : broken) {
            warn_(problem.message() +
                  (is_writable_ ? " (this tag is shown as it is)" : " (the files of this tag cannot be opened)"));
        }
        if (!whole && broken.empty()) {
            say_that_there_is_none(whole.error());
        }
        if (!whole) {
            return report::WholeTag{};
        }
        for (const std::string& warning : whole->tag->warnings()) {
            warn_(warning);
        }
        return *whole;
    }

 private:
    void say_that_there_is_none(const Error& reason) const {
        if (!is_writable_) {
            warn_(reason.message());
        } else if (options_.on_no_tag) {
            options_.on_no_tag();
        }
    }

    /// A tag of a certain name may lie deeper than others.
    [[nodiscard]] report::SurveyExtent extent() const {
        const auto& target = options_.shown.target;
        const bool is_by_name =
            target.names.tag || (target.request && !reader_.placement(*target.request).in_place_of_holder_of.empty());
        return is_by_name ? report::SurveyExtent::all : report::SurveyExtent::nearest;
    }

    /// Of --tag, where there are tags at all.
    Result<void> expect_tag(const report::Survey& found) {
        const auto& tag = options_.shown.target.names.tag;
        if (!tag || found.tags.empty()) {
            return {};
        }
        CKPTFS_ASSIGN(const auto without, report::holders_without(source_, reader_, found, *tag));
        if (options_.shown.only_tag) {
            return {};
        }
        for (const std::string& holder : without) {
            warn_(in_quotes(source_.display(holder)) + " has no tag " + in_quotes(*tag) +
                  ": the weights there are those of its current tag");
        }
        return {};
    }

    const Source& source_;
    bool is_writable_;
    const TagReader& reader_;
    const ShowOptions& options_;
    const Warn& warn_;
};

}  // namespace

// It alone has the tag that was found: one that is removed later is to leave memory.
Result<std::unique_ptr<FileSystem>> show(const WritableSource& opened, const std::shared_ptr<const TagReader>& reader,
                                         const ShowOptions& options, const Warn& warn) {
    CKPTFS_ASSIGN(const auto whole, Showing(opened, *reader, options, warn).find_tag());
    FileSystemOptions shown;
    shown.writer = opened.writer;
    shown.in_place = options.in_place;
    shown.read_ahead = options.read_ahead;
    shown.request = options.shown.target.request;
    shown.catalogue_entries = view::catalogue_guard();
    shown.allow_other = options.allow_other;
    shown.own_files = options.own_files;
    shown.source_name = name_of_source(options.shown.source);
    CKPTFS_ASSIGN(auto file_system, FileSystem::create(opened.source, reader, std::move(shown)));
    if (whole.tag) {
        file_system->adopt(whole.directory, whole.tag);
    }
    return file_system;
}

Result<std::shared_ptr<const ViewTree>> open_shown(const ShownArguments& arguments, const Environment& environment,
                                                   const Warn& warn) {
    CKPTFS_ASSIGN(const auto view_options, read_view_options(arguments.target));
    return open_shown(arguments, view_options, environment, warn);
}

Result<std::shared_ptr<const ViewTree>> open_shown(const ShownArguments& arguments,
                                                   const view::ViewOptions& view_options,
                                                   const Environment& environment, const Warn& warn) {
    CKPTFS_ASSIGN(const auto source, open_checkpoint(environment, arguments.source));
    ShowOptions options{.shown = arguments};
    CKPTFS_ASSIGN(options.shown.source, absolute_path(arguments.source, environment.working_directory));
    CKPTFS_ASSIGN(auto file_system, show({source, nullptr}, view::zero_tag_reader(view_options), options, warn));
    return std::make_shared<const ViewTree>(std::move(file_system), name_of_view(*source, arguments.target.request));
}

}  // namespace ckptfs::cli
