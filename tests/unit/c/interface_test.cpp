// The C interface as a program of somebody else's uses it: trees, files, commands, and every way to fail.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ckptfs/ckptfs.h"
#include "ckptfs/version.h"
#include "support/temporary_directory.h"
#include "support/test_data.h"

namespace ckptfs {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const std::string sample = test_data() / "zero/stage1_fp16_ws2";
const std::string expected = test_data() / "zero/stage1_fp16_ws2_at_ws3/global_step2";
const std::string optimizer_file = "global_step2/zero_pp_rank_2_mp_rank_00_optim_states.pt";

std::vector<const char*> pointers(const std::vector<std::string>& words) {
    std::vector<const char*> result;
    for (const std::string& word : words) {
        result.push_back(word.c_str());
    }
    return result;
}

/// What failed, with the message taken over.
struct Failed {
    int code = -1;
    int system_errno = 0;
    std::string message;
};

Failed taken(ckptfs_failure& failure) {
    Failed result{failure.code, failure.system_errno, failure.message};
    ckptfs_free(failure.message);
    return result;
}

class Tree {
 public:
    Tree(const std::string& source, const std::vector<std::string>& words) {
        const auto given = pointers(words);
        const auto warn = [](void* context, const char* message) {
            static_cast<std::vector<std::string>*>(context)->emplace_back(message);
        };
        ckptfs_failure failure{};
        if (ckptfs_tree_open(source.c_str(), given.data(), given.size(), warn, &warnings, &tree_, &failure) != 0) {
            failed = taken(failure);
        }
    }
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;
    ~Tree() { ckptfs_tree_close(tree_); }

    [[nodiscard]] const ckptfs_tree* get() const { return tree_; }

    [[nodiscard]] std::map<std::string, std::uint32_t> list(const std::string& path) const {
        std::map<std::string, std::uint32_t> entries;
        const auto take = [](void* context, const char* name, std::uint32_t type) {
            static_cast<std::map<std::string, std::uint32_t>*>(context)->emplace(name, type);
            return 0;
        };
        ckptfs_failure failure{};
        EXPECT_EQ(ckptfs_tree_list(tree_, path.c_str(), take, &entries, &failure), 0)
            << path << ": " << (failure.message != nullptr ? failure.message : "");
        return entries;
    }
    [[nodiscard]] ckptfs_file* open(const std::string& path, Failed* why = nullptr) const {
        ckptfs_file* file = nullptr;
        ckptfs_failure failure{};
        if (ckptfs_tree_open_file(tree_, path.c_str(), &file, &failure) != 0) {
            const Failed reason = taken(failure);
            EXPECT_NE(why, nullptr) << reason.message;
            if (why != nullptr) {
                *why = reason;
            }
        }
        return file;
    }

    std::vector<std::string> warnings;
    std::optional<Failed> failed;

 private:
    ckptfs_tree* tree_ = nullptr;
};

std::string read_all(const ckptfs_file* file) {
    std::string bytes(ckptfs_file_nbytes(file), '\0');
    EXPECT_EQ(ckptfs_file_read(file, 0, bytes.data(), bytes.size(), nullptr), 0);
    return bytes;
}

TEST(CInterface, SaysItsVersions) {
    EXPECT_EQ(ckptfs_interface_version(), CKPTFS_INTERFACE_VERSION);
    EXPECT_STREQ(ckptfs_version(), version);
}

TEST(CInterface, ATreeShowsAView) {
    const Tree tree(sample, {"--world-size=3"});
    ASSERT_FALSE(tree.failed) << tree.failed->message;
    EXPECT_THAT(tree.warnings, IsEmpty());
    EXPECT_EQ(tree.list("").at("global_step2"), static_cast<std::uint32_t>(S_IFDIR));
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(expected)) {
        const std::string path = "global_step2/" + entry.path().filename().string();
        ckptfs_attributes attributes{};
        ASSERT_EQ(ckptfs_tree_attributes(tree.get(), path.c_str(), 0, &attributes, nullptr), 0) << path;
        EXPECT_EQ(attributes.size, entry.file_size()) << path;
        EXPECT_EQ(attributes.mode & static_cast<std::uint32_t>(S_IFMT), static_cast<std::uint32_t>(S_IFREG)) << path;
        EXPECT_EQ(attributes.mode & 0222U, 0U) << path;
        EXPECT_GT(attributes.mtime_ns, 0) << path;
        ckptfs_file* const file = tree.open(path);
        ASSERT_NE(file, nullptr);
        EXPECT_EQ(ckptfs_file_nbytes(file), entry.file_size()) << path;
        EXPECT_EQ(ckptfs_file_is_virtual(file), 1) << path;
        ckptfs_file_close(file);
        ++count;
    }
    EXPECT_EQ(tree.list("global_step2").size(), count);
    ckptfs_file* const latest = tree.open("latest");
    EXPECT_EQ(read_all(latest), test::file_bytes(sample + "/latest"));
    EXPECT_EQ(ckptfs_file_is_virtual(latest), 0);
    ckptfs_file_close(latest);
}

