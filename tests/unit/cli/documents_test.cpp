// Manual pages and completion say what --help says.
#include "cli/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/arguments.h"
#include "cli/exit_code.h"
#include "cli/mount_options.h"
#include "harness.h"

namespace ckptfs::cli {
namespace {

using testing::HasSubstr;

/// What roff shows of a page: macros and escapes taken away.
std::string shown(const std::string& page) {
    std::string out;
    for (std::size_t at = 0; at < page.size(); ++at) {
        const std::string_view rest = std::string_view(page).substr(at);
        if (rest.starts_with("\\(aq")) {
            out += '\'';
        } else if (rest.starts_with("\\(ga")) {
            out += '`';
        } else if (rest.starts_with("\\(dq")) {
            out += '"';
        } else if (rest.starts_with("\\(ha")) {
            out += '^';
        } else if (rest.starts_with("\\(ti")) {
            out += '~';
        } else if (rest.starts_with("\\-")) {
            out += '-';
            at += 1;
            continue;
        } else if (rest.starts_with("\\f")) {
            at += 2;
            continue;
        } else if (rest.starts_with("\\e")) {
            out += '\\';
            at += 1;
            continue;
        } else {
            out += rest.front();
            continue;
        }
        at += 3;
    }
    return out;
}

std::string help_of(const std::string& command) {
    const auto parsed = parse_arguments(command.empty() ? std::vector<std::string>{"--help"}
                                                        : std::vector<std::string>{command, "--help"});
    EXPECT_TRUE(parsed.ok());
    return std::get<Text>(*parsed).text;
}

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words(1);
    for (const char letter : text) {
        if (letter == ' ' || letter == '\n') {
            words.emplace_back();
        } else {
            words.back() += letter;
        }
    }
    std::erase(words, "");
    return words;
}

TEST(Documents, ThePageHasEveryWordOfEveryHelp) {
    const auto commands = describe_commands();
    const std::string page = shown(manual_page(commands, "2026-01-02"));
    ASSERT_GE(commands.size(), 9U);
    EXPECT_EQ(commands.front().name, "");
    for (const CommandDescription& command : commands) {
        const std::string help = help_of(command.name);
        EXPECT_THAT(help, HasSubstr("Usage: " + command.usage));
        EXPECT_THAT(page, HasSubstr(command.usage));
        std::size_t lines = 0;
        for (const OptionDescription& option : command.options) {
            for (const std::string& name : option.names) {
                EXPECT_THAT(help, HasSubstr(name)) << command.name;
                EXPECT_THAT(page, HasSubstr(name)) << command.name;
                ++lines;
            }
            EXPECT_THAT(page, HasSubstr(option.text)) << command.name;
        }
        // What --help shows and the description leaves out would be words of it that the page does not have.
        for (const std::string& word : words_of(help)) {
            if (word.starts_with("--")) {
                const std::string name = word.substr(0, word.find_first_of(",=[|;)"));
                EXPECT_THAT(page, HasSubstr(name)) << command.name << " " << word;
            }
        }
        EXPECT_GE(lines, 4U) << "--help and --version at least";
    }
    EXPECT_THAT(page, HasSubstr(".TH CKPTFS 1 2026-01-02 "));
}

TEST(Documents, ThePageOfTheMountHelperHasItsOptionsAndTheMounts) {
    const auto helper = describe_mount_helper();
    const std::string page = shown(mount_helper_page(helper, "2026-01-02"));
    EXPECT_THAT(page, HasSubstr("mount.ckptfs SOURCE MOUNTPOINT [-sfnv] [-o OPTION,...]"));
    const CommandDescription mount_command = describe_commands().front();
    for (const OptionDescription& option : mount_command.options) {
        EXPECT_THAT(page, HasSubstr(option.names.back()));
        EXPECT_THAT(page, HasSubstr(option.text));
    }
}

TEST(Documents, EveryExitStatusIsInThePageAndInTheHelp) {
    const std::string page = shown(manual_page(describe_commands(), "2026-01-02"));
    const std::string help = help_of("");
    std::string summary = help.substr(help.find("Exit status:"));
    std::replace(summary.begin(), summary.end(), '\n', ' ');
    for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
        const ExitCode exit_code = exit_code_of(static_cast<ErrorCode>(code));
        const auto* meaning = std::find_if(exit_meanings.begin(), exit_meanings.end(),
                                           [&](const ExitMeaning& one) { return one.code == exit_code; });
        ASSERT_NE(meaning, exit_meanings.end()) << code;
        const std::string number = std::to_string(status_of(exit_code));
        EXPECT_THAT(page, HasSubstr(".B " + number + "\n" + std::string(meaning->text)));
        EXPECT_THAT(summary, HasSubstr(" " + number + " "));
    }
}

