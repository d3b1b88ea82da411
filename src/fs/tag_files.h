// What a tag shows under a request.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "ckptfs/view.h"
#include "fs/tag_generation.h"
#include "util/outcome.h"

namespace ckptfs {

/// The files of one generation of a tag under one request.
class TagFiles {
 public:
    TagFiles(std::shared_ptr<SourceDirectory> directory, std::shared_ptr<TagGeneration> generation,
             const ViewRequest& request);

    struct Content {
        std::shared_ptr<const Tag> tag;
        std::shared_ptr<const View> view;  ///< null where there is a problem
        std::optional<Error> problem;
        /// Names of the tag directory that must not be shown as they are: replaced by the view, or, where there is a
        /// problem, listed and not to be opened.
        std::set<std::string, std::less<>> shards;
    };
    /// Reads the tag and makes its view on the first call; concurrent first calls wait for that.
    [[nodiscard]] std::shared_ptr<const Content> content() const;
    /// null: nobody has called content() yet, or it was unloaded and nobody has it.
    [[nodiscard]] std::shared_ptr<const Content> loaded() const;
    /// The next content() reads the tag again. False: it is being read just now, and stays.
    [[nodiscard]] bool unload() const;

    [[nodiscard]] const TagGeneration& generation() const { return *generation_; }
    [[nodiscard]] const ViewRequest& request() const { return request_; }
    [[nodiscard]] const std::shared_ptr<SourceDirectory>& directory() const { return directory_; }
    /// Whether its problem is that memory is short: there may be more in a moment.
    [[nodiscard]] static bool lacks_memory(const Content& content);
    /// One line in the log, on the first call.
    void report_problem() const;
    /// That, and the answer to who opens what the problem keeps from being shown: EIO, or ENOMEM.
    [[nodiscard]] Errno refuse() const;

 private:
    std::shared_ptr<SourceDirectory> directory_;
    std::shared_ptr<TagGeneration> generation_;
    ViewRequest request_;

    [[nodiscard]] Error not_shown(const Error& problem) const;

    mutable std::mutex mutex_;
    mutable std::shared_ptr<const Content> content_;
    mutable std::weak_ptr<const Content> last_content_;  // who has a file open has what it was made of, too
    mutable std::atomic<bool> is_being_made_ = false;    // by whoever has mutex_, who may call unload() from there
    mutable std::atomic<bool> reported_ = false;
};

}  // namespace ckptfs
