// Finding tags by content, level by level.
#include "report/survey.h"

#include <algorithm>
#include <set>
#include <utility>

#include "util/path.h"
#include "util/text.h"
#include "zero/latest.h"

namespace ckptfs::report {
namespace {

// A SOURCE like "/" has no end; a directory of checkpoints has not this many directories above its tags.
constexpr std::size_t max_directories = 4096;

/// A directory that cannot be resumed from as it is, told apart for the sake of the message.
bool is_universal(const Source& source, const std::string& directory) {
    const auto info = source.stat_target(join_path(directory, "zero"));
    return info && info->type == FileType::directory;
}

Error universal(const Source& source, const std::string& directory) {
    return {ErrorCode::not_a_checkpoint,
            in_quotes(source.display(directory)) +
                " is a universal checkpoint, no ZeRO checkpoint: it loads at any world size as "
                "it is, with load_universal"};
}

/// `directory`: what the `latest` in `parent` names.
Error dangling(const Source& source, const std::string& parent, const std::string& directory) {
    const std::string start = in_quotes(source.display(join_path(parent, "latest"))) + " names the tag " +
                              in_quotes(parent.empty() ? directory : directory.substr(parent.size() + 1));
    if (!source.stat_target(directory)) {
        return {ErrorCode::incomplete,
                start + ", but there is no such directory: correct the file, or restore the tag"};
    }
    if (is_universal(source, directory)) {
        return universal(source, directory);
    }
    return {ErrorCode::incomplete, start + ", but " + in_quotes(source.display(directory)) +
                                       " holds no ZeRO files (expected mp_rank_00_model_states.pt and "
                                       "zero_pp_rank_*_optim_states.pt): correct the file, or restore the tag"};
}

class Surveyor {
 public:
    Surveyor(const Source& source, const TagReader& reader, SurveyExtent extent)
        : source_(source), reader_(reader), extent_(extent) {}

    Result<Survey> run() {
        CKPTFS_ASSIGN(const auto root, source_.list(""));
        if (reader_.recognises(root)) {
            result_.tags.push_back({.directory = "", .latest = false, .mtime_ns = 0});
            return std::move(result_);
        }
        std::vector<Listed> parents{{"", root}};
        for (int depth = 0; depth < survey_depth && is_to_go_on(); ++depth) {
            parents = look_into(parents);
        }
        std::sort(result_.tags.begin(), result_.tags.end(), prefer);
        return std::move(result_);
    }

 private:
    struct Listed {
        std::string directory;
        std::vector<DirectoryEntry> entries;
    };

    [[nodiscard]] bool is_to_go_on() const { return extent_ == SurveyExtent::all || result_.tags.empty(); }

    /// Names of equal age: global_step10 before global_step9.
    static bool prefer(const TagPlace& a, const TagPlace& b) {
        if (a.latest != b.latest) {
            return a.latest;
        }
        if (a.mtime_ns != b.mtime_ns) {
            return a.mtime_ns > b.mtime_ns;
        }
        return std::pair(a.directory.size(), a.directory) > std::pair(b.directory.size(), b.directory);
    }

    /// Files the tags among the parents' children; returns the children that are none.
    std::vector<Listed> look_into(const std::vector<Listed>& parents) {
        std::vector<Listed> next;
        for (const Listed& parent : parents) {
            const std::string latest = latest_of(parent);
            bool latest_found = latest.empty();
            for (const FileType type : {FileType::directory, FileType::symlink}) {
                for (const DirectoryEntry& entry : parent.entries) {
                    const std::string directory = join_path(parent.directory, entry.name);
                    if (entry.type == type && file(directory, latest, next)) {
                        latest_found = latest_found || directory == latest;
                    }
                }
            }
            // It may lie deeper than the children.
            if (!latest_found && !file(latest, latest, next)) {
                result_.problems.push_back(dangling(source_, parent.directory, latest));
            }
        }
        return next;
    }

    /// True if `directory` is a tag. Whatever has been seen already is looked into again only if `latest` names it.
    bool file(const std::string& directory, const std::string& latest, std::vector<Listed>& next) {
        if (seen_.size() >= max_directories) {
            result_.complete = false;
            return false;
        }
        // What a mount does not follow, such as a link into a mount of ckptfs, holds no tags of SOURCE.
        const auto real = source_.resolve(directory);
        if (!real) {
            return false;
        }
        const auto info = source_.stat(*real);
        if (!info || info->type != FileType::directory) {
            return false;
        }
        const bool is_first = seen_.emplace(info->stamp.device, info->stamp.inode).second;
        if (!is_first && directory != latest) {
            return false;
        }
        auto listing = source_.list(*real);
        if (!listing) {
            return false;
        }
        if (reader_.recognises(*listing)) {
            result_.tags.push_back(
                {.directory = directory, .latest = directory == latest, .mtime_ns = info->stamp.mtime_ns});
            return true;
        }
        if (is_first) {
            next.push_back({directory, std::move(*listing)});
        }
        return false;
    }

