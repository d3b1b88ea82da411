// ckptfs status, list and umount, over mounts that a test makes up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "cli/exit_code.h"
#include "cli/mount_status.h"
#include "harness.h"

namespace ckptfs::cli::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

MountEntry mount_at(const std::string& point, const std::string& device = "0:50",
                    const std::string& type = mount_type) {
    return {.device = device, .type = type, .source = "/data/run", .point = point, .is_read_only = true, .user = 1000};
}

/// No mount answers as long as this lives.
class Hanging {
 public:
    explicit Hanging(MountControls& controls) {
        controls.patience = std::chrono::milliseconds(1);
        controls.ask = [release = released_.get_future().share()](const std::string&,
                                                                  std::string_view) -> Result<std::string> {
            release.wait();
            return std::string();
        };
    }
    ~Hanging() { released_.set_value(); }
    Hanging(const Hanging&) = delete;
    Hanging& operator=(const Hanging&) = delete;

 private:
    std::promise<void> released_;
};

class Operators : public testing::Test {
 protected:
    Operators() {
        harness_.controls.mounts = [this] { return mounts_; };
        harness_.controls.real_point = [](const std::string& path) { return Result<std::string>(path); };
        harness_.controls.ask = [this](const std::string& point, std::string_view name) -> Result<std::string> {
            asked_.emplace_back(point, name);
            if (const auto failure = failures_.find(point); failure != failures_.end()) {
                return Error(ErrorCode::mount, point + " does not answer", failure->second);
            }
            return name == daemon_file ? "12 34"
                   : name == view_file ? "world-size-8"
                                       : "answer to " + std::string(name);
        };
        harness_.controls.unmount = [this](const std::string& point, Unmounting how) -> Result<void> {
            unmounted_.emplace_back(point, how);
            if (!refusal_.empty()) {
                return Error(ErrorCode::mount, refusal_);
            }
            std::erase_if(mounts_, [&](const MountEntry& mount) { return mount.point == point; });
            return {};
        };
        harness_.controls.is_running = [this](const ProcessId& process) {
            EXPECT_EQ(process, (ProcessId{12, 34}));
            return looks_left_-- > 0;
        };
        harness_.controls.set_log_level = [this](const std::string& point, log::Level level) -> Result<void> {
            levels_[point] = level;
            return {};
        };
    }

    Harness harness_;
    std::vector<MountEntry> mounts_{mount_at("/mnt")};
    std::map<std::string, int> failures_;
    std::vector<std::pair<std::string, std::string>> asked_;
    std::vector<std::pair<std::string, Unmounting>> unmounted_;
    std::string refusal_;
    int looks_left_ = 3;
    std::map<std::string, log::Level> levels_;
};

TEST_F(Operators, StatusPrintsWhatTheMountSays) {
    EXPECT_EQ(harness_.run({"status", "/mnt"}), 0) << harness_.error();
    EXPECT_EQ(harness_.out(), "answer to status");
    EXPECT_EQ(harness_.run({"status", "--json", "/mnt"}), 0);
    EXPECT_EQ(harness_.out(), "answer to status.json");
    EXPECT_EQ(harness_.run({"status", "/mnt", "--metrics"}), 0);
    EXPECT_EQ(harness_.out(), "answer to metrics.prom");
    EXPECT_EQ(harness_.run({"status", "/mnt", "--log"}), 0);
    EXPECT_EQ(harness_.out(), "answer to log");
    EXPECT_EQ(harness_.run({"status", "mnt"}), 0);
    EXPECT_EQ(asked_.back().first, (harness_.directory() / "mnt").string());
}

TEST_F(Operators, StatusOfAMountThatDoesNotAnswerIsAnError) {
    failures_["/mnt"] = ENOTCONN;
    EXPECT_EQ(harness_.run({"status", "/mnt"}), 6);
    EXPECT_THAT(harness_.error_lines(), ElementsAre("ckptfs: /mnt does not answer"));
    EXPECT_EQ(harness_.out(), "");
}

