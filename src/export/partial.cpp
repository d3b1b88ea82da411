// A manifest says whose it is, a journal what is done; the content is made before the manifest, and leaves after all
// else is on disk, so that each can be told from what is there.
#include "export/partial.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "export/tree_writer.h"
#include "util/text.h"

namespace ckptfs::exporting {
namespace {

constexpr const char* content_name = "/content";
constexpr const char* manifest_name = "/.ckptfs-export.manifest";
constexpr const char* journal_name = "/.ckptfs-export.journal";
constexpr const char* unfinished_suffix = ".new";

constexpr mode_t private_directory = 0700;  // modes of the view are set at the end
constexpr mode_t private_file = 0600;

}  // namespace

Partial::Partial(const WriteCalls& calls, const Destination& destination)
    : calls_(&calls),
      destination_(destination),
      content_(destination.partial + content_name),
      manifest_path_(destination.partial + manifest_name) {}

Result<Partial> Partial::open(const WriteCalls& calls, const Destination& destination, const Manifest& manifest,
                              const std::function<void(const std::string&)>& warn) {
    Partial partial(calls, destination);
    if (destination.is_taken && !partial.has(partial.manifest_path_)) {
        return destination_is_taken(destination);
    }
    CKPTFS_TRY(partial.make_directory(destination.partial));
    CKPTFS_TRY(partial.expect_ours());
    CKPTFS_TRY(partial.lock(warn));
    // Another export may have ended since DEST was looked at.
    CKPTFS_ASSIGN(const bool is_taken, is_taken_now(destination.path));
    const bool has_begun = partial.has(partial.manifest_path_);
    if (has_begun) {
        const auto same = partial.compare(manifest);
        if (!same) {
            return is_taken ? partial.taken() : same.error();
        }
    }
    const bool has_content = partial.has(partial.content_);
    if (is_taken && (has_content || !has_begun)) {
        return partial.taken();
    }
    if (is_taken) {
        partial.is_published_ = true;
        partial.clear_or_warn(warn);
        return partial;
    }
    if (!has_begun || !has_content) {
        CKPTFS_TRY(partial.begin(manifest));
    }
    CKPTFS_TRY(partial.load());
    return partial;
}

bool Partial::has(const std::string& path) const {
    struct stat status {};
    return calls_->stat(path, status) != -ENOENT;
}

/// Leaves no trace of the lock in what another export has cleared up.
Error Partial::taken() {
    if (!has(manifest_path_) && !has(content_)) {
        (void)clear();
    }
    return destination_is_taken(destination_);
}

Error Partial::has_just_ended() const {
    return {ErrorCode::io, "another export to " + in_quotes(destination_.path) + " has just ended: look what is there",
            EWOULDBLOCK};
}

Error Partial::unusable(const std::string& why) const {
    return {ErrorCode::invalid_argument, "the unfinished export " + in_quotes(destination_.partial) + " " + why +
                                             ": remove that directory, or give another DEST"};
}

Result<void> Partial::make_directory(const std::string& path) {
    const int answer = calls_->make_directory(path, private_directory);
    if (answer == 0) {
        return {};
    }
    struct stat status {};
    if (answer != -EEXIST) {
        return writing_failed("made", path, -answer);
    }
    if (const int found = calls_->stat(path, status); found < 0) {
        return found == -ENOENT ? has_just_ended() : writing_failed("looked up", path, -found);
    }
    if (!S_ISDIR(status.st_mode)) {
        return unusable("is no directory");
    }
    return expect_trusted(status);
}

/// Where everybody may make directories, whoever made this one could put links into it that lead anywhere. As the
/// kernel has it (fs.protected_regular), the owner of such a place is trusted.
Result<void> Partial::expect_trusted(const struct stat& directory) const {
    constexpr mode_t for_everybody = S_ISVTX | S_IWOTH;
    struct stat parent {};
    if (const int answer = calls_->stat(destination_.parent, parent); answer < 0) {
        return writing_failed("looked up", destination_.parent, -answer);
    }
    const bool is_trusted = directory.st_uid == ::geteuid() || directory.st_uid == parent.st_uid;
    if ((parent.st_mode & for_everybody) == for_everybody && !is_trusted) {
        return unusable("belongs to another user");
    }
    return {};
}

/// Else the last step would leave the directory, with what is not ours in it, and an error after all is done.
Result<void> Partial::expect_ours() const {
    std::error_code failure;
    std::filesystem::directory_iterator entry(destination_.partial, failure);
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
        const std::string name = "/" + entry->path().filename().string();
        const bool is_ours = name == content_name || name == journal_name || name == manifest_name ||
                             name == std::string(manifest_name) + unfinished_suffix;
        if (!is_ours) {
            return unusable("holds " + in_quotes(name.substr(1)) + ", which no export has made");
        }
    }
    if (failure == std::errc::no_such_file_or_directory) {
        return has_just_ended();
    }
    return failure ? Result<void>(writing_failed("listed", destination_.partial, failure.value())) : Result<void>();
}