TEST(CInterface, WithoutOptionsATreeHasADirectoryForEachView) {
    const Tree tree(sample, {});
    ASSERT_FALSE(tree.failed) << tree.failed->message;
    EXPECT_THAT(tree.list(""), testing::Contains(testing::Key("weights")));
    ckptfs_file* const file = tree.open("world-size-3/" + optimizer_file);
    EXPECT_GT(read_all(file).size(), 0U);
    ckptfs_file_close(file);
}

TEST(CInterface, AListingEndsWhereItsTakerSaysSo) {
    const Tree tree(sample, {"--world-size=3"});
    int taken = 0;
    const auto take = [](void* context, const char*, std::uint32_t) {
        ++*static_cast<int*>(context);
        return 1;
    };
    EXPECT_EQ(ckptfs_tree_list(tree.get(), "global_step2", take, &taken, nullptr), 0);
    EXPECT_EQ(taken, 1);
}

TEST(CInterface, LinksAreReadAndFollowed) {
    const test::TemporaryDirectory directory;
    std::filesystem::copy(sample, directory / "source", std::filesystem::copy_options::recursive);
    std::filesystem::create_symlink("global_step2", directory / "source/newest");
    const Tree tree(directory / "source", {"--world-size=3"});
    char* text = nullptr;
    ASSERT_EQ(ckptfs_tree_read_link(tree.get(), "newest", &text, nullptr), 0);
    EXPECT_STREQ(text, "global_step2");
    ckptfs_free(text);
    ckptfs_failure failure{};
    ASSERT_EQ(ckptfs_tree_read_link(tree.get(), "latest", &text, &failure), -1);
    EXPECT_EQ(taken(failure).system_errno, EINVAL);
    ckptfs_attributes itself{};
    ckptfs_attributes target{};
    ASSERT_EQ(ckptfs_tree_attributes(tree.get(), "newest", 0, &itself, nullptr), 0);
    ASSERT_EQ(ckptfs_tree_attributes(tree.get(), "newest", 1, &target, nullptr), 0);
    EXPECT_TRUE(S_ISLNK(itself.mode));
    EXPECT_TRUE(S_ISDIR(target.mode));
}

TEST(CInterface, FilesOutliveTheirTree) {
    ckptfs_file* file = nullptr;
    {
        const Tree tree(sample, {"--world-size=3"});
        file = tree.open(optimizer_file);
    }
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(read_all(file).size(), std::filesystem::file_size(expected + optimizer_file.substr(12)));
    ckptfs_file_close(file);
    ckptfs_file_close(nullptr);
    ckptfs_tree_close(nullptr);
    ckptfs_free(nullptr);
}

