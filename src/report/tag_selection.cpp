// Tags are told apart by where they lie, whatever links lead to them.
#include "report/tag_selection.h"

#include "report/survey.h"
#include "util/path.h"
#include "zero/latest.h"

namespace ckptfs::report {
namespace {

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

class Selection {
 public:
    Selection(const Source& source, const Survey& found, const std::string& tag, const Placement& placement)
        : source_(source), found_(found), tag_(tag), suffix_(placement.beside_suffix) {}

    Result<TagSelection> run(const std::vector<std::string>& without) {
        std::set<std::string> holders;
        for (const TagPlace& place : found_.tags) {
            holders.insert(directory_of(place.directory));
        }
        result_.lacking = {without.begin(), without.end()};
        for (const std::string& holder : holders) {
            if (result_.lacking.contains(holder)) {
                hide(join_path(holder, zero::latest_name));
            } else {
                CKPTFS_TRY(select(holder));
            }
        }
        for (const TagPlace& place : found_.tags) {
            CKPTFS_ASSIGN(const std::string real, source_.resolve(place.directory));
            if (!selected_.contains(real)) {
                hide(place.directory);
            }
        }
        return std::move(result_);
    }

 private:
    void hide(const std::string& path) {
        result_.hidden.insert(path);
        if (!suffix_.empty()) {
            result_.hidden.insert(path + suffix_);
        }
    }

    Result<void> select(const std::string& holder) {
        CKPTFS_ASSIGN(const std::string directory, zero::tag_directory(source_, holder, tag_));
        CKPTFS_ASSIGN(const std::string real, source_.resolve(directory));
        CKPTFS_ASSIGN(const FileInfo info, source_.stat(real));
        selected_.insert(real);
        // A pointer to it may stand in any directory on the way.
        for (std::string above = holder;; above = directory_of(above)) {
            const std::string name = path_below(directory, above).value_or(directory);
            const std::string pointer = join_path(above, zero::latest_name);
            result_.pointers[pointer] = {name, info.stamp.mtime_ns};
            if (!suffix_.empty()) {
                result_.pointers[pointer + suffix_] = {name + suffix_, info.stamp.mtime_ns};
            }
            if (above.empty()) {
                return {};
            }
        }
    }

    const Source& source_;
    const Survey& found_;
    const std::string& tag_;
    const std::string& suffix_;
    std::set<std::string> selected_;  // without symbolic links
    TagSelection result_;
};

}  // namespace

Result<TagSelection> select_tag(const Source& source, const TagReader& reader, const std::string& tag,
                                const Placement& placement) {
    CKPTFS_ASSIGN(const Survey found, survey(source, reader, SurveyExtent::all));
    CKPTFS_ASSIGN(const auto without, holders_without(source, reader, found, tag));
    return Selection(source, found, tag, placement).run(without);
}

}  // namespace ckptfs::report