TEST_F(Operators, StatusOfWhatIsNoMountOfCkptfsSaysSo) {
    failures_["/"] = ENODATA;
    EXPECT_EQ(harness_.run({"status", "/"}), 6);
    EXPECT_THAT(harness_.error_lines(), ElementsAre(HasSubstr("nothing is mounted on '/'; `ckptfs list` names")));
}

TEST_F(Operators, StatusDoesNotWaitForAMountThatHangs) {
    const Hanging hanging(harness_.controls);
    EXPECT_EQ(harness_.run({"status", "/mnt"}), 6);
    EXPECT_THAT(harness_.error_lines(), ElementsAre(HasSubstr("the mount at '/mnt' says nothing")));
    EXPECT_EQ(harness_.out(), "");
}

TEST_F(Operators, WhatIsThrownWhileAMountIsAskedIsAnError) {
    harness_.controls.ask = [](const std::string&, std::string_view) -> Result<std::string> {
        throw std::runtime_error("no room");
    };
    EXPECT_EQ(harness_.run({"status", "/mnt"}), static_cast<int>(ExitCode::internal));
    EXPECT_THAT(harness_.error_lines(), ElementsAre(HasSubstr("asking '/mnt' failed: no room")));
}

TEST_F(Operators, StatusSetsTheLevelOfTheLog) {
    EXPECT_EQ(harness_.run({"status", "/mnt", "--log-level=debug"}), 0) << harness_.error();
    EXPECT_THAT(levels_, ElementsAre(Pair("/mnt", log::Level::debug)));
    EXPECT_THAT(asked_, IsEmpty());
    EXPECT_EQ(harness_.run({"status", "/mnt", "--log-level=loud"}), 2);
    EXPECT_THAT(harness_.error(), HasSubstr("must be debug, info, warning or error"));
    EXPECT_EQ(harness_.run({"status", "/mnt", "--log-level=debug", "--json"}), 2);
    EXPECT_EQ(harness_.run({"status"}), 2);
}

TEST_F(Operators, ListNamesMountsOfCkptfsAlone) {
    mounts_ = {mount_at("/other", "0:1", "ext4"), mount_at("/mnt")};
    EXPECT_EQ(harness_.run({"list"}), 0);
    EXPECT_EQ(harness_.out(),
              "MOUNTPOINT  VIEW          STATE  USER  SOURCE\n"
              "/mnt        world-size-8  alive  1000  /data/run\n");
    mounts_.clear();
    EXPECT_EQ(harness_.run({"list"}), 0);
    EXPECT_EQ(harness_.out(), "");
}

TEST_F(Operators, ListTellsStatesApart) {
    mounts_ = {mount_at("/stale"),
               mount_at("/others"),
               mount_at("/old"),
               mount_at("/twice"),
               mount_at("/twice"),
               mount_at("/under"),
               mount_at("/under", "0:9", "tmpfs")};
    failures_ = {{"/stale", ENOTCONN}, {"/others", EACCES}, {"/old", ENODATA}};
    EXPECT_EQ(harness_.run({"list", "--json"}), 0);
    const auto document = nlohmann::json::parse(harness_.out());
    EXPECT_EQ(document.at("schema_version"), 1);
    std::vector<std::pair<std::string, std::string>> states;
    for (const auto& mount : document.at("mounts")) {
        states.emplace_back(mount.at("mount_point"), mount.at("state"));
    }
    EXPECT_THAT(states, ElementsAre(Pair("/stale", "stale"), Pair("/others", "of another user"), Pair("/old", "alive"),
                                    Pair("/twice", "covered"), Pair("/twice", "alive"), Pair("/under", "covered")));
    EXPECT_TRUE(document.at("mounts").at(0).at("view").is_null());
    EXPECT_EQ(document.at("mounts").at(4).at("view"), "world-size-8");
}

TEST_F(Operators, ListDoesNotWaitForAMountThatHangs) {
    const Hanging hanging(harness_.controls);
    EXPECT_EQ(harness_.run({"list"}), 0);
    EXPECT_THAT(harness_.out(), HasSubstr("no answer"));
}

