// ckptfs ls and ckptfs cat: a look at what a mount would show, without one.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <ostream>
#include <utility>

#include "cli/commands.h"
#include "cli/shown.h"
#include "util/path.h"
#include "util/text.h"
#include "util/timespec.h"

namespace ckptfs::cli {
namespace {

constexpr std::uint64_t block_nbytes = std::uint64_t{8} << 20U;

Result<std::shared_ptr<const ViewTree>> tree_of(const ShownArguments& shown, const Environment& environment) {
    return open_shown(shown, environment, [&](const std::string& message) {
        environment.error << "ckptfs: warning: " << printable(message) << '\n' << std::flush;
    });
}

/// What is wrong with PATH is wrong with the command line, and says nothing of SOURCE.
Error error_of_path(const Error& error) {
    const bool is_of_path =
        error.code() == ErrorCode::not_found || (error.code() == ErrorCode::unsupported && error.system_errno() != 0);
    return is_of_path ? Error(ErrorCode::invalid_argument, error.message(), error.system_errno()) : error;
}

Result<void> expect_no_interruption(const Environment& environment) {
    if (environment.interrupted && environment.interrupted() != 0) {
        return Error(ErrorCode::io, "interrupted", EINTR);
    }
    return {};
}

char letter_of(FileType type) {
    switch (type) {
        case FileType::regular:
            return '-';
        case FileType::directory:
            return 'd';
        case FileType::symlink:
            return 'l';
        case FileType::fifo:
            return 'p';
        case FileType::character_device:
            return 'c';
        case FileType::block_device:
            return 'b';
        case FileType::socket:
            return 's';
        case FileType::other:
            return '?';
    }
    return '?';
}

/// "-r--r--r--", as ls has it.
std::string mode_text(const FileInfo& info) {
    constexpr std::string_view letters = "rwxrwxrwx";
    std::string text(1, letter_of(info.type));
    for (std::size_t i = 0; i < letters.size(); ++i) {
        const bool is_set = (info.mode >> (letters.size() - 1 - i) & 1U) != 0;
        text += is_set ? letters[i] : '-';
    }
    constexpr std::array<std::pair<std::uint32_t, const char*>, 3> special{
        {{S_ISUID, "sS"}, {S_ISGID, "sS"}, {S_ISVTX, "tT"}}};
    for (std::size_t i = 0; i < special.size(); ++i) {
        if ((info.mode & special[i].first) != 0) {
            char& at = text[3 * i + 3];
            at = special[i].second[at == 'x' ? 0 : 1];
        }
    }
    return text;
}

std::string time_text(std::int64_t ns) {
    const timespec time = to_timespec(ns);
    std::tm parts{};
    std::array<char, 32> text{};
    if (::gmtime_r(&time.tv_sec, &parts) == nullptr ||
        std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        return std::to_string(time.tv_sec);
    }
    return text.data();
}

class Listing {
 public:
    Listing(const ListArguments& arguments, const Environment& environment)
        : arguments_(arguments), environment_(environment) {}

    Result<void> run() {
        CKPTFS_ASSIGN(tree_, tree_of(arguments_.shown, environment_));
        const std::string& path = arguments_.path;
        const auto info = tree_->stat_target(path);
        if (!info) {
            return error_of_path(info.error());
        }
        if (info->type != FileType::directory) {
            CKPTFS_ASSIGN(const auto lines, lines_of({{path, path}}));
            environment_.out << lines.front();
            return outcome();
        }
        CKPTFS_TRY(list(path, ""));
        return outcome();
    }

 private:
    [[nodiscard]] Result<void> outcome() const {
        return first_problem_ ? Result<void>(*first_problem_) : Result<void>();
    }

    struct Shown {
        std::string path;
        std::string name;  ///< as it is printed
    };
    struct Detail {
        std::string mode;
        std::string size;
        std::string time;
        std::string name;
    };