/// By the journal: where a lock asks for a descriptor to write to, as NFS does, a directory has none.
Result<void> Partial::lock(const std::function<void(const std::string&)>& warn) {
    journal_file_.name = destination_.partial + journal_name;
    journal_file_.fd = io::UniqueFd(calls_->open(journal_file_.name, O_RDWR | O_CREAT, private_file));
    const int fd = journal_file_.fd.get();
    if (fd == -ENOENT) {
        return has_just_ended();
    }
    if (fd < 0) {
        return writing_failed("made", journal_file_.name, -fd);
    }
    const int answer = calls_->lock(fd);
    if (answer == -EWOULDBLOCK) {
        return Error(ErrorCode::io,
                     "another process is exporting to " + in_quotes(destination_.path) + ": wait for it, or end it",
                     EWOULDBLOCK);
    }
    if (answer == -ENOSYS || answer == -EOPNOTSUPP || answer == -ENOLCK) {
        warn(in_quotes(destination_.partial) +
             " lies where no file can be locked: see to it that nobody else exports there at the same time");
    } else if (answer < 0) {
        return writing_failed("locked", journal_file_.name, -answer);
    }
    struct stat locked {};
    struct stat named {};
    if (calls_->stat_descriptor(fd, locked) < 0 || calls_->stat(journal_file_.name, named) < 0 ||
        locked.st_ino != named.st_ino) {
        return has_just_ended();
    }
    return {};
}

Result<void> Partial::compare(const Manifest& manifest) {
    const io::UniqueFd fd(calls_->open(manifest_path_, O_RDONLY, 0));
    if (fd.get() < 0) {
        return writing_failed("opened", manifest_path_, -fd.get());
    }
    CKPTFS_ASSIGN(const std::string text, text_of(fd.get(), manifest_path_));
    const auto earlier = Manifest::parse(text);
    if (!earlier) {
        return unusable("has a manifest that this version does not understand");
    }
    if (const auto difference = earlier->difference(manifest)) {
        return unusable(*difference);
    }
    return {};
}

Result<void> Partial::begin(const Manifest& manifest) {
    // What a journal says is of the manifest beside it.
    if (const int emptied = calls_->resize(journal_file_.fd.get(), 0); emptied < 0) {
        return writing_failed("emptied", journal_file_.name, -emptied);
    }
    if (const int synced = calls_->sync(journal_file_.fd.get()); synced < 0) {
        return writing_failed("brought to disk", journal_file_.name, -synced);
    }
    int made = calls_->make_directory(content_, private_directory);
    if (made == -EEXIST) {
        if (calls_->remove_directory(content_) < 0) {
            return unusable("has no manifest that says what it is of");
        }
        made = calls_->make_directory(content_, private_directory);
    }
    if (made < 0) {
        return writing_failed("made", content_, -made);
    }
    const std::string name = manifest_path_ + unfinished_suffix;
    const io::UniqueFd fd(calls_->open(name, O_RDWR | O_CREAT | O_TRUNC, private_file));
    if (fd.get() < 0) {
        return writing_failed("made", name, -fd.get());
    }
    const std::string text = manifest.text();
    CKPTFS_TRY(write_all(*calls_, fd.get(), name, std::as_bytes(std::span(text)), 0));
    if (const int synced = calls_->sync(fd.get()); synced < 0) {
        return writing_failed("brought to disk", name, -synced);
    }
    if (const int renamed = calls_->rename(name, manifest_path_); renamed < 0) {
        return writing_failed("renamed", name, -renamed);
    }
    return sync_directory(destination_.partial);
}

Result<std::string> Partial::text_of(int fd, const std::string& name) const {
    struct stat status {};
    if (const int answer = calls_->stat_descriptor(fd, status); answer < 0) {
        return writing_failed("looked up", name, -answer);
    }
    std::string text(static_cast<std::size_t>(status.st_size), '\0');
    CKPTFS_TRY(read_exactly(*calls_, fd, name, std::as_writable_bytes(std::span(text)), 0));
    return text;
}