TEST_F(Operators, UmountWaitsForTheDaemon) {
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 0) << harness_.error();
    EXPECT_THAT(unmounted_, ElementsAre(Pair("/mnt", Unmounting::if_unused)));
    EXPECT_LT(looks_left_, 0) << "until it has gone";
    EXPECT_EQ(harness_.out(), "");
}

TEST_F(Operators, UmountOfAStaleMountHasNobodyToWaitFor) {
    failures_["/mnt"] = ENOTCONN;
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 0) << harness_.error();
    EXPECT_THAT(unmounted_, ElementsAre(Pair("/mnt", Unmounting::if_unused)));
    EXPECT_EQ(looks_left_, 3);
}

TEST_F(Operators, UmountLazilyDoesNotWait) {
    EXPECT_EQ(harness_.run({"umount", "--lazy", "/mnt"}), 0) << harness_.error();
    EXPECT_THAT(unmounted_, ElementsAre(Pair("/mnt", Unmounting::lazily)));
    EXPECT_EQ(looks_left_, 3);
}

TEST_F(Operators, UmountDoesNotWaitForWhatIsMountedElsewhereToo) {
    mounts_.push_back(mount_at("/bound"));
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 0) << harness_.error();
    EXPECT_EQ(looks_left_, 3);
}

TEST_F(Operators, UmountSaysThatADaemonDoesNotEnd) {
    looks_left_ = 1'000'000;
    harness_.controls.patience_for_end = std::chrono::milliseconds(1);
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 7);
    EXPECT_THAT(harness_.error(), AllOf(HasSubstr("process 12"), HasSubstr("has not ended")));
}

TEST_F(Operators, UmountSaysThatADaemonDoesNotAnswer) {
    const Hanging hanging(harness_.controls);
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 6);
    EXPECT_THAT(harness_.error(), AllOf(HasSubstr("does not say who serves it"), HasSubstr("umount --lazy")));
    EXPECT_THAT(unmounted_, IsEmpty());
}

TEST_F(Operators, UmountTakesNothingButAMountOfCkptfs) {
    mounts_ = {mount_at("/mnt"), mount_at("/mnt", "0:9", "tmpfs")};
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 6);
    EXPECT_THAT(harness_.error(), HasSubstr("'tmpfs'"));
    EXPECT_EQ(harness_.run({"umount", "/elsewhere"}), 6);
    EXPECT_THAT(harness_.error(), HasSubstr("nothing is mounted on '/elsewhere'"));
    EXPECT_THAT(unmounted_, IsEmpty());
}

TEST_F(Operators, UmountOfStaleMountsTakesWhatAKilledDaemonHasLeft) {
    failures_["/mnt"] = ENOTCONN;
    EXPECT_EQ(harness_.run({"umount", "--stale", "--", "/mnt"}), 0) << harness_.error();
    EXPECT_THAT(unmounted_, ElementsAre(Pair("/mnt", Unmounting::lazily)));
    EXPECT_EQ(looks_left_, 3);
    refusal_ = "it is another user's";
    mounts_ = {mount_at("/mnt")};
    EXPECT_EQ(harness_.run({"umount", "--stale", "/mnt"}), 6);
}

TEST_F(Operators, UmountOfStaleMountsLeavesAllElseAndIsContent) {
    const auto expect_left = [this](const std::string& what) {
        EXPECT_EQ(harness_.run({"umount", "--stale", "/mnt"}), 0) << what << harness_.error();
        EXPECT_EQ(harness_.out() + harness_.error(), "") << what;
        EXPECT_THAT(unmounted_, IsEmpty()) << what;
    };
    expect_left("it is alive");
    for (const int reason : {EACCES, ENODATA, EIO}) {
        failures_["/mnt"] = reason;
        expect_left("errno " + std::to_string(reason));
    }
    failures_["/mnt"] = ENOTCONN;
    mounts_ = {mount_at("/mnt"), mount_at("/mnt", "0:9", "tmpfs")};
    expect_left("something else covers it");
    mounts_ = {mount_at("/mnt", "0:9", "fuse.other")};
    expect_left("it is another program's");
    mounts_.clear();
    expect_left("nothing is mounted");
    harness_.controls.real_point = [](const std::string& path) -> Result<std::string> {
        return Error(ErrorCode::io, path + " does not exist", ENOENT);
    };
    expect_left("there is no such directory");
}

