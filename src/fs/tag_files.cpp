// Made when somebody looks into a tag, and let go of with it.
#include "fs/tag_files.h"

#include <cerrno>
#include <utility>

#include "fs/source_directory.h"
#include "fs/source_tree.h"
#include "util/log.h"
#include "util/scoped_flag.h"

namespace ckptfs {

TagFiles::TagFiles(std::shared_ptr<SourceDirectory> directory, std::shared_ptr<TagGeneration> generation,
                   const ViewRequest& request)
    : directory_(std::move(directory)), generation_(std::move(generation)), request_(request) {}

std::shared_ptr<const TagFiles::Content> TagFiles::loaded() const {
    const std::lock_guard lock(mutex_);
    return content_ ? content_ : last_content_.lock();
}

bool TagFiles::unload() const {
    std::shared_ptr<const Content> released;  // destroyed after the lock
    if (is_being_made_) {
        return false;
    }
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) {
        released.swap(content_);
    }
    return lock.owns_lock();
}

std::shared_ptr<const TagFiles::Content> TagFiles::content() const {
    directory_->tree().known_tags().note_use();
    const std::lock_guard lock(mutex_);
    if (content_) {
        return content_;
    }
    content_ = last_content_.lock();
    if (content_) {
        static_cast<void>(generation_->tag());  // in memory again, and known to be
        return content_;
    }
    const ScopedFlag making(is_being_made_);
    Content content;
    content.tag = generation_->tag();
    const auto& tag = content.tag;
    content.shards.insert(tag->replaced_files().begin(), tag->replaced_files().end());
    if (auto view = tag->show(request_)) {
        content.view = std::move(view).value();
    } else {
        content.problem = view.error();
    }
    if (content.problem) {
        content.shards.insert(generation_->shards().names.begin(), generation_->shards().names.end());
    }
    content_ = std::make_shared<const Content>(std::move(content));
    last_content_ = content_;
    return content_;
}

void TagFiles::report_problem() const {
    const auto shown = content();
    const auto& problem = shown->problem;
    if (problem && !reported_.exchange(true)) {
        log::error(not_shown(*problem).message());
    }
}

Errno TagFiles::refuse() const {
    report_problem();
    const auto shown = content();
    return {lacks_memory(*shown) ? ENOMEM : EIO,
            shown->problem ? std::make_shared<const Error>(not_shown(*shown->problem)) : nullptr};
}

bool TagFiles::lacks_memory(const Content& content) {
    return content.problem && ckptfs::lacks_memory(*content.problem);
}

Error TagFiles::not_shown(const Error& problem) const {
    return problem.within(generation_->display() + " cannot be shown as " + request_.name());
}

}  // namespace ckptfs
