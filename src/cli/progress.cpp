// Counters are read by the thread that prints; work only adds to them.
#include "cli/progress.h"

#include <algorithm>
#include <chrono>
#include <ostream>
#include <utility>

#include "util/text.h"
#include "zero/reader.h"

namespace ckptfs::cli {
namespace {

constexpr std::chrono::seconds delay{1};

class WatchedView final : public View {
 public:
    WatchedView(std::shared_ptr<const View> inner, std::shared_ptr<std::atomic<std::size_t>> opened)
        : inner_(std::move(inner)), opened_(std::move(opened)) {}

    [[nodiscard]] std::size_t file_count() const override { return inner_->file_count(); }
    [[nodiscard]] std::string file_name(std::size_t index) const override { return inner_->file_name(index); }
    [[nodiscard]] std::optional<std::size_t> find(std::string_view file_name) const override {
        return inner_->find(file_name);
    }
    [[nodiscard]] const ViewDirectories* directories() const override { return inner_->directories(); }
    [[nodiscard]] Result<std::uint64_t> file_size(std::size_t index) const override { return inner_->file_size(index); }
    [[nodiscard]] FileInfo file_info(std::size_t index) const override { return inner_->file_info(index); }
    [[nodiscard]] bool read_once(std::size_t index) const override { return inner_->read_once(index); }
    [[nodiscard]] bool is_as_saved() const override { return inner_->is_as_saved(); }
    [[nodiscard]] std::optional<std::size_t> file_set(std::string_view name) const override {
        return inner_->file_set(name);
    }
    [[nodiscard]] Result<std::shared_ptr<const File>> open(std::size_t index) const override {
        opened_->fetch_add(1, std::memory_order_relaxed);
        return inner_->open(index);
    }

 private:
    std::shared_ptr<const View> inner_;
    std::shared_ptr<std::atomic<std::size_t>> opened_;
};

}  // namespace

Progress::Progress(const Environment& environment) {
    if (environment.error_is_terminal) {
        const auto text = [said = said_] {
            const std::lock_guard lock(said->mutex);
            return said->text ? said->text() : std::string();
        };
        printer_ = std::make_unique<ProgressPrinter>(text, environment.error, ProgressPrinter::Style::one_line,
                                                     environment.error_columns, delay);
    }
}

void Progress::say(std::string text) {
    say([text = std::move(text)] { return text; });
}

void Progress::say(std::function<std::string()> text) {
    const std::lock_guard lock(said_->mutex);
    said_->text = std::move(text);
}

void Progress::aside(std::ostream& stream, const std::string& text) {
    const auto write = [&] { stream << text << std::flush; };
    if (printer_) {
        printer_->aside(write);
    } else {
        write();
    }
}

std::shared_ptr<const Source> Progress::watch(std::shared_ptr<const Source> source) {
    if (!printer_) {
        return source;
    }
    watched_ = std::make_shared<const io::CountingSource>(std::move(source));
    return watched_;
}

void Progress::say_reading(const std::string& directory) {
    if (!watched_) {
        return;
    }
    const auto listing = watched_->list(directory);
    const std::size_t files = listing ? zero::shard_files(*listing).size() + zero::layer_files(*listing).size() : 0;
    say([source = watched_, before = watched_->counters().opens.load(), files,
         what = "reading " + (directory.empty() ? std::string("the tag") : printable(directory)) + ": "] {
        const std::uint64_t opened = source->counters().opens - before;
        return what + grouped(std::min<std::uint64_t>(opened, files)) + " of " + counted(files, "file");
    });
}

void Progress::say_nbytes(const std::string& what, std::uint64_t total) {
    if (!watched_) {
        return;
    }
    say([source = watched_, before = watched_->counters().nbytes.load(), total, what, meter = RateMeter()]() mutable {
        const std::uint64_t done = source->counters().nbytes - before;
        meter.add(std::chrono::steady_clock::now(), done);
        if (total > 0) {
            return what + ": " + amount_text(std::min(done, total), total, meter.rate());
        }
        const std::string rate =
            meter.rate() >= 1 ? ", " + human_nbytes(static_cast<std::uint64_t>(meter.rate())) + "/s" : "";
        return what + ": " + human_nbytes(done) + " read" + rate;
    });
}

std::shared_ptr<const View> Progress::say_opening(const std::string& what, std::shared_ptr<const View> view) {
    if (!printer_) {
        return view;
    }
    const auto opened = std::make_shared<std::atomic<std::size_t>>(0);
    say([what, opened, files = view->file_count()] {
        return what + ": " + grouped(std::min<std::size_t>(*opened, files)) + " of " + counted(files, "file");
    });
    return std::make_shared<const WatchedView>(std::move(view), opened);
}

}  // namespace ckptfs::cli
