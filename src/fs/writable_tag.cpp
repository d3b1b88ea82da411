// The states of a tag: SOURCE's own, shown as a view, being removed.
#include "fs/writable_tag.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "fs/mount_tree.h"
#include "fs/source_tree.h"
#include "fs/standing_view.h"

namespace ckptfs {

ShownTag::Name ShownTag::kind_of(std::string_view name) const {
    if (!files) {
        return Name::plain;
    }
    if (removed && removed->contains(name)) {
        return Name::removed;
    }
    if (content->view->find(name)) {
        return Name::shown;
    }
    return content->shards.contains(name) ? Name::hidden : Name::plain;
}

WritableTag::WritableTag(std::shared_ptr<SourceDirectory> directory, const ViewRequest& request,
                         std::shared_ptr<const SourceWriter> writer)
    : request_(request), writer_(std::move(writer)), directory_(std::move(directory)) {
    directory_->expire();  // another one may have been there until now
}

std::shared_ptr<SourceDirectory> WritableTag::directory() const {
    const std::lock_guard lock(mutex_);
    return directory_;
}

void WritableTag::move_to(std::shared_ptr<SourceDirectory> directory) {
    directory->expire();
    std::shared_ptr<const TagFiles> released;  // destroyed after the lock
    const std::lock_guard lock(mutex_);
    directory_.swap(directory);
    released.swap(files_);
}

Outcome<ShownTag> WritableTag::look() {
    if (is_being_written()) {
        return ShownTag{};
    }
    const auto directory = this->directory();
    auto removal = last_removal();  // before: what is gone must not be compared with an older look
    const auto snapshot = directory->current();
    if (!snapshot) {
        // What is not there has no view. Whatever else it is, what goes on could lead to bytes that no name stands for.
        return snapshot.error().code() == ErrorCode::not_found ? Outcome(ShownTag{})
                                                               : answer_of_source(snapshot.error());
    }
    ShownTag shown;
    shown.lifetime = remaining((*snapshot)->checked_at, now());
    const auto going_on = removal_in(**snapshot, std::move(removal));
    if (!going_on.ok()) {
        return going_on.failure();
    }
    if (going_on.value) {
        const auto here = removal_here(going_on.value, **snapshot, directory);
        shown.files = here->files;
        shown.content = here->content;
        shown.removed = {here, &here->removed};
        return shown;
    }
    const auto& generation = (*snapshot)->generation;
    if (!generation) {
        return shown;
    }
    auto files = generation->files_for(request_, directory);
    {
        const std::lock_guard lock(mutex_);
        files_ = files;
    }
    auto content = files->content();
    shown.is_unread = content->problem && content->problem->code() == ErrorCode::io;
    if (content->view && !content->view->is_as_saved()) {
        shown.files = std::move(files);
        shown.content = std::move(content);
    }
    return shown;
}

Outcome<ShownTag::Name> WritableTag::kind_of(std::string_view name) {
    const auto shown = look();
    return shown.ok() ? Outcome(shown.value.kind_of(name)) : shown.failure();
}

Outcome<Done> WritableTag::may_be_used(std::string_view name) {
    const auto shown = look();
    if (!shown.ok()) {
        return shown.failure();
    }
    if (shown.value.kind_of(name) != ShownTag::Name::plain) {
        return Errno{ESTALE};
    }
    report_unshown();
    return shown.value.is_unread ? Errno{EIO} : Outcome<Done>(Done{});
}

bool WritableTag::is_current(const std::shared_ptr<const TagFiles>& files, const TagFiles::Content& content,
                             const Outcome<OpenedBytes>& opened) {
    {
        const std::lock_guard lock(mutex_);
        if (!removal_ || removal_->files != files) {
            return ckptfs::is_current(*files, content, opened);
        }
    }
    directory()->expire();
    const auto shown = look();
    return shown.ok() && shown.value.files == files;
}

void WritableTag::report_unshown() {
    if (is_being_written()) {
        return;
    }
    std::shared_ptr<const TagFiles> files;
    {
        const std::lock_guard lock(mutex_);
        files = files_;
    }
    const auto content = files ? files->loaded() : nullptr;
    if (content && content->problem && content->problem->code() != ErrorCode::incomplete) {
        files->report_problem();
    }
}

void WritableTag::begin_writing() {
    const std::lock_guard lock(mutex_);
    ++writers_;
}

void WritableTag::end_writing() {
    {
        const std::lock_guard lock(mutex_);
        --writers_;
    }
    note_change();
}

void WritableTag::note_change() {
    const auto directory = this->directory();
    std::shared_ptr<const Removal> ended;  // destroyed after the lock
    const auto at = now();
    {
        const std::lock_guard lock(mutex_);
        changed_at_ = at;
        ended.swap(removal_);
    }
    directory->expire();
}

void WritableTag::note_new_attributes() const {
    const auto directory = this->directory();
    directory->tree().known_tags().forget_save(directory->path());
    directory->expire();
}

Outcome<Done> WritableTag::take_over(const std::string& name, bool truncates, std::uint32_t mode,
                                     const Caller& caller) {
    if (auto ended = end_removal(caller); !ended.ok()) {
        return ended;
    }
    const std::lock_guard alone(changing_);
    const auto opened =
        writer_->open(directory()->child(name), O_WRONLY | O_CREAT | (truncates ? O_TRUNC : 0), mode, caller);
    if (!opened.ok() && opened.error != ELOOP) {  // a symbolic link, which whoever writes follows by himself
        return opened.failure();
    }
    note_change();
    return Done{};
}

bool WritableTag::tidy() {
    if (is_being_written()) {
        return true;
    }
    std::shared_ptr<const Removal> ended;  // destroyed after the lock
    const auto at = now();
    const std::lock_guard lock(mutex_);
    if (removal_ && at - removal_->last >= removal_memory) {
        ended.swap(removal_);
    }
    return removal_ != nullptr;
}

bool WritableTag::is_being_written() {
    const auto at = now();
    const std::lock_guard lock(mutex_);
    return writers_ > 0 || (changed_at_ && at - *changed_at_ < settled_age);
}

}  // namespace ckptfs