TEST_F(Operators, UmountOfWhatIsNotThereIsAsWhereNothingIsMounted) {
    for (const auto& [reason, code] : {std::pair(ENOENT, 6), std::pair(ENOTDIR, 6), std::pair(EIO, 7)}) {
        harness_.controls.real_point = [reason = reason](const std::string& path) -> Result<std::string> {
            return Error(ErrorCode::io, path + " cannot be looked at", reason);
        };
        EXPECT_EQ(harness_.run({"umount", "/mnt"}), code);
        EXPECT_THAT(harness_.error(), HasSubstr("/mnt cannot be looked at"));
    }
}

TEST_F(Operators, UmountOfStaleMountsLeavesOneThatHangs) {
    const Hanging hanging(harness_.controls);
    EXPECT_EQ(harness_.run({"umount", "--stale", "/mnt"}), 0);
    EXPECT_THAT(unmounted_, IsEmpty());
}

TEST_F(Operators, UmountOfStaleMountsSaysWhatItCannotLookAt) {
    harness_.controls.real_point = [](const std::string& path) -> Result<std::string> {
        return Error(ErrorCode::io, path + " cannot be looked at", EIO);
    };
    EXPECT_EQ(harness_.run({"umount", "--stale", "/mnt"}), 7);
    EXPECT_EQ(harness_.run({"umount", "--stale", "--lazy", "/mnt"}), 2);
    EXPECT_EQ(harness_.run({"umount", "--stale"}), 2);
}

TEST_F(Operators, NobodyWhoMountsIsToldToUnmount) {
    EXPECT_EQ(harness_.run({"mount", "/mnt"}), 3);
    EXPECT_THAT(harness_.error(), AllOf(HasSubstr("mounting takes no command"), Not(HasSubstr("umount"))));
}

TEST_F(Operators, UmountSaysWhyItWasRefused) {
    refusal_ = "it is in use";
    EXPECT_EQ(harness_.run({"umount", "/mnt"}), 6);
    EXPECT_THAT(harness_.error_lines(), ElementsAre("ckptfs: it is in use"));
    EXPECT_EQ(looks_left_, 3);
}

class Status : public testing::Test {
 protected:
    Status() {
        status_.facts = {.source = "/data/\"run\"",
                         .mount_point = "/mnt",
                         .view = "world-size-8",
                         .log = {.name = "/var/log/ckptfs.log"},
                         .started_s = 1'700'000'000,
                         .user = 1000,
                         .daemon = {12, 34}};
        status_.now_s = 1'700'000'000 + 3 * 3600;
        status_.resident_nbytes = 9'000'000;
        status_.counted_nbytes = 1'000'000;
        status_.most_counted_nbytes = 2'000'000'000;
        status_.log_level = "info";
        RequestCounters counters;
        const auto ask = [&](Operation operation, const Answer& answer, std::chrono::microseconds took) {
            counters.begin();
            counters.end(operation, answer, took);
        };
        for (int i = 0; i < 10; ++i) {
            ask(Operation::read, {.nbytes = 1'000'000, .is_handed_over = i < 4}, std::chrono::microseconds(100));
        }
        ask(Operation::open, {.error = EIO}, std::chrono::microseconds(7));
        ask(Operation::open, {.error = 132}, std::chrono::hours(1));
        counters.begin();
        status_.requests = counters.totals();
        status_.files = {.inodes = 5,
                         .open_files = 2,
                         .open_directories = 1,
                         .generations_read = 3,
                         .tags = {{"/data/run/step1", "00ff", true, ""},
                                  {"/data/run/step2", "11ff", true, "rank 1 is\nmissing"},
                                  {"/data/run/step3", "22ff", false, ""}}};
    }

    MountStatus status_;
};

