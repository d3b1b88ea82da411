// Command lines in process: real directories, streams and hooks of the test's own, no FUSE, no fork, no libtorch.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "ckptfs/open.h"
#include "cli/run.h"
#include "io/posix_source.h"
#include "io/whole_file.h"
#include "support/effort.h"
#include "support/records.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"
#include "util/log.h"

namespace ckptfs::cli::test {

inline const std::filesystem::path fixtures = test_data() / "zero";

inline std::string tag_name(const std::filesystem::path& source) {
    return ckptfs::test::file_bytes((source / "latest").string());
}

/// The checkpoints among the fixtures that can be shown at any world size and are no other's expected view.
inline std::vector<std::filesystem::path> whole_fixtures() {
    std::vector<std::filesystem::path> result;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(fixtures)) {
        const std::filesystem::path directory = entry.path().parent_path();
        const std::string name = directory.filename().string();
        if (entry.path().filename() == "latest" && name != "universal" && name.find("_at_ws") == std::string::npos) {
            result.push_back(directory);
        }
    }
    EXPECT_GE(result.size(), 20U);
    return result;
}

/// All of them, or every fourth for what is done in one thread whatever the fixture.
inline std::vector<std::filesystem::path> fixtures_of_one_thread() {
    const auto all = whole_fixtures();
    std::vector<std::filesystem::path> result;
    for (std::size_t i = 0; i < all.size(); i += ckptfs::test::unless_looking_for_races(1, 4)) {
        result.push_back(all[i]);
    }
    return result;
}

using ckptfs::test::read_records;

/// One run of the command line.
class Harness {
 public:
    int run(const std::vector<std::string>& arguments) {
        out_.str("");
        error_.str("");
        const Environment environment{
            .out = out_,
            .error = error_,
            .working_directory = std::filesystem::path(temporary_.path()),
            .variable =
                [this](const std::string& name) { return name == "NOTIFY_SOCKET" ? notify_socket : std::nullopt; },
            .streams_are_one = streams_are_one,
            .error_is_terminal = error_is_terminal,
            .error_columns = error_columns,
            .columns = columns,
            .interrupted = interrupted,
            .write_file = io::write_whole_file,
            .open_source = open_source,
            .read_with_torch = read_with_torch,
            .mount_controls = controls,
            .is_first_time = [this](const std::string& what) { return warned_of.insert(what).second; },
            .open_writable_source = [this](const std::string& path, bool is_held) -> Result<WritableSource> {
                held = is_held;
                CKPTFS_ASSIGN(auto source, io::DirectorySource::open_directory(path));
                auto writer = source->writer();
                return WritableSource{std::move(source), std::move(writer)};
            },
            .tell_service_manager = [this](const std::string& socket, std::string_view state) -> Result<void> {
                told.push_back(socket + " " + std::string(state));
                return tell_result;
            },
            .log_to_syslog =
                [this](log::Format format) {
                    log::to_stderr(format);
                    return has_syslog;
                },
            .check_mount_point =
                [this](const MountOptions& options) {
                    checked = options;
                    return check_result;
                },
            .mount_and_serve = [this](FileSystem& file_system, const MountOptions& options,
                                      const std::function<void()>& on_ready) -> Result<void> {
                if (!serve_result) {
                    return serve_result;
                }
                mounts.push_back(options);
                on_ready();
                serve(file_system);
                return {};
            },
            .daemonise =
                [this](const auto& body, StartExitCodes codes, std::optional<int> kept) {
                    ++daemons;
                    kept_descriptor = kept;
                    EXPECT_EQ(codes.crashed, 70);
                    EXPECT_EQ(codes.refused, 7);
                    bool ready = false;
                    StartReport report = body([&] { ready = true; });
                    EXPECT_EQ(ready, report.exit_code == 0);
                    return report;
                }};
        return cli::run(arguments, environment);
    }

    /// From now on nothing can be written there.
    void break_out() { out_.setstate(std::ios::badbit); }
    [[nodiscard]] std::string out() const { return out_.str(); }
    [[nodiscard]] std::string error() const { return error_.str(); }
    /// Of the error stream, those that are no warnings.
    [[nodiscard]] std::vector<std::string> error_lines() const {
        std::vector<std::string> lines;
        std::istringstream stream(error_.str());
        for (std::string line; std::getline(stream, line);) {
            if (!line.starts_with("ckptfs: warning: ")) {
                lines.push_back(line);
            }
        }
        return lines;
    }
    [[nodiscard]] std::filesystem::path directory() const { return temporary_.path(); }

    /// A copy of a fixture that a test may break.
    std::filesystem::path copy(const std::string& fixture, const std::string& name = "source") const {
        std::filesystem::copy(fixtures / fixture, directory() / name, std::filesystem::copy_options::recursive);
        return directory() / name;
    }

    std::function<Result<void>(const File&, const TorchModule::ChunkVisitor&)> read_with_torch = read_records;
    bool streams_are_one = false;
    std::function<int()> interrupted = nullptr;
    /// So many that a sentence stands in one line; what texts are in a terminal is laid out in tests of its own.
    std::size_t columns = 2000;
    bool error_is_terminal = false;
    std::function<std::size_t()> error_columns = [] { return std::size_t{80}; };
    std::function<Result<std::shared_ptr<const Source>>(const std::string&)> open_source = ckptfs::open_directory;
    bool has_syslog = true;
    std::optional<std::string> notify_socket;
    std::vector<std::string> told;  ///< to the service manager: its socket, and the state
    Result<void> tell_result;
    MountControls controls;
    std::set<std::string> warned_of;
    Result<void> check_result;
    Result<void> serve_result;
    std::function<void(FileSystem&)> serve = [](FileSystem&) {};

    MountOptions checked;
    std::optional<bool> held;  ///< how a source was opened that can be written
    std::vector<MountOptions> mounts;
    int daemons = 0;
    std::optional<int> kept_descriptor;  ///< of the last daemon

 private:
    ckptfs::test::TemporaryDirectory temporary_;
    std::ostringstream out_;
    std::ostringstream error_;
};

}  // namespace ckptfs::cli::test