TEST(Documents, NoLineOfAPageIsTakenForACommandOfRoff) {
    CommandDescription command;
    command.usage = ".usage";
    command.text = ".text\n'quoted\n\n-dash \\back";
    command.options.push_back({{"-x"}, "", {}, ".so /etc/passwd", false});
    const std::string page = manual_page({command}, "2026-01-02");
    EXPECT_THAT(page, HasSubstr("\\&.usage\n"));
    EXPECT_THAT(page, HasSubstr("\\&.text\n\\(aqquoted\n.PP\n\\-dash \\eback\n"));
    EXPECT_THAT(page, HasSubstr("\\&.so /etc/passwd\n"));
    EXPECT_TRUE(std::all_of(page.begin(), page.end(), [](char letter) { return letter > 0; })) << "ASCII";
}

TEST(Documents, EveryOptionOfAMountIsTakenBehindO) {
    const std::vector<std::string> words = mount_option_words();
    const auto commands = describe_commands();
    for (const OptionDescription& option : commands.front().options) {
        const std::string name = option.names.back();
        if (name == "-o" || name == "--help" || name == "--version") {
            continue;
        }
        const std::string word = name.substr(2) + (option.value.empty() ? "" : "=");
        EXPECT_THAT(words, testing::Contains(word));
    }
    const auto taken = split_mount_options("foreground,world_size=3");
    ASSERT_TRUE(taken.ok());
    EXPECT_THAT(taken->arguments, testing::ElementsAre("--foreground", "--world-size=3"));
}

TEST(Documents, WhatIsSuggestedIsTaken) {
    std::size_t tried = 0;
    for (const CommandDescription& command : describe_commands()) {
        for (const OptionDescription& option : command.options) {
            for (std::string choice : option.choices) {
                if (!command.name.empty()) {
                    continue;
                }
                choice += choice.ends_with('-') ? "3" : "";
                std::vector<std::string> arguments{"/s", "/m", option.names.back() + "=" + choice};
                if (option.names.back() == "--dtype" || option.names.back() == "--container") {
                    arguments.emplace_back("--view=weights");
                }
                EXPECT_TRUE(parse_arguments(arguments).ok()) << arguments.back();
                ++tried;
            }
        }
    }
    EXPECT_GE(tried, 20U);
}

TEST(Documents, HelpPrintsThem) {
    test::Harness harness;
    EXPECT_EQ(harness.run({"help", "--manual=ckptfs"}), 0);
    EXPECT_THAT(harness.out(), HasSubstr(".TH CKPTFS 1 20"));
    EXPECT_EQ(harness.run({"help", "--manual=mount.ckptfs"}), 0);
    EXPECT_THAT(harness.out(), HasSubstr(".TH MOUNT.CKPTFS 8 20"));
    EXPECT_EQ(harness.run({"help", "--completion=bash"}), 0);
    EXPECT_THAT(harness.out(), HasSubstr("complete -F _ckptfs ckptfs"));
    EXPECT_EQ(harness.run({"help", "--completion=zsh"}), 0);
    EXPECT_TRUE(harness.out().starts_with("#compdef ckptfs\n"));
    EXPECT_EQ(harness.run({"help", "--manual=x"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("--manual is 'x', but must be ckptfs or mount.ckptfs"));
    EXPECT_EQ(harness.run({"help", "run", "--completion=bash"}), 2);
    EXPECT_THAT(harness.error(), HasSubstr("three things"));
    EXPECT_EQ(harness.run({"help", "--manual=ckptfs", "--completion=bash"}), 2);
}

}  // namespace
}  // namespace ckptfs::cli
