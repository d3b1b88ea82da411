// One function per library, which knows its files and what it does when they do not fit.
#include "report/resume_warnings.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "pt/archive.h"
#include "util/path.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

using pickle::Node;

// A trainer's state with a log of millions of steps is smaller; a larger file is something else.
constexpr std::uint64_t max_state_nbytes = std::uint64_t{64} << 20U;

class Observer {
 public:
    Observer(const Source& source, const std::string& tag, const zero::Written& checkpoint,
             std::optional<std::uint64_t> world_size)
        : source_(source), checkpoint_(checkpoint), before_(checkpoint.world_size()), after_(world_size) {
        if (tag.empty()) {
            return;
        }
        const std::size_t slash = tag.rfind('/');
        parent_ = slash == std::string::npos ? "" : tag.substr(0, slash);
        if (auto listed = source.list(parent_)) {
            beside_ = *std::move(listed);
        }
    }

    std::vector<std::string> run() {
        if (after_ != before_) {
            transformers();
            accelerate();
            lightning();
            deepspeed();
        }
        return std::move(warnings_);
    }

 private:
    [[nodiscard]] bool has(std::string_view name) const {
        return std::any_of(beside_.begin(), beside_.end(),
                           [&](const DirectoryEntry& entry) { return entry.name == name; });
    }
    [[nodiscard]] bool has_ranks(std::string_view prefix, std::string_view suffix) const {
        return has(std::string(prefix) + "0" + std::string(suffix));
    }
    [[nodiscard]] std::string path(std::string_view name) const { return join_path(parent_, name); }
    [[nodiscard]] std::string shown(std::string_view name) const { return in_quotes(source_.display(path(name))); }
    void warn(std::string sentence) { warnings_.push_back(std::move(sentence)); }

    [[nodiscard]] bool may_grow() const { return !after_ || *after_ > before_; }
    [[nodiscard]] bool may_shrink() const { return before_ > 1 && (!after_ || *after_ < before_); }

    /// "ranks 4 and up" of those that have no file.
    [[nodiscard]] std::string new_ranks() const {
        if (!after_) {
            return "ranks from " + grouped(before_) + " on";
        }
        return *after_ == before_ + 1 ? "rank " + grouped(before_)
                                      : "ranks " + grouped(before_) + " to " + grouped(*after_ - 1);
    }

    // Hugging Face Trainer: rng_state_<rank>.pth, of one rank rng_state.pth; a file that is missing is passed over.
    void transformers() {
        if (!has("trainer_state.json")) {
            return;
        }
        if (before_ == 1 && has("rng_state.pth")) {
            warn(shown("rng_state.pth") +
                 " is of 1 rank: at more, the Trainer looks for rng_state_<rank>.pth, and no rank's random state is "
                 "restored; each keeps its own seed");
        } else if (has_ranks("rng_state_", ".pth")) {
            if (after_ == 1U) {
                warn(shown("rng_state_0.pth") +
                     " and the like are not read at 1 rank: the Trainer looks for rng_state.pth, and keeps its own "
                     "seed");
            } else if (may_grow()) {
                warn("there is no " + shown("rng_state_" + std::to_string(before_) + ".pth") + ": " + new_ranks() +
                     " keep their own seed, without a word");
            } else if (may_shrink()) {
                warn("random states of " + std::to_string(before_ - *after_) + " ranks, " +
                     shown("rng_state_" + std::to_string(*after_) + ".pth") + " and on, are not read by anybody");
            }
        }
        warn(
            "the Hugging Face Trainer finds its place in the epoch from the global step and the new number of steps in "
            "an "
            "epoch: it is exact where the global batch stays as it was, else epoch and data position jump");
        best_checkpoint();
    }

    void best_checkpoint() {
        const auto text = read_small("trainer_state.json");
        const auto state = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
        if (!state.is_object()) {
            warn(shown("trainer_state.json") + " cannot be read: the Trainer will stop at it");
            return;
        }
        const auto best = state.find("best_model_checkpoint");
        if (best != state.end() && best->is_string() && !best->get_ref<const std::string&>().empty()) {
            warn(shown("trainer_state.json") + " names the best checkpoint by its own path, " +
                 in_quotes(best->get<std::string>()) +
                 ": with load_best_model_at_end a run that resumes from a mount elsewhere stops at its very end, as "
                 "that one is not re-cut; `ckptfs run --in-place` re-cuts it where it is");
        }
    }

