// Random saves, removals, renames and kills through two mounts of one directory, and past them: the directory, each
// answer and what the mounts show are the model's.
//   CKPTFS_PROPERTY_SEED=<seed of a case> CKPTFS_PROPERTY_CASES=1 tests/property_writing   runs one case again.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cases.h"
#include "fs/file_system.h"
#include "io/posix_source.h"
#include "naive/random.h"
#include "support/cut_tags.h"
#include "support/program.h"
#include "support/temporary_directory.h"
#include "util/log.h"
#include "writing/model.h"

namespace ckptfs::test {
namespace {

constexpr std::uint64_t default_seed = 20'261'130;
constexpr std::uint64_t default_cases = 150;
constexpr std::size_t steps = 60;
constexpr std::uint64_t own_size = 2;
constexpr std::size_t node_count = 2;

using Style = WritingModel::Style;

/// A mount of one of the nodes.
struct MountedNode {
    std::unique_ptr<FileSystem> file_system;
    std::unique_ptr<Program> program;
};

class WritingCase {
 public:
    explicit WritingCase(std::uint64_t seed) : random_(seed) {
        for (std::size_t node = 0; node < node_count; ++node) {
            nodes_.push_back(mount());
        }
    }

    /// What went wrong, or an empty string.
    std::string run() {
        for (std::size_t step = 0; step < steps && wrong_.empty(); ++step) {
            operate();
            pass(1'000);  // what another node has done is seen
            check();
        }
        return wrong_.empty() ? "" : wrong_ + "\n" + done_.str();
    }

 private:
    MountedNode mount() {
        const auto source = io::DirectorySource::open_directory(directory_.path()).value();
        FileSystemOptions options;
        options.request = ViewRequest::at_world_size(own_size);
        options.writer = source->writer();
        options.now = [this] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(now_ms_)); };
        options.wall_now_ns = [this] { return system_time_ns() + now_ms_ * 1'000'000; };
        options.sleep = [](std::chrono::milliseconds /*duration*/) {};
        MountedNode node;
        node.file_system = FileSystem::create(source, std::make_shared<CutReader>(), std::move(options)).value();
        node.program = std::make_unique<Program>(*node.file_system);
        return node;
    }
    Program& program() { return *nodes_[node_].program; }
    void pass(std::int64_t ms) {
        now_ms_ += ms;
        model_.pass(ms);
    }
    void expect(const std::string& what, int answer, int expected) {
        done_ << "  node " << node_ << ": " << what << " -> " << answer << "\n";
        if (answer != expected && wrong_.empty()) {
            wrong_ = what + " answered " + std::to_string(answer) + ", expected " + std::to_string(expected);
        }
    }