    /// `shown_at`: what is printed in front of the names.
    Result<void> list(const std::string& path, const std::string& shown_at) {
        if (!environment_.out) {
            return {};  // which whoever flushes it reports
        }
        CKPTFS_TRY(expect_no_interruption(environment_));
        const auto entries = tree_->list(path);
        if (!entries) {
            note(entries.error());
            return {};
        }
        std::vector<Shown> shown;
        shown.reserve(entries->size());
        for (const DirectoryEntry& entry : *entries) {
            shown.push_back({join_path(path, entry.name), join_path(shown_at, entry.name)});
        }
        CKPTFS_ASSIGN(const auto lines, lines_of(shown));
        for (std::size_t i = 0; i < shown.size(); ++i) {
            environment_.out << lines[i];
            if (arguments_.is_recursive && (*entries)[i].type == FileType::directory) {
                CKPTFS_TRY(list(shown[i].path, shown[i].name));
            }
        }
        return {};
    }

    /// One for each, with what ends it; "" for one that cannot be looked at.
    Result<std::vector<std::string>> lines_of(const std::vector<Shown>& shown) {
        std::vector<std::string> lines;
        if (!arguments_.is_long) {
            for (const Shown& entry : shown) {
                lines.push_back(printable(entry.name) + "\n");
            }
            return lines;
        }
        std::vector<std::optional<Detail>> details;
        std::size_t width = 0;
        for (const Shown& entry : shown) {
            auto detail = detail_of(entry);
            if (!detail) {
                note(detail.error());
                details.emplace_back();
                continue;
            }
            width = std::max(width, detail->size.size());
            details.emplace_back(std::move(detail).value());
        }
        for (const auto& detail : details) {
            lines.push_back(!detail ? ""
                                    : detail->mode + " " + std::string(width - detail->size.size(), ' ') +
                                          detail->size + " " + detail->time + " " + detail->name + "\n");
        }
        return lines;
    }

    Result<Detail> detail_of(const Shown& entry) const {
        CKPTFS_ASSIGN(const auto info, tree_->stat(entry.path));
        std::string name = printable(entry.name);
        if (info.type == FileType::symlink) {
            CKPTFS_ASSIGN(const std::string text, tree_->read_link(entry.path));
            name += " -> " + printable(text);
        }
        return Detail{mode_text(info), std::to_string(info.stamp.size), time_text(info.stamp.mtime_ns), name};
    }

    /// What cannot be looked at does not keep the rest from being listed.
    void note(const Error& problem) {
        environment_.error << "ckptfs: warning: " << printable(problem.message()) << '\n' << std::flush;
        if (!first_problem_) {
            first_problem_ = problem;
        }
    }

    const ListArguments& arguments_;
    const Environment& environment_;
    std::shared_ptr<const ViewTree> tree_;
    std::optional<Error> first_problem_;
};

}  // namespace

Result<void> list(const ListArguments& arguments, const Environment& environment) {
    return Listing(arguments, environment).run();
}

Result<void> concatenate(const CatArguments& arguments, const Environment& environment) {
    CKPTFS_ASSIGN(const auto tree, tree_of(arguments.shown, environment));
    const auto opened = tree->open(arguments.path);
    if (!opened) {
        return error_of_path(opened.error());
    }
    const File& file = **opened;
    std::vector<std::byte> block(static_cast<std::size_t>(std::min(file.size(), block_nbytes)));
    for (std::uint64_t offset = 0; offset < file.size(); offset += block.size()) {
        CKPTFS_TRY(expect_no_interruption(environment));
        block.resize(static_cast<std::size_t>(std::min(file.size() - offset, block_nbytes)));
        CKPTFS_TRY(file.read(offset, block));
        const auto* const bytes = reinterpret_cast<const char*>(block.data());
        if (!environment.out.write(bytes, static_cast<std::streamsize>(block.size()))) {
            break;  // which whoever flushes it reports
        }
    }
    return {};
}

}  // namespace ckptfs::cli