TEST_F(Status, TextIsForPeople) {
    EXPECT_THAT(status_text(status_),
                AllOf(HasSubstr("mount     /mnt\n"), HasSubstr("world-size-8, read-only\n"),
                      HasSubstr("2023-11-14T22:13:20Z, 3 h 0 min\n"), HasSubstr("process 12 of user 1000\n"),
                      HasSubstr("12, 2 of them answered with an error, 1 in progress\n"),
                      HasSubstr("10.0 MB read, 0 B written\n"), HasSubstr("errors: EIO 1, errno 132 1\n"),
                      HasSubstr("3 tags in memory, 3 generations read"), HasSubstr("step1  00ff  whole\n"),
                      HasSubstr("step2  11ff  rank 1 is\\x0amissing\n"), HasSubstr("step3  22ff  is being read\n")));
    EXPECT_THAT(status_text(status_), testing::ContainsRegex("read  +10  +0  10.0 MB  +128 us  +128 us\n"));
    EXPECT_THAT(status_text(status_), testing::ContainsRegex("open  +2  +2  +8 us  +> 67 s\n"));
    EXPECT_THAT(status_text(status_), Not(HasSubstr("nobody reads it")));
    status_.facts.log.is_read = false;
    EXPECT_THAT(status_text(status_), HasSubstr("nobody reads it"));
}