    std::string any_path() {
        constexpr std::array<const char*, 7> paths{"t0", "t1", "t2", "a", "a/t0", "a/t1", "b"};
        return paths[random_.below(paths.size())];
    }
    std::string any_tag() {
        std::string path = any_path();
        for (int tries = 0; tries < 10 && !model_.source().contains(path); ++tries) {
            path = any_path();
        }
        return path;
    }
    std::string any_name() {
        constexpr std::array<const char*, 8> names{"model.shard",  "rank_0.shard",  "rank_1.shard", "rank_2.shard",
                                                   "rank_3.shard", "layer_0.shard", "odd.shard",    "notes"};
        return names[random_.below(names.size())];
    }
    std::string new_save() { return "s" + std::to_string(++saves_); }
    /// So that no two states of a file have one stamp, however fast they follow each other.
    void set_time(const std::string& path) {
        const timespec time{1'000'000'000 + ++times_, 0};
        const std::array<timespec, 2> both{time, time};
        ::utimensat(AT_FDCWD, (directory_ / path).c_str(), both.data(), AT_SYMLINK_NOFOLLOW);
    }

    void operate() {
        node_ = random_.below(node_count);
        constexpr std::array<std::int64_t, 6> waits{0, 0, 300, 1'500, 2'500, 61'000};
        pass(waits[random_.below(waits.size())]);
        switch (random_.below(16)) {
            case 0:
            case 1:
            case 2:
                save(random_.one_in(2) ? own_size : random_.between(1, 4));
                break;
            case 3:
            case 4:
                save_in_source();
                break;
            case 5:
            case 6:
                remove_some(any_tag(), random_.one_in(3) ? random_.between(1, 5) : 100);
                break;
            case 7:
                rename_directory();
                break;
            case 8:
                rename_file();
                break;
            case 9:
                unlink(any_tag(), any_name());
                break;
            case 10:
                chmod(any_tag(), any_name());
                break;
            case 11:
                restart();
                break;
            case 12:
                hold_or_close();
                break;
            case 13:
                make_directory(any_path());
                break;
            case 14:
                nodes_[node_].file_system->tidy();
                break;
            default:
                write(any_tag(), any_name(), std::to_string(random_.between(1, 4)) + " " + new_save(), any_style());
        }
    }
    Style any_style() { return static_cast<Style>(random_.below(6)); }

    void make_directory(const std::string& path) {
        const int expected = model_.mkdir(path);
        expect("mkdir " + path, program().mkdir(path), expected);
    }
    void write(const std::string& tag, const std::string& name, const std::string& text, Style style) {
        const int expected = model_.write(node_, tag, name, text, style);
        const std::string path = tag + "/" + name;
        int answer = 0;
        switch (style) {
            case Style::truncate:
                answer = program().write(path, text);
                break;
            case Style::exclusive:
                answer = program().write(path, text, O_WRONLY | O_CREAT | O_EXCL);
                break;
            case Style::append:
                answer = program().write(path, text, O_WRONLY | O_CREAT | O_APPEND);
                break;
            case Style::read_write:
                answer = program().write(path, text, O_RDWR);
                break;
            case Style::replace:
                answer = program().write(tag + "/.tmp", text);
                answer = answer == 0 ? program().rename(tag + "/.tmp", path) : answer;
                break;
            case Style::truncate_call:
                answer = program().truncate(path, 0);
                break;
        }
        if (answer == 0) {
            set_time(path);
        }
        expect("write " + path + " '" + text + "' in style " + std::to_string(static_cast<int>(style)), answer,
               expected);
    }
    /// As a trainer does: all files anew, or as many as it comes to.
    void save(std::uint64_t world_size) {
        const std::string tag = any_path();
        make_directory(tag);
        auto files = saved_files(world_size, new_save());
        if (random_.one_in(2)) {
            std::reverse(files.begin(), files.end());
        }
        if (random_.one_in(4)) {
            files.emplace_back("layer_0.shard", "a layer");
        }
        const std::size_t count = random_.one_in(3) ? random_.below(files.size() + 1) : files.size();
        const Style style = random_.one_in(2) ? Style::truncate : Style::replace;
        for (std::size_t i = 0; i < count && wrong_.empty(); ++i) {
            write(tag, files[i].first, files[i].second, style);
            pass(random_.one_in(4) ? 1'200 : 0);
        }
    }
    void save_in_source() {
        const std::string tag = any_path();
        const auto slash = tag.find('/');
        if (slash != std::string::npos && !model_.source().contains(tag.substr(0, slash))) {
            return;
        }
        std::filesystem::create_directory(directory_ / tag);
        model_.make_in_source(tag);
        const std::uint64_t world_size = random_.between(1, 4);
        auto files = saved_files(world_size, new_save());
        if (random_.one_in(4)) {
            files.emplace_back("layer_0.shard", "a layer");
        }
        files.resize(random_.one_in(4) ? random_.below(files.size() + 1) : files.size());
        for (const auto& [name, text] : files) {
            directory_.write(tag + "/" + name, text);
            set_time(tag + "/" + name);
            model_.write_in_source(tag, name, text);
        }
        done_ << "  in SOURCE: " << files.size() << " files of a save of " << world_size << " in " << tag << "\n";
    }
    void unlink(const std::string& tag, const std::string& name) {
        const int expected = model_.unlink(node_, tag, name);
        expect("unlink " + tag + "/" + name, program().unlink(tag + "/" + name), expected);
    }
    /// What is shown in it, one by one, and then the directory.
    void remove_some(const std::string& tag, std::size_t most) {
        if (!model_.source().contains(tag)) {
            return;
        }
        auto names = program().list(tag).value;
        std::vector<std::string> order(names.begin(), names.end());
        if (random_.one_in(2)) {
            std::reverse(order.begin(), order.end());
        }
        for (const std::string& name : order) {
            if (most-- == 0 || !wrong_.empty()) {
                return;
            }
            if (!model_.source().contains(tag + "/" + name)) {
                unlink(tag, name);
            }
            pass(random_.one_in(4) ? 1'200 : 0);
        }
        close_all();  // inodes are used again, and a file that is open says that its directory is written
        const int expected = model_.rmdir(node_, tag);
        expect("rmdir " + tag, program().rmdir(tag), expected);
        pass(2'100);
    }
    void rename_directory() {
        close_all();
        const std::string from = any_tag();
        const std::string to = any_path();
        const int expected = model_.rename_directory(node_, from, to);
        expect("rename " + from + " to " + to, program().rename(from, to), expected);
        pass(2'100);
    }
    void rename_file() {
        const std::string tag = any_tag();
        const std::string name = any_name();
        const std::string new_name = any_name();
        const int expected = model_.rename_file(node_, tag, name, new_name);
        const int answer = program().rename(tag + "/" + name, tag + "/" + new_name);
        expect("rename " + tag + "/" + name + " to " + new_name, answer, expected);
        if (answer == 0 && name != new_name) {
            set_time(tag + "/" + new_name);
        }
    }
    void chmod(const std::string& tag, const std::string& name) {
        if (model_.is_being_removed(tag)) {
            return;  // whether the time that this leaves is another one depends on the system's clock
        }
        const int expected = model_.chmod(node_, tag, name);
        expect("chmod " + tag + "/" + name, program().chmod(tag + "/" + name, random_.one_in(2) ? 0600 : 0644),
               expected);
    }
    void restart() {
        done_ << "  node " << node_ << ": killed\n";
        std::erase_if(held_, [&](const Held& held) { return held.node == node_; });
        nodes_[node_] = MountedNode();
        nodes_[node_] = mount();
        model_.restart(node_);
    }
    struct Held {
        std::size_t node = 0;
        Program::OpenResult opened;
        std::shared_ptr<WritingModel::Writer> writer;
    };
    void hold_or_close() {
        if (!held_.empty()) {
            close_all();
            return;
        }
        const std::string tag = any_tag();
        const std::string path = tag + "/rank_0.shard";
        if (!model_.source().contains(tag)) {
            return;
        }
        const int expected = model_.write(node_, tag, "rank_0.shard", "", Style::truncate);
        const auto opened = program().open(path, O_WRONLY | O_CREAT | O_TRUNC);
        expect("hold " + path, opened.error, expected);
        if (opened.error == 0) {
            set_time(path);
            held_.push_back({node_, opened, model_.hold(node_, tag)});
        }
    }
    void close_all() {
        for (const Held& held : held_) {
            nodes_[held.node].program->close(held.opened);
            model_.close(held.writer);
            done_ << "  node " << held.node << ": close\n";
        }
        held_.clear();
    }

    void check() {
        for (const auto& [path, files] : model_.source()) {
            std::set<std::string> expected = model_.directories_in(path);
            for (const auto& [name, file] : files) {
                expected.insert(name);
                const std::string full = path.empty() ? name : path + "/" + name;
                if (std::filesystem::exists(directory_ / full) && file_bytes(directory_ / full) != file.text) {
                    fail(full + " in SOURCE is '" + file_bytes(directory_ / full) + "', expected '" + file.text + "'");
                }
            }
            std::set<std::string> found;
            if (std::filesystem::is_directory(directory_ / path)) {
                for (const auto& entry : std::filesystem::directory_iterator(directory_ / path)) {
                    found.insert(entry.path().filename());
                }
            }
            compare(path + " in SOURCE", found, expected);
            for (std::size_t node = 0; node < node_count; ++node) {
                if (random_.one_in(2)) {
                    check_shown(node, path);
                }
            }
        }
    }
    void check_shown(std::size_t node, const std::string& path) {
        Program& program = *nodes_[node].program;
        const std::string where = "what node " + std::to_string(node) + " shows of " + path;
        const auto shown = model_.shown(node, path);
        std::set<std::string> expected = model_.directories_in(path);
        for (const auto& [name, text] : shown) {
            expected.insert(name);
        }
        compare(where, program.list(path).value, expected);
        for (const auto& [name, text] : shown) {
            const std::string full = path.empty() ? name : path + "/" + name;
            const auto read = program.read(full);
            if (!read.ok() || read.value != text) {
                fail(where + ": " + name + " is '" + read.value + "' (" + std::to_string(read.error) + "), expected '" +
                     text + "'");
            }
            if (program.stat(full).value.size != text.size()) {
                fail(where + ": the size of " + name);
            }
        }
    }
    void compare(const std::string& what, const std::set<std::string>& found, const std::set<std::string>& expected) {
        if (found == expected) {
            return;
        }
        std::string text = what + ":";
        for (const std::string& name : found) {
            text += expected.contains(name) ? "" : " has " + name;
        }
        for (const std::string& name : expected) {
            text += found.contains(name) ? "" : " lacks " + name;
        }
        fail(text);
    }
    void fail(const std::string& what) {
        if (wrong_.empty()) {
            wrong_ = what;
        }
    }

    naive::Random random_;
    TemporaryDirectory directory_;
    WritingModel model_{own_size, node_count};
    std::int64_t now_ms_ = 0;
    std::vector<MountedNode> nodes_;
    std::size_t node_ = 0;
    std::vector<Held> held_;
    std::uint64_t saves_ = 0;
    std::int64_t times_ = 0;
    std::ostringstream done_;
    std::string wrong_;
};

std::string run_writing(std::uint64_t seed) {
    const std::string wrong = WritingCase(seed).run();
    return wrong.empty() ? "" : "seed " + std::to_string(seed) + ": " + wrong;
}

class PropertyWriting : public ::testing::Test {
 protected:
    void SetUp() override { ASSERT_TRUE(log::to_file(log_ / "log").ok()); }
    void TearDown() override { log::to_stderr(); }
    TemporaryDirectory log_;
};

TEST_F(PropertyWriting, the_directory_and_its_mounts_are_the_models) {
    run_known_cases(default_seed, default_cases, run_writing);
}

TEST_F(PropertyWriting, the_directory_and_its_mounts_are_the_models_at_seeds_never_seen) {
    run_new_cases(default_cases, run_writing);
}

}  // namespace
}  // namespace ckptfs::test