Result<void> Partial::load() {
    CKPTFS_ASSIGN(const std::string text, text_of(journal_file_.fd.get(), journal_file_.name));
    journal_ = load_journal(text);
    const int answer = calls_->resize(journal_file_.fd.get(), journal_.nbytes);
    return answer < 0 ? Result<void>(writing_failed("cut", journal_file_.name, -answer)) : Result<void>();
}

Result<void> Partial::forget_what_is_gone(const Plan& plan, const std::function<void(const std::string&)>& warn) {
    for (auto known = journal_.files.begin(); known != journal_.files.end();) {
        const auto& [number, finished] = *known;
        if (number >= plan.files.size() ||
            (!finished.segments.empty() && finished.segments.rbegin()->first >= plan.segments(number).count())) {
            return unusable("has a journal of something else");
        }
        const std::string path = place_of(content_, plan.file(number));
        struct stat status {};
        const int answer = calls_->stat(path, status);
        if (answer < 0 && answer != -ENOENT) {
            return writing_failed("looked up", path, -answer);
        }
        if (answer == 0 && S_ISREG(status.st_mode) &&
            static_cast<std::uint64_t>(status.st_size) == plan.file(number).info.stamp.size) {
            ++known;
            continue;
        }
        warn(in_quotes(path) + (answer < 0 ? " is gone" : " is another") +
             " since an earlier run wrote it, and is written anew");
        // What has its name may be a link, or have other names.
        if (const int removed = answer < 0 ? 0 : calls_->remove(path); removed < 0) {
            return writing_failed("removed", path, -removed);
        }
        CKPTFS_TRY(forget(number));
        journal_.nbytes += journal_line({JournalEntry::Kind::anew, number}).size();
        known = journal_.files.erase(known);
    }
    return {};
}

Result<void> Partial::forget(std::uint64_t file) const {
    const int fd = journal_file_.fd.get();
    struct stat status {};
    if (const int answer = calls_->stat_descriptor(fd, status); answer < 0) {
        return writing_failed("looked up", journal_file_.name, -answer);
    }
    const std::string line = journal_line({JournalEntry::Kind::anew, file});
    CKPTFS_TRY(write_all(*calls_, fd, journal_file_.name, std::as_bytes(std::span(line)),
                         static_cast<std::uint64_t>(status.st_size)));
    const int answer = calls_->sync(fd);
    return answer < 0 ? Result<void>(writing_failed("brought to disk", journal_file_.name, -answer)) : Result<void>();
}

Result<void> Partial::sync_directory(const std::string& path) {
    const io::UniqueFd fd(calls_->open(path, O_RDONLY | O_DIRECTORY, 0));
    const int answer = fd.get() < 0 ? fd.get() : calls_->sync(fd.get());
    return answer < 0 ? Result<void>(writing_failed("brought to disk", path, -answer)) : Result<void>();
}

/// rename(2) of a directory replaces an empty one and nothing else.
Result<void> Partial::publish(const std::function<void(const std::string&)>& warn) {
    const int answer = calls_->rename(content_, destination_.path);
    if (answer == -EEXIST || answer == -ENOTEMPTY || answer == -ENOTDIR) {
        return destination_is_taken(destination_);
    }
    if (answer < 0) {
        return writing_failed("renamed to its name " + in_quotes(destination_.path), content_, -answer);
    }
    CKPTFS_TRY(sync_directory(destination_.parent));
    clear_or_warn(warn);
    return {};
}

/// What is exported is whole, and on disk.
void Partial::clear_or_warn(const std::function<void(const std::string&)>& warn) {
    if (const auto cleared = clear(); !cleared) {
        warn(cleared.error().message() + "; remove " + in_quotes(destination_.partial) + ", the export is whole");
    }
}

void Partial::abandon() {
    if (calls_->remove_directory(content_) == 0) {
        (void)clear();  // what cannot be removed is taken over by the next run
    }
}

/// The manifest goes last: with it, what is left after a kill is an export that is there already. The directory stays
/// where another export has come to it meanwhile, which finds that DEST is taken, and removes it.
Result<void> Partial::clear() {
    for (const std::string& name : {journal_file_.name, manifest_path_}) {
        if (const int answer = calls_->remove(name); answer < 0 && answer != -ENOENT) {
            return writing_failed("removed", name, -answer);
        }
    }
    // NFS keeps the name of a file that is open, under another one, and with it the directory.
    journal_file_.fd = io::UniqueFd();
    const int answer = calls_->remove_directory(destination_.partial);
    const bool is_gone = answer == 0 || answer == -ENOENT || answer == -ENOTEMPTY || answer == -EEXIST;
    return is_gone ? Result<void>() : Result<void>(writing_failed("removed", destination_.partial, -answer));
}

}  // namespace ckptfs::exporting
