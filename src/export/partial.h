// The directory that an export is built in: locked, and gone on with if an earlier run left it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "ckptfs/result.h"
#include "export/destination.h"
#include "export/journal.h"
#include "export/manifest.h"
#include "export/plan.h"
#include "export/recorder.h"
#include "export/write_calls.h"

namespace ckptfs::exporting {

/// Holds the lock as long as it lives.
class Partial {
 public:
    /// Makes it, or takes over what an earlier run of the same export left. `invalid_argument` where that was another
    /// one, or where the directory is none of ours; `io` where another process is at it.
    static Result<Partial> open(const WriteCalls& calls, const Destination& destination, const Manifest& manifest,
                                const std::function<void(const std::string&)>& warn);

    /// What the destination will be: ".../content".
    [[nodiscard]] const std::string& content() const { return content_; }
    [[nodiscard]] const std::map<std::uint64_t, FinishedFile>& finished() const { return journal_.files; }
    [[nodiscard]] const WrittenFile& journal() const { return journal_file_; }
    [[nodiscard]] std::uint64_t journal_nbytes() const { return journal_.nbytes; }
    /// Whether an earlier run ended between its last step and clearing up.
    [[nodiscard]] bool is_published() const { return is_published_; }

    /// What the journal says of files that are gone, or have another size by now, no longer holds: a machine that lost
    /// power may have lost their names, and what clears up old files does not ask. Not at the same time as a Recorder.
    Result<void> forget_what_is_gone(const Plan& plan, const std::function<void(const std::string&)>& warn);

    /// Leaves no trace where nothing has been written.
    void abandon();

    /// What the journal says of this file no longer holds. Not at the same time as a Recorder.
    Result<void> forget(std::uint64_t file) const;

    /// The last step: the content takes the place of the destination, and the rest goes. `warn` hears of what cannot.
    Result<void> publish(const std::function<void(const std::string&)>& warn);

 private:
    Partial(const WriteCalls& calls, const Destination& destination);
    Result<void> make_directory(const std::string& path);
    [[nodiscard]] Result<void> expect_trusted(const struct stat& directory) const;
    [[nodiscard]] Result<void> expect_ours() const;
    Result<void> lock(const std::function<void(const std::string&)>& warn);
    [[nodiscard]] bool has(const std::string& path) const;
    Result<void> compare(const Manifest& manifest);
    Result<void> begin(const Manifest& manifest);
    Result<std::string> text_of(int fd, const std::string& name) const;
    Result<void> load();
    Result<void> sync_directory(const std::string& path);
    Result<void> clear();
    void clear_or_warn(const std::function<void(const std::string&)>& warn);
    [[nodiscard]] Error taken();
    [[nodiscard]] Error has_just_ended() const;
    [[nodiscard]] Error unusable(const std::string& why) const;

    const WriteCalls* calls_;
    Destination destination_;
    std::string content_;
    std::string manifest_path_;
    WrittenFile journal_file_;
    LoadedJournal journal_;
    bool is_published_ = false;
};

}  // namespace ckptfs::exporting