    // accelerate: random_states_<rank>.pkl hold the rank's count of micro-steps too.
    void accelerate() {
        if (has_ranks("random_states_", ".pkl")) {
            if (may_grow()) {
                const auto step = saved_step();
                if (step != 0) {  // which is a multiple of any number
                    warn_of_micro_steps(step);
                }
                warn("accelerate has no random states for " + new_ranks() + ", which keep their own");
            } else {
                warn("accelerate does not read the random states of " + std::to_string(before_ - *after_) + " ranks, " +
                     shown("random_states_" + std::to_string(*after_) + ".pkl") + " and on");
            }
        }
        if (has("scheduler.bin") && (has_ranks("random_states_", ".pkl") || has("sampler.bin"))) {
            warn("accelerate's " + shown("scheduler.bin") + " counts as many steps for an update as there are ranks: " +
                 grouped(before_) + " so far, " + (after_ ? grouped(*after_) : std::string("N")) +
                 " from now on, so that position and slope of the learning rate change");
        }
    }

    void warn_of_micro_steps(const std::optional<std::uint64_t>& step) {
        warn("accelerate counts micro-steps in " + shown("random_states_0.pkl") +
             (step ? " (" + grouped(*step) + " now)" : "") + ": " + new_ranks() +
             " have no such file and count from 0, so that ranks wait for each other for ever unless the count is a "
             "multiple of gradient_accumulation_steps");
    }

    [[nodiscard]] std::optional<std::uint64_t> saved_step() const {
        const auto file = source_.open(path("random_states_0.pkl"));
        if (!file) {
            return std::nullopt;
        }
        const auto archive = pt::Archive::open(*file);
        const Node* step = archive ? pickle::find((*archive)->root(), "step") : nullptr;
        if (step == nullptr || step->kind != pickle::Kind::integer || step->integer < 0) {
            return std::nullopt;
        }
        return static_cast<std::uint64_t>(step->integer);
    }

    [[nodiscard]] const Node* client_state(std::string_view key) const {
        const Node* value = pickle::find(checkpoint_.families.front().model_states->root(), key);
        return value == nullptr || value->kind == pickle::Kind::none ? nullptr : value;
    }

    void lightning() {
        if (client_state("pytorch-lightning_version") == nullptr) {
            return;
        }
        if (client_state("loops") != nullptr) {
            warn(
                "Lightning's loops count batches of the old size: epoch and step are right where the global batch "
                "stays as it "
                "was, else a checkpoint from the middle of an epoch resumes at another place in it");
        }
        if (const std::string best = best_model_path(); !best.empty()) {
            warn("Lightning's ModelCheckpoint names its best checkpoint by its own path, " + in_quotes(best) +
                 ": `ckptfs run --in-place` re-cuts it where it is; a run that resumes from a mount elsewhere loads it "
                 "with ckpt_path='best' as it was cut, and with save_top_k=1 and the same dirpath the first save "
                 "removes it: set save_top_k=-1, or another dirpath, there");
        }
    }

    [[nodiscard]] std::string best_model_path() const {
        const Node* callbacks = client_state("callbacks");
        if (callbacks == nullptr || callbacks->kind != pickle::Kind::dict) {
            return "";
        }
        for (std::size_t value = 1; value < callbacks->items.size(); value += 2) {
            const Node* path = pickle::find(callbacks->items[value], "best_model_path");
            if (path != nullptr && path->kind == pickle::Kind::string && !path->text.empty()) {
                return path->text;
            }
        }
        return "";
    }

    void deepspeed() {
        if (client_state("data_sampler") != nullptr) {
            warn(
                "the state of DeepSpeed's curriculum data sampler lists what each process has drawn: it is passed on "
                "as it is, "
                "and does not follow");
        }
    }

    [[nodiscard]] std::optional<std::string> read_small(std::string_view name) const {
        const auto file = source_.open(path(name));
        if (!file || (*file)->size() > max_state_nbytes) {
            return std::nullopt;
        }
        std::string text(static_cast<std::size_t>((*file)->size()), '\0');
        if (!(*file)->read(0, std::as_writable_bytes(std::span(text)))) {
            return std::nullopt;
        }
        return text;
    }

    const Source& source_;
    const zero::Written& checkpoint_;
    std::uint64_t before_;
    std::optional<std::uint64_t> after_;
    std::string parent_;
    std::vector<DirectoryEntry> beside_;
    std::vector<std::string> warnings_;
};

}  // namespace

std::vector<std::string> resume_warnings(const Source& source, const std::string& directory,
                                         const zero::Written& checkpoint, std::optional<std::uint64_t> world_size) {
    return Observer(source, directory, checkpoint, world_size).run();
}

}  // namespace ckptfs::report