TEST(CInterface, ReadsAreExactOrFail) {
    const Tree tree(sample, {"--world-size=3"});
    ckptfs_file* const file = tree.open(optimizer_file);
    const std::string whole = read_all(file);
    std::string part(100, '\0');
    ASSERT_EQ(ckptfs_file_read(file, 1000, part.data(), part.size(), nullptr), 0);
    EXPECT_EQ(part, whole.substr(1000, 100));
    ckptfs_failure failure{};
    ASSERT_EQ(ckptfs_file_read(file, whole.size() - 50, part.data(), part.size(), &failure), -1);
    const Failed failed = taken(failure);
    EXPECT_EQ(failed.code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(failed.system_errno, EINVAL);
    ckptfs_file_close(file);
}

TEST(CInterface, FailuresHaveACodeAnErrnoAndASentence) {
    const Tree tree(sample, {"--world-size=3"});
    Failed failed;
    EXPECT_EQ(tree.open("nowhere", &failed), nullptr);
    EXPECT_EQ(failed.code, CKPTFS_NOT_FOUND);
    EXPECT_EQ(failed.system_errno, ENOENT);
    EXPECT_THAT(failed.message, HasSubstr("nowhere"));
    EXPECT_EQ(tree.open("global_step2", &failed), nullptr);
    EXPECT_EQ(failed.code, CKPTFS_UNSUPPORTED);
    EXPECT_EQ(failed.system_errno, EISDIR);
    EXPECT_EQ(tree.open("latest/below", &failed), nullptr);
    EXPECT_EQ(failed.system_errno, ENOTDIR);
    EXPECT_EQ(tree.open("../" + sample, &failed), nullptr);
    EXPECT_EQ(failed.code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(failed.system_errno, EINVAL);

    EXPECT_EQ(Tree(sample, {"--world-size=0"}).failed.value().code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(Tree(sample, {"--writable"}).failed.value().code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(Tree(sample, {"--help"}).failed.value().code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(Tree(sample, {"word"}).failed.value().code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(Tree("/nowhere/at/all", {"--world-size=3"}).failed.value().code, CKPTFS_NOT_FOUND);
    const test::TemporaryDirectory empty;
    EXPECT_EQ(Tree(empty.path(), {"--world-size=3"}).failed.value().code, CKPTFS_NOT_A_CHECKPOINT);
    const Tree patient(empty.path(), {"--world-size=3", "--allow-empty"});
    EXPECT_FALSE(patient.failed);
    EXPECT_EQ(patient.warnings.size(), 1U);
}

TEST(CInterface, ABrokenTagIsListedAndSaysWhyItIsNotOpened) {
    const test::TemporaryDirectory directory;
    std::filesystem::copy(sample, directory / "source", std::filesystem::copy_options::recursive);
    std::filesystem::copy(directory / "source/global_step2", directory / "source/global_step9");
    std::filesystem::remove(directory / "source/global_step9/zero_pp_rank_1_mp_rank_00_optim_states.pt");
    const Tree tree(directory / "source", {"--world-size=3"});
    ASSERT_FALSE(tree.failed) << tree.failed->message;
    const auto listed = tree.list("global_step9");
    ASSERT_THAT(listed, testing::Contains(testing::Key("mp_rank_00_model_states.pt")));
    Failed failed;
    EXPECT_EQ(tree.open("global_step9/mp_rank_00_model_states.pt", &failed), nullptr);
    EXPECT_EQ(failed.code, CKPTFS_INCOMPLETE);
    EXPECT_EQ(failed.system_errno, EIO);
    EXPECT_THAT(failed.message, HasSubstr("the optimizer file of rank 1 is missing"));
}

/// A command, and what it printed.
struct Command {
    explicit Command(const std::vector<std::string>& words, const CkptfsTorchModule* reader = nullptr) {
        const auto given = pointers(words);
        ckptfs_streams streams{};
        streams.context = this;
        streams.out = [](void* context, const char* bytes, std::size_t nbytes) {
            static_cast<Command*>(context)->out.append(bytes, nbytes);
            return 0;
        };
        streams.error = [](void* context, const char* bytes, std::size_t nbytes) {
            static_cast<Command*>(context)->error.append(bytes, nbytes);
            return 0;
        };
        ckptfs_failure failure{};
        status = ckptfs_command(given.data(), given.size(), &streams, reader, &failure);
        if (status != 0) {
            failed = taken(failure);
        }
    }

    int status = -1;
    std::string out;
    std::string error;
    Failed failed;
};

TEST(CInterface, ACommandPrintsWhatTheProgramPrints) {
    const Command inspection({"inspect", sample, "--json"});
    EXPECT_EQ(inspection.status, 0) << inspection.error;
    EXPECT_THAT(inspection.out, testing::StartsWith("{"));
    EXPECT_GT(inspection.out.size(), 2000U) << "more than is handed over at once";
    EXPECT_THAT(inspection.error, IsEmpty());
    EXPECT_THAT(Command({"--version"}).out, HasSubstr(version));
}

TEST(CInterface, ACommandThatFailsSaysWhyAndHow) {
    const Command missing({"inspect", "/nowhere/at/all"});
    EXPECT_EQ(missing.status, 3);
    EXPECT_EQ(missing.failed.code, CKPTFS_NOT_FOUND);
    EXPECT_EQ(missing.error, "ckptfs: " + missing.failed.message + "\n");
    const Command usage({"inspect", sample, "--nonsense"});
    EXPECT_EQ(usage.status, 2);
    EXPECT_EQ(usage.failed.code, CKPTFS_INVALID_ARGUMENT);
    EXPECT_EQ(Command({}).status, 2);
    const std::vector<std::string> words{"inspect", "/nowhere/at/all"};
    EXPECT_EQ(ckptfs_command(pointers(words).data(), words.size(), nullptr, nullptr, nullptr), 3)
        << "nobody wants to know more";
}

TEST(CInterface, WhatMountsIsLeftToTheProgram) {
    const test::TemporaryDirectory directory;
    for (const auto& words : {std::vector<std::string>{sample, directory.path(), "--world-size=3"},
                              {"run", sample, "--world-size=3", "--", "true"}}) {
        sigset_t before{};
        ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
        const Command command(words);
        EXPECT_EQ(command.status, 2);
        EXPECT_THAT(command.error, HasSubstr("run `ckptfs` for it"));
        sigset_t after{};
        ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &after), 0);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
            EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << signal;
        }
    }
}

TEST(CInterface, OutputThatCannotBeWrittenFailsTheCommand) {
    ckptfs_streams streams{};
    streams.out = [](void*, const char*, std::size_t) { return 1; };
    const std::vector<std::string> words{"inspect", sample};
    ckptfs_failure failure{};
    EXPECT_EQ(ckptfs_command(pointers(words).data(), words.size(), &streams, nullptr, &failure), 7);
    EXPECT_THAT(taken(failure).message, HasSubstr("cannot be written"));
}

TEST(CInterface, ACommandEndsWhenItsCallerWantsItTo) {
    for (const auto& words : {std::vector<std::string>{"verify", sample, "--world-size=3"},
                              {"inspect", sample},
                              {"cat", sample, "latest"}}) {
        ckptfs_streams streams{};
        streams.interrupted = [](void*) { return 1; };
        ckptfs_failure failure{};
        EXPECT_EQ(ckptfs_command(pointers(words).data(), words.size(), &streams, nullptr, &failure), 7)
            << words.front();
        const Failed failed = taken(failure);
        EXPECT_EQ(failed.code, CKPTFS_IO) << failed.message;
        EXPECT_THAT(failed.system_errno, testing::AnyOf(ECANCELED, EINTR, EIO)) << failed.message;
        streams.interrupted = [](void*) { return 0; };
        if (words.front() != "verify") {  // which takes a second reader
            EXPECT_EQ(ckptfs_command(pointers(words).data(), words.size(), &streams, nullptr, nullptr), 0);
        }
    }
}

TEST(CInterface, VerifyReadsWithTheReaderThatItIsGiven) {
    const auto reader = [](const CkptfsTorchFile*, const CkptfsTorchSink*, char* error, std::size_t nbytes) {
        std::strncpy(error, "not today", nbytes);
        return CKPTFS_TORCH_REFUSED;
    };
    CkptfsTorchModule module{CKPTFS_TORCH_INTERFACE_VERSION, "0.0.0", reader};
    const Command refused({"verify", sample, "--world-size=3"}, &module);
    EXPECT_EQ(refused.status, 1);
    EXPECT_EQ(refused.failed.code, CKPTFS_VERIFICATION);
    EXPECT_THAT(refused.out, HasSubstr("not today"));
    module.read_all_records = [](const CkptfsTorchFile*, const CkptfsTorchSink*, char* error, std::size_t nbytes) {
        std::strncpy(error, "there is no torch", nbytes);
        return CKPTFS_TORCH_UNUSABLE;
    };
    const Command unusable({"verify", sample, "--world-size=3"}, &module);
    EXPECT_EQ(unusable.status, 7) << unusable.out;
    EXPECT_EQ(unusable.failed.code, CKPTFS_IO);
    EXPECT_THAT(unusable.error, HasSubstr("there is no torch"));
    module.interface_version = CKPTFS_TORCH_INTERFACE_VERSION + 1;
    EXPECT_EQ(Command({"verify", sample, "--world-size=3"}, &module).failed.code, CKPTFS_INTERNAL);
}

TEST(CInterface, ThreadsShareATree) {
    const Tree tree(sample, {"--world-size=3"});
    const std::string whole = [&] {
        ckptfs_file* const file = tree.open(optimizer_file);
        std::string bytes = read_all(file);
        ckptfs_file_close(file);
        return bytes;
    }();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 25; ++round) {
                ckptfs_file* const file = tree.open(optimizer_file);
                right += read_all(file) == whole && tree.list("global_step2").size() == 4 ? 1 : 0;
                ckptfs_file_close(file);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(right, 100);
}

}  // namespace
}  // namespace ckptfs
