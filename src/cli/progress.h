// One line on the terminal that says what a command is doing, once it has taken a second.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <mutex>
#include <string>

#include "ckptfs/source.h"
#include "ckptfs/view.h"
#include "cli/environment.h"
#include "io/counting_source.h"
#include "util/progress.h"

namespace ckptfs::cli {

/// Silent where standard error is no terminal. Its functions may be called by one thread at a time.
class Progress {
 public:
    explicit Progress(const Environment& environment);

    /// What is done from now on.
    void say(std::string text);
    /// The same, as it is at each moment: called by another thread.
    void say(std::function<std::string()> text);
    /// Writes whole lines to a stream that may lead to the same terminal.
    void aside(std::ostream& stream, const std::string& text);
    /// Nothing more is said.
    void end() { printer_.reset(); }

    /// `source`, whose files and bytes are counted from now on; itself where nobody is told.
    [[nodiscard]] std::shared_ptr<const Source> watch(std::shared_ptr<const Source> source);
    /// "reading TAG: 12 of 2,048 files": those of the tag in `directory` that are opened from now on.
    void say_reading(const std::string& directory);
    /// `view`, of which is said how many files have been opened: "WHAT: 12 of 2,048 files".
    [[nodiscard]] std::shared_ptr<const View> say_opening(const std::string& what, std::shared_ptr<const View> view);
    /// "WHAT: 12.3 GB of 45.6 GB (27 %), …"; without a total "WHAT: 12.3 GB read, 1.2 GB/s".
    void say_nbytes(const std::string& what, std::uint64_t total);

 private:
    struct Said {
        std::mutex mutex;
        std::function<std::string()> text;
    };

    std::shared_ptr<Said> said_ = std::make_shared<Said>();
    std::shared_ptr<const io::CountingSource> watched_;
    std::unique_ptr<ProgressPrinter> printer_;
};

}  // namespace ckptfs::cli