TEST_F(Status, JsonHoldsTheNumbers) {
    const auto document = nlohmann::json::parse(status_json(status_));
    EXPECT_EQ(document.at("schema_version"), 1);
    EXPECT_EQ(document.at("source"), "/data/\"run\"");
    EXPECT_EQ(document.at("process"), 12);
    EXPECT_EQ(document.at("uptime_s"), 10'800);
    EXPECT_EQ(document.at("bytes").at("read"), 10'000'000);
    EXPECT_EQ(document.at("bytes").at("handed_over"), 4'000'000);
    EXPECT_EQ(document.at("memory").at("resident_nbytes"), 9'000'000);
    EXPECT_EQ(document.at("memory").at("counted_nbytes"), 1'000'000);
    EXPECT_EQ(document.at("memory").at("most_counted_nbytes"), 2'000'000'000);
    EXPECT_EQ(document.at("kernel").at("open_files"), 2);
    const auto& requests = document.at("requests");
    EXPECT_EQ(requests.at("count"), 12);
    EXPECT_EQ(requests.at("in_progress"), 1);
    EXPECT_EQ(requests.at("by_errno").at("EIO"), 1);
    ASSERT_EQ(requests.at("operations").size(), 2U);
    EXPECT_EQ(requests.at("operations").at(1).at("name"), "read");
    EXPECT_EQ(requests.at("operations").at(1).at("latencies").at(0).at("count"), 10);
    EXPECT_TRUE(requests.at("operations").at(0).at("latencies").back().at("at_most_s").is_null());
    EXPECT_EQ(document.at("tags").at(1).at("problem"), "rank 1 is\nmissing");
    EXPECT_EQ(document.at("tags").at(2).at("is_read"), false);
}

TEST_F(Status, MetricsAreThoseOfPrometheus) {
    const std::string text = status_metrics(status_);
    EXPECT_THAT(text, AllOf(HasSubstr("ckptfs_info{version=\""), HasSubstr(",source=\"/data/\\\"run\\\"\",")));
    EXPECT_THAT(text, HasSubstr("\nckptfs_bytes_total{direction=\"read\"} 10000000\n"));
    EXPECT_THAT(text, HasSubstr("\nckptfs_bytes_handed_over_total 4000000\n"));
    EXPECT_THAT(text, HasSubstr("\nckptfs_request_errno_total{errno=\"EIO\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("\nckptfs_requests_in_progress 1\n"));
    EXPECT_THAT(text, HasSubstr("\nckptfs_tags_with_problem 1\n"));
    const std::string read = "\nckptfs_request_duration_seconds";
    EXPECT_THAT(text, AllOf(HasSubstr(read + "_bucket{operation=\"read\",le=\"6.4e-05\"} 0\n"),
                            HasSubstr(read + "_bucket{operation=\"read\",le=\"0.000256\"} 10\n"),
                            HasSubstr(read + "_bucket{operation=\"read\",le=\"+Inf\"} 10\n"),
                            HasSubstr(read + "_sum{operation=\"read\"} 0.001\n"),
                            HasSubstr(read + "_count{operation=\"read\"} 10\n")));
    std::istringstream lines(text);
    std::set<std::string> described;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string word;
        std::string kind;
        std::string name;
        words >> word;
        if (word == "#") {
            words >> kind >> name;
            described.insert(kind + " " + name);
            continue;
        }
        name = word.substr(0, word.find('{'));
        for (const char* suffix : {"_bucket", "_sum", "_count"}) {
            if (name == std::string("ckptfs_request_duration_seconds") + suffix) {
                name = "ckptfs_request_duration_seconds";
            }
        }
        EXPECT_TRUE(described.contains("TYPE " + name) && described.contains("HELP " + name)) << line;
    }
}

TEST_F(Status, FitsIntoAnExtendedAttributeWhateverThereIs) {
    status_.files.tags.assign(1000, {std::string(4000, 'p'), "00ff", true, std::string(4000, '"')});
    RequestCounters counters;
    for (std::size_t operation = 0; operation < operation_count; ++operation) {
        for (int us = 1; us < 100'000'000; us *= 2) {
            counters.end(static_cast<Operation>(operation), {.error = us % 130}, std::chrono::microseconds(us));
        }
    }
    status_.requests = counters.totals();
    constexpr std::size_t room = 65'536;
    EXPECT_LT(status_text(status_).size(), room);
    EXPECT_LT(status_json(status_).size(), room);
    EXPECT_LT(status_metrics(status_).size(), room);
}

TEST_F(Status, TagsEndWhereTheRoomDoes) {
    // Six bytes of JSON, and four of text, for each of them.
    status_.files.tags.assign(30, {std::string(200, '\x01'), "00ff", true, std::string(200, '\x02')});
    constexpr std::size_t room = 65'536;
    EXPECT_LT(status_text(status_).size(), room);
    const std::string printed = status_json(status_);
    EXPECT_LT(printed.size(), room);
    EXPECT_GT(printed.size(), room - 4'000) << "as many as fit";
    const auto document = nlohmann::json::parse(printed);
    EXPECT_EQ(document.at("tag_count"), 30);
    EXPECT_THAT(document.at("tags").size(), AllOf(testing::Gt(20U), testing::Lt(30U)));
    EXPECT_EQ(document.at("tags").back().at("path"), std::string(200, '\x01'));
    status_.facts.mount_point = std::string(4'000, '\x01');
    EXPECT_LT(status_text(status_).size(), room);
    EXPECT_LT(status_json(status_).size(), room);
    status_.files.tags.clear();
    EXPECT_THAT(status_text(status_), Not(HasSubstr("more")));
}

TEST_F(Status, CharactersStayWhole) {
    status_.files.tags = {{std::string(199, 'p') + "\u00e9t", "00ff", true, std::string(197, 'q') + "\U0001f600"}};
    const auto tag = nlohmann::json::parse(status_json(status_)).at("tags").at(0);
    EXPECT_EQ(tag.at("path"), std::string(199, 'p') + "...");
    EXPECT_EQ(tag.at("problem"), std::string(197, 'q') + "...");
    status_.facts.source = "/data/\xff\u00e9\"\n";
    EXPECT_THAT(status_metrics(status_), HasSubstr(",source=\"/data/\ufffd\u00e9\\\"\\n\","));
}

TEST(OwnFiles, ArePrivateButForNumbers) {
    MountFacts facts;
    facts.view = "weights";
    facts.user = 7;
    const auto files = own_files(facts, std::make_shared<RequestCounters>());
    EXPECT_EQ(files.uid, 7U);
    std::map<std::string, bool> is_for_all;
    for (const OwnFile& file : files.files) {
        is_for_all[file.name] = file.is_for_all;
        EXPECT_NO_THROW(static_cast<void>(file.text({}))) << file.name;
        if (file.name == view_file) {
            EXPECT_EQ(file.text({}), "weights");
        }
    }
    EXPECT_THAT(is_for_all, ElementsAre(Pair("daemon", true), Pair("log", false), Pair("metrics.prom", true),
                                        Pair("status", false), Pair("status.json", false), Pair("view", true)));
}

}  // namespace
}  // namespace ckptfs::cli::test