    /// The directory that the `latest` in `parent` names; "" without one.
    std::string latest_of(const Listed& parent) {
        const auto is_latest = [](const DirectoryEntry& entry) { return entry.name == "latest"; };
        const auto entry = std::find_if(parent.entries.begin(), parent.entries.end(), is_latest);
        if (entry == parent.entries.end() || entry->type == FileType::directory) {
            return "";
        }
        const auto directory = zero::read_latest(source_, parent.directory);
        if (!directory) {
            result_.problems.push_back(directory.error());
            return "";
        }
        return *directory;
    }

    const Source& source_;
    const TagReader& reader_;
    SurveyExtent extent_;
    Survey result_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;  // device and inode: links may lead in circles
};

bool holds_weights(const DirectoryEntry& entry) {
    const std::string& name = entry.name;
    return name.ends_with(".safetensors") || (name.starts_with("pytorch_model") && name.ends_with(".bin"));
}

/// Whether a view of the tag at `directory` stands anywhere in a mount.
bool has_place(const Placement& placement, std::string_view directory) {
    const std::string_view name = directory.substr(directory.rfind('/') + 1);
    return placement.in_tag || ((placement.in_holder || !placement.beside_suffix.empty()) && !directory.empty()) ||
           (!placement.in_place_of_holder_of.empty() && placement.in_place_of_holder_of == name);
}

Result<void> expect_usable(const Source& source, const std::string& directory, const Tag& tag,
                           const std::optional<ViewRequest>& request, bool is_placed) {
    if (!request) {
        return tag.problem() == nullptr ? Result<void>() : *tag.problem();
    }
    CKPTFS_TRY(tag.show(*request));
    if (!is_placed) {
        return Error(ErrorCode::invalid_argument, in_quotes(source.display(directory)) +
                                                      " is itself the tag directory, but the view " + request->name() +
                                                      " stands beside a tag; give the directory that holds it");
    }
    return {};
}

/// Those that hold a tag, each once.
std::set<std::string> holders(const Survey& survey) {
    std::set<std::string> all;
    for (const TagPlace& place : survey.tags) {
        const std::size_t slash = place.directory.rfind('/');
        if (!place.directory.empty()) {
            all.insert(slash == std::string::npos ? "" : place.directory.substr(0, slash));
        }
    }
    return all;
}

}  // namespace

Result<Survey> survey(const Source& source, const TagReader& reader, SurveyExtent extent) {
    return Surveyor(source, reader, extent).run();
}

Error no_tags(const Source& source, const Survey& survey) {
    if (!survey.problems.empty()) {
        return survey.problems.front();
    }
    const std::string name = in_quotes(source.display(""));
    if (is_universal(source, "")) {
        return universal(source, "");
    }
    const auto listing = source.list("");
    if (listing) {
        const auto weights = std::find_if(listing->begin(), listing->end(), holds_weights);
        if (weights != listing->end()) {
            return {ErrorCode::not_a_checkpoint,
                    name + " holds weights only (" + in_quotes(weights->name) +
                        "), no optimizer states: nothing in it depends on the world size, load it as it is"};
        }
    }
    const std::string found = !listing ? "" : listing->empty() ? "it is empty" : "found no directory with such files";
    return {ErrorCode::not_a_checkpoint,
            name +
                " is not a DeepSpeed checkpoint: expected a tag directory with mp_rank_00_model_states.pt and "
                "zero_pp_rank_*_optim_states.pt, " +
                found + "; give the directory that save_checkpoint was given"};
}

Result<WholeTag> first_whole_tag(const Source& source, const TagReader& reader, const Survey& survey,
                                 std::vector<Error>& broken, const std::optional<ViewRequest>& request) {
    std::optional<Error> nowhere;
    for (const TagPlace& place : survey.tags) {
        auto tag = reader.read(source, place.directory);
        const bool is_placed = !request || has_place(reader.placement(*request), place.directory);
        const auto usable = expect_usable(source, place.directory, *tag, request, is_placed);
        if (usable) {
            return WholeTag{place.directory, std::move(tag)};
        }
        if (is_placed) {
            broken.push_back(usable.error());
        } else if (!nowhere) {
            nowhere = usable.error();
        }
    }
    return !broken.empty() ? broken.front() : nowhere ? *nowhere : no_tags(source, survey);
}

Result<std::vector<std::string>> holders_without(const Source& source, const TagReader& reader, const Survey& survey,
                                                 const std::string& tag) {
    const std::set<std::string> all = holders(survey);
    std::vector<std::string> without;
    for (const std::string& holder : all) {
        const auto directory = zero::tag_directory(source, holder, tag);
        if (!directory) {
            return Error(directory.error().code(), "--tag is " + in_quotes(tag) + ": " + directory.error().message());
        }
        const auto real = source.resolve(*directory);
        const auto listing = real ? source.list(*real) : Result<std::vector<DirectoryEntry>>(real.error());
        if (!listing || !reader.recognises(*listing)) {
            without.push_back(holder);
        }
    }
    if (without.size() < all.size()) {
        return without;
    }
    const std::string name = in_quotes(source.display(""));
    return Error(ErrorCode::invalid_argument,
                 all.empty() ? name + " is itself the tag directory, so that --tag can name none; leave it out"
                             : name + " has no tag " + in_quotes(tag) +
                                   ", which --tag names; `ckptfs inspect` lists the tags that there are");
}

}  // namespace ckptfs::report
