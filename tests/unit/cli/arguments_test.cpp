// Command lines: what they mean, and what is said of wrong ones.
#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/exit_code.h"
#include "cli/mount_options.h"

namespace ckptfs::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

MountArguments mount_of(const std::vector<std::string>& arguments) {
    const auto parsed = parse_arguments(arguments);
    EXPECT_TRUE(parsed.ok()) << parsed.error().message();
    return std::get<MountArguments>(*parsed);
}

std::string error_of(const std::vector<std::string>& arguments) {
    const auto parsed = parse_arguments(arguments);
    EXPECT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
    return parsed.error().message();
}

std::string text_of(const std::vector<std::string>& arguments) {
    const auto parsed = parse_arguments(arguments);
    EXPECT_TRUE(parsed.ok());
    return std::get<Text>(*parsed).text;
}

TEST(Arguments, AnOptionOfFstabWithoutItsValueIsNamed) {
    for (const char* name :
         {"world-size", "dp_size", "ds-config", "sub-group-size", "log-file", "io", "view", "rename"}) {
        for (const char* rest : {"", "="}) {
            const std::string word = std::string(name) + rest;
            EXPECT_THAT(error_of({"/s", "/m", "-o", word}), HasSubstr("'" + word + "' needs a value")) << word;
        }
    }
}

TEST(Arguments, MountTakesEveryOptionAsAFlag) {
    const auto arguments =
        mount_of({"/s", "/m", "--world-size=4", "-f", "--log-file=l", "--ds-config=c", "--io=direct", "--allow-other"});
    EXPECT_EQ(arguments.source, "/s");
    EXPECT_EQ(arguments.mount_point, "/m");
    EXPECT_EQ(arguments.target.world_size(), 4U);
    EXPECT_TRUE(arguments.foreground);
    EXPECT_TRUE(arguments.allow_other);
    EXPECT_EQ(arguments.log_file, "l");
    EXPECT_EQ(arguments.target.config_file, "c");
    EXPECT_EQ(arguments.io, IoMode::direct);
}

TEST(Arguments, SubGroupSizeIsACountOfElements) {
    EXPECT_EQ(mount_of({"/s", "/m"}).target.sub_group_size, std::nullopt);
    EXPECT_EQ(mount_of({"/s", "/m", "--sub-group-size=1000000000"}).target.sub_group_size, 1'000'000'000U);
    EXPECT_EQ(mount_of({"/s", "/m", "-o", "sub_group_size=0"}).target.sub_group_size, 0U);
    for (const char* wrong : {"--sub-group-size=x", "--sub-group-size=1e9", "--sub-group-size=-1",
                              "--sub-group-size=9223372036854775808"}) {
        EXPECT_THAT(error_of({"/s", "/m", wrong}), HasSubstr("not a number of elements")) << wrong;
    }
}

TEST(Arguments, WorldSizesCountAllRanksOrTheDataParallelOnes) {
    EXPECT_FALSE(mount_of({"/s", "/m", "--world-size=4"}).target.request->counts_data_parallel);
    const auto arguments = mount_of({"/s", "/m", "-o", "dp_size=4"});
    EXPECT_TRUE(arguments.target.request->counts_data_parallel);
    EXPECT_EQ(arguments.target.world_size(), 4U);
}

TEST(Arguments, AWritableMountIsThatOfAWorldSizeAndMayBeEmpty) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"--world-size=4", "--writable"},
                                                  {"--dp-size=4", "--writable"},
                                                  {"--view=world-size-4", "--writable"},
                                                  {"-oworld_size=4,writable"}}) {
        std::vector<std::string> arguments{"/s", "/m"};
        arguments.insert(arguments.end(), words.begin(), words.end());
        EXPECT_TRUE(mount_of(arguments).writable);
        EXPECT_TRUE(mount_of(arguments).allow_empty);
        EXPECT_FALSE(mount_of(arguments).in_place);
    }
    EXPECT_FALSE(mount_of({"/s", "/m", "--world-size=4", "-orw"}).writable);
    EXPECT_FALSE(mount_of({"/s", "/m", "--world-size=4"}).allow_empty);
    EXPECT_THAT(error_of({"/s", "/m", "--writable"}), HasSubstr("--writable takes a world size"));
    for (const char* view : {"weights", "states", "lightning", "universal"}) {
        EXPECT_THAT(error_of({"/s", "/m", "--writable", std::string("--view=") + view}), HasSubstr("a world size"));
    }
}

TEST(Arguments, AMountIsNotBothReadOnlyAndWritable) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"-o", "ro,writable,world-size=2"},
                                                  {"-o", "writable,world-size=2,rw,ro"},
                                                  {"-oro", "--writable", "--world-size=2"},
                                                  {"--writable", "--world-size=2", "-o", "ro", "-o", "noatime"}}) {
        std::vector<std::string> arguments{"/s", "/m"};
        arguments.insert(arguments.end(), words.begin(), words.end());
        EXPECT_THAT(error_of(arguments), HasSubstr("-o ro and --writable contradict"));
    }
    EXPECT_FALSE(mount_of({"/s", "/m", "-o", "ro,world-size=2"}).writable);
    EXPECT_TRUE(mount_of({"/s", "/m", "-o", "rw,writable,world-size=2"}).writable);
}

TEST(Arguments, MountHasDefaults) {
    const auto arguments = mount_of({"/s", "/m"});
    EXPECT_FALSE(arguments.target.world_size());
    EXPECT_FALSE(arguments.foreground);
    EXPECT_FALSE(arguments.allow_other);
    EXPECT_EQ(arguments.io, IoMode::automatic);
    EXPECT_THAT(arguments.kernel_options, IsEmpty());
}

TEST(Arguments, MountTakesEveryOptionBehindO) {
    const auto arguments = mount_of({"/s", "/m", "-o", "world_size=4,foreground,log-file=l,allow_other",
                                     "-ods-config=c,io=cached", "-o", R"(context=a\,b)"});
    EXPECT_EQ(arguments.target.world_size(), 4U);
    EXPECT_TRUE(arguments.foreground);
    EXPECT_TRUE(arguments.allow_other);
    EXPECT_EQ(arguments.log_file, "l");
    EXPECT_EQ(arguments.target.config_file, "c");
    EXPECT_EQ(arguments.io, IoMode::cached);
    EXPECT_THAT(arguments.kernel_options, ElementsAre("context=a,b"));
}

TEST(Arguments, WordsOfFstabAreIgnored) {
    const auto arguments = mount_of(
        {"/s", "/m", "-o", "rw,ro,dev,nodev,suid,nosuid,noatime,defaults,_netdev,nofail,x-systemd.automount,noauto"});
    EXPECT_THAT(arguments.kernel_options, IsEmpty());
    EXPECT_FALSE(arguments.target.world_size());
}

TEST(Arguments, UnknownOptionsAreNamed) {
    EXPECT_THAT(error_of({"/s", "/m", "--foo=1"}), HasSubstr("unknown option '--foo=1'"));
    EXPECT_THAT(error_of({"/s", "/m", "-o", "rw,foo=1"}), HasSubstr("unknown mount option 'foo=1'"));
    EXPECT_THAT(error_of({"/s", "/m", "/x"}), HasSubstr("unexpected argument '/x'"));
    EXPECT_THAT(error_of({"inspect", "/s", "--foo"}), HasSubstr("unknown option '--foo'"));
}

TEST(Arguments, WhatIsMissingIsNamed) {
    EXPECT_THAT(error_of({}), HasSubstr("SOURCE is missing; usage: ckptfs SOURCE MOUNTPOINT"));
    EXPECT_THAT(error_of({"/s"}), HasSubstr("MOUNTPOINT is missing"));
    EXPECT_THAT(error_of({"verify"}), HasSubstr("SOURCE is missing; usage: ckptfs verify"));
    EXPECT_THAT(error_of({"/s", "/m", "-o"}), HasSubstr("-o needs a list"));
    EXPECT_THAT(error_of({"/s", "/m", "--log-file"}), HasSubstr("--log-file needs a value"));
    EXPECT_THAT(error_of({"/s", "/m", "--world-size=3", "-oworld-size=4"}), HasSubstr("--world-size is given twice"));
    EXPECT_THAT(error_of({"/s", "/m", "--io=fast"}), HasSubstr("'fast'"));
    EXPECT_THAT(error_of({"/s", "/m", "--world-size=4", "-odp-size=2"}), HasSubstr("give one of them"));
}

TEST(Arguments, EveryOptionOfAMountMayStandInFstab) {
    std::istringstream help(text_of({"--help"}));
    std::size_t count = 0;
    for (std::string line; std::getline(help, line);) {
        // "  -f,--foreground             Stay in the foreground …", "  --world-size N              Number of ranks …"
        const std::size_t begin = line.find("--");
        if (!line.starts_with("  -") || begin == std::string::npos) {
            continue;
        }
        std::istringstream words_of_line(line.substr(begin + 2));
        std::string name;
        words_of_line >> name;
        if (name == "help" || name == "version") {
            continue;
        }
        const std::size_t after = begin + 2 + name.size();
        const bool takes_value = after + 1 < line.size() && line[after] == ' ' && line[after + 1] != ' ';
        ++count;
        const auto words = split_mount_options(name + (takes_value ? "=1" : ""));
        ASSERT_TRUE(words.ok()) << line << words.error().message();
        EXPECT_THAT(words->arguments, ElementsAre("--" + name + (takes_value ? "=1" : ""))) << line;
    }
    EXPECT_GE(count, 10U);
}

std::string view_of(std::vector<std::string> options) {
    options.insert(options.begin(), {"/s", "/m"});
    const auto request = mount_of(options).target.request;
    return request ? request->name() : "all";
}

TEST(Arguments, AViewIsGivenByItsNameOrByItsParts) {
    EXPECT_EQ(view_of({}), "all");
    EXPECT_EQ(view_of({"--view=world-size-8"}), "world-size-8");
    EXPECT_EQ(mount_of({"/s", "/m", "--view=world-size-8"}).target.request,
              mount_of({"/s", "/m", "--world-size=8"}).target.request);
    EXPECT_EQ(view_of({"--view=dp-size-2"}), view_of({"--dp-size=2"}));
    EXPECT_EQ(view_of({"--view=weights"}), "weights");
    EXPECT_EQ(view_of({"--view=weights", "--dtype=bf16"}), "weights-bf16");
    EXPECT_EQ(view_of({"--view=weights", "--container=bin"}), "weights-fp32-bin") << "as zero_to_fp32.py writes it";
    EXPECT_EQ(view_of({"--view=weights", "--container=bin", "--dtype=source"}), "weights-bin");
    EXPECT_EQ(view_of({"--view=weights-bin"}), "weights-bin");
    EXPECT_EQ(view_of({"-o", "view=weights,dtype=fp16,container=safetensors"}), "weights-fp16");
    EXPECT_EQ(std::get<VerifyArguments>(*parse_arguments({"verify", "/s", "--view=universal"})).target.request->name(),
              "universal");
    EXPECT_EQ(std::get<InspectArguments>(*parse_arguments({"inspect", "/s", "--view=states"})).target.request->name(),
              "states");
    EXPECT_EQ(std::get<RunArguments>(*parse_arguments({"run", "/s", "--view=lightning", "--", "c"}))
                  .mount.target.request->name(),
              "lightning");
}

TEST(Arguments, AViewThatThereIsNotAndPartsThatDoNotFitAreNamed) {
    for (const char* name : {"weight", "world-size-08", "weights-fp8", "weights-bin-fp32", "universal-2"}) {
        EXPECT_THAT(error_of({"/s", "/m", std::string("--view=") + name}),
                    testing::AllOf(HasSubstr(std::string("no view '") + name), HasSubstr("lightning")));
    }
    for (const auto& [name, meant] : {std::pair("weigths", "weights"), std::pair("wold-size-12", "world-size-12"),
                                      std::pair("dp-sise-3", "dp-size-3"), std::pair("weights-bf61", "weights-bf16")}) {
        EXPECT_THAT(error_of({"/s", "/m", std::string("--view=") + name}),
                    HasSubstr(std::string("' (did you mean ") + meant + "?); give one of"));
    }
    EXPECT_THAT(error_of({"/s", "/m", "--view=xyz"}), HasSubstr("no view 'xyz'; give one of"));
    EXPECT_EQ(error_of({"/s", "/m", "--view=world-size-0"}), error_of({"/s", "/m", "--world-size=0"}));
    EXPECT_THAT(error_of({"/s", "/m", "--view=dp-size-x"}), HasSubstr("'x' is not a whole number"));
    EXPECT_THAT(error_of({"/s", "/m", "--view=weights", "--world-size=4"}), HasSubstr("without --world-size"));
    EXPECT_THAT(error_of({"run", "/s", "--view=weights", "--world-size=auto", "--", "c"}), HasSubstr("--view says"));
    EXPECT_THAT(error_of({"/s", "/m", "--dtype=fp32"}), HasSubstr("--dtype goes with --view=weights alone"));
    EXPECT_THAT(error_of({"/s", "/m", "--view=weights-fp32", "--dtype=fp32"}), HasSubstr("--view=weights alone"));
    EXPECT_THAT(error_of({"/s", "/m", "--view=states", "--container=bin"}), HasSubstr("--container goes with"));
    EXPECT_THAT(error_of({"/s", "/m", "--view=weights", "--dtype=int8"}), HasSubstr("'int8'"));
    EXPECT_THAT(error_of({"/s", "/m", "--view=weights", "--container=gguf"}), HasSubstr("'gguf'"));
    EXPECT_THAT(error_of({"check", "/s", "--view=weights"}), HasSubstr("unknown option"));
}

TEST(Arguments, NamesOfWeightsAreOptionsOfTheMount) {
    const auto view =
        mount_of({"--view=weights", "--max-shard-size=5GB", "--strip-prefix=model.", "--strip-prefix=m.", "/s", "/m",
                  "--rename=^a(?=b)=c", "--rename", "d=", "--parameters=lora", "--trainable-only", "--tag=step2"})
            .target.names;
    EXPECT_EQ(view.max_shard_nbytes, 5'000'000'000U);
    EXPECT_THAT(view.strip_prefixes, ElementsAre("model.", "m."));
    ASSERT_EQ(view.renames.size(), 2U);
    EXPECT_EQ(view.renames[0].pattern, "^a(?=b)");
    EXPECT_EQ(view.renames[0].replacement, "c");
    EXPECT_EQ(view.renames[1].pattern, "d");
    EXPECT_EQ(view.renames[1].replacement, "");
    EXPECT_EQ(view.parameters, "lora");
    EXPECT_TRUE(view.trainable_only);
    EXPECT_EQ(view.tag, "step2");
    EXPECT_EQ(mount_of({"/s", "/m", "--max-shard-size=2MiB"}).target.names.max_shard_nbytes, 2'097'152U)
        << "of the weights in a catalogue";
}

TEST(Arguments, NamesThatSayNothingOfAViewAreRefused) {
    for (const char* option : {"--max-shard-size=5GB", "--strip-prefix=a", "--rename=a=b", "--parameters=a",
                               "--trainable-only", "--tag=a"}) {
        for (const char* view : {"--view=universal", "--view=lightning", "--world-size=2", "--dp-size=2"}) {
            EXPECT_THAT(error_of({"/s", "/m", view, option}), HasSubstr("it goes with --view=weights")) << option;
        }
        EXPECT_THAT(error_of({"run", "/s", "--world-size=auto", option, "--", "c"}), HasSubstr("it goes with"));
    }
    EXPECT_EQ(mount_of({"/s", "/m", "--view=states", "--strip-prefix=a"}).target.names.strip_prefixes.size(), 1U);
    for (const char* option : {"--max-shard-size=5GB", "--tag=a"}) {
        EXPECT_THAT(error_of({"/s", "/m", "--view=states", option}), HasSubstr("it goes with --view=weights"));
    }
    EXPECT_THAT(error_of({"/s", "/m", "--strip-prefix="}), HasSubstr("--strip-prefix needs a value; usage"));
    EXPECT_THAT(error_of({"/s", "/m", "--tag="}), HasSubstr("--tag needs a value; usage"));
    for (const char* size : {"0", "-1", "GB", "5 GB", "5gb", "1.5GB", "99999999999TB", "9223372036854775808"}) {
        EXPECT_THAT(error_of({"/s", "/m", std::string("--max-shard-size=") + size}), HasSubstr("is no size; ")) << size;
    }
    EXPECT_THAT(error_of({"/s", "/m", "--rename=a"}), HasSubstr("REGEX=REPLACEMENT"));
    EXPECT_THAT(error_of({"/s", "/m", "--rename=a(=b"}), HasSubstr("no regular expression"));
    EXPECT_THAT(error_of({"/s", "/m", "--parameters=["}), HasSubstr("--parameters is '['"));
    EXPECT_THAT(error_of({"/s", "/m", "--tag", ""}), HasSubstr("--tag is empty"));
}

TEST(Arguments, AFlagMayStandBeforeTheOptionsOfFstab) {
    for (const std::vector<std::string>& options :
         {std::vector<std::string>{"-fo", "world-size=3"}, {"-foworld-size=3"}, {"-f", "-o", "world-size=3"}}) {
        std::vector<std::string> arguments{"/s", "/m"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        const MountArguments mount = mount_of(arguments);
        EXPECT_TRUE(mount.foreground) << options.front();
        EXPECT_EQ(mount.target.world_size(), 3U) << options.front();
    }
    EXPECT_THAT(error_of({"/s", "/m", "-fo", "foo"}), HasSubstr("foo"));
}

TEST(Arguments, TheFirstArgumentChoosesTheCommand) {
    const auto inspect = std::get<InspectArguments>(*parse_arguments({"inspect", "/s", "--json", "--world-size=2"}));
    EXPECT_EQ(inspect.source, "/s");
    EXPECT_TRUE(inspect.json);
    EXPECT_EQ(inspect.target.world_size(), 2U);
    const auto verify = std::get<VerifyArguments>(*parse_arguments({"verify", "--tag=t", "/s"}));
    EXPECT_EQ(verify.source, "/s");
    EXPECT_EQ(verify.tag, "t");
    EXPECT_FALSE(verify.target.world_size());
    EXPECT_EQ(mount_of({"./inspect", "/m"}).source, "./inspect");
}

TEST(Arguments, HelpAndVersionAreTexts) {
    EXPECT_THAT(text_of({"--help"}),
                testing::AllOf(HasSubstr("Usage: ckptfs SOURCE MOUNTPOINT"), HasSubstr("--world-size"),
                               HasSubstr("--ds-config"), HasSubstr("inspect"), HasSubstr("verify")));
    EXPECT_THAT(text_of({"inspect", "--help"}), HasSubstr("--json"));
    EXPECT_THAT(text_of({"verify", "-h"}), HasSubstr("--tag"));
    EXPECT_THAT(text_of({"--version"}),
                testing::MatchesRegex("ckptfs [0-9]+\\.[0-9]+\\.[0-9]+( \\(commit [0-9a-f]{12,}\\))?\n"));
}

TEST(Arguments, OptionsThatAreNearlyRightAreGuessed) {
    const auto guess = [](const std::vector<std::string>& arguments) {
        const std::string message = error_of(arguments);
        const std::size_t begin = message.find("(did you mean ");
        return begin == std::string::npos ? "" : message.substr(begin, message.find(')', begin) + 1 - begin);
    };
    EXPECT_EQ(guess({"/s", "/m", "--wrold-size=4"}), "(did you mean --world-size?)");
    EXPECT_EQ(guess({"/s", "/m", "--world_size=4"}), "(did you mean --world-size?)");
    EXPECT_EQ(guess({"/s", "/m", "-world-size=4"}), "(did you mean --world-size?)");
    EXPECT_EQ(guess({"/s", "/m", "--writeable"}), "(did you mean --writable?)");
    EXPECT_EQ(guess({"inspect", "/s", "--jsn"}), "(did you mean --json?)");
    EXPECT_EQ(guess({"run", "/s", "--inplace", "--", "c"}), "(did you mean --in-place?)");
    EXPECT_EQ(guess({"/s", "/m", "--versoin"}), "(did you mean --version?)");
    EXPECT_EQ(guess({"/s", "/m", "-o", "rw,world_szie=4"}), "(did you mean world-size?)");
    EXPECT_EQ(guess({"/s", "/m", "-oalow_other"}), "(did you mean allow-other?)");
    for (const char* far : {"--foo=1", "--jobs=2", "--", "---", "-x", "--zzzzzzzzzz", "--=4"}) {
        EXPECT_EQ(guess({"/s", "/m", far, "/x"}), "") << far;
    }
    EXPECT_EQ(guess({"/s", "/m", "-o", "foo=1"}), "");
    EXPECT_THAT(error_of({"/s", "/m", "--wrold-size=4"}),
                HasSubstr("unknown option '--wrold-size=4' (did you mean --world-size?); usage: ckptfs SOURCE"));
}

TEST(Arguments, CommandsThatAreNearlyRightAreGuessed) {
    for (const auto& [word, command] : std::vector<std::pair<std::string, std::string>>{
             {"inspct", "inspect"}, {"Verify", "verify"}, {"exprot", "export"}, {"rnu", "run"}, {"hlep", "help"}}) {
        const auto is_guessed = HasSubstr("(did you mean the command `ckptfs " + command + "`?)");
        EXPECT_THAT(error_of({word}), is_guessed);
        EXPECT_THAT(error_of({word, "/s", "--jobs=2"}), is_guessed);
        EXPECT_THAT(error_of({word, "/s", "/d", "/x"}), is_guessed);
        EXPECT_EQ(mount_of({word, "/m"}).source, word) << "may be a directory";
    }
    for (const char* source : {"/run", "./rnu", "checkpoint", "mount", "-", "s"}) {
        EXPECT_THAT(error_of({source}), testing::Not(HasSubstr("did you mean"))) << source;
    }
}

TEST(Arguments, HelpIsThatOfTheCommand) {
    EXPECT_EQ(text_of({"help"}), text_of({"--help"}));
    for (const char* command : {"run", "inspect", "verify", "check", "ls", "cat", "export", "help"}) {
        const std::string text = text_of({"help", command});
        EXPECT_EQ(text, text_of({command, "--help"}));
        EXPECT_THAT(text, HasSubstr(std::string("Usage: ckptfs ") + command));
        EXPECT_THAT(text_of({"help"}), HasSubstr(std::string("ckptfs ") + command + " ")) << "named in the overview";
    }
    EXPECT_THAT(error_of({"help", "inspct"}),
                HasSubstr("no command 'inspct' (did you mean the command `ckptfs inspect`?); there are run, inspect,"));
    EXPECT_THAT(error_of({"help", "foo"}), HasSubstr("no command 'foo'; there are run"));
    EXPECT_THAT(error_of({"help", "run", "ls"}), HasSubstr("unexpected argument 'ls'"));
    EXPECT_EQ(mount_of({"./help", "/m"}).source, "./help");
}

TEST(Arguments, AnOptionIsGivenOnce) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"--world-size=2", "--world-size=2"},
                                                  {"--world-size", "2", "--world-size", "3"},
                                                  {"--world-size=2", "-o", "world_size=3"}}) {
        std::vector<std::string> arguments{"/s", "/m"};
        arguments.insert(arguments.end(), words.begin(), words.end());
        EXPECT_THAT(error_of(arguments), HasSubstr("option --world-size is given twice"));
    }
    EXPECT_THAT(error_of({"/s", "/m", "-f", "--foreground"}), HasSubstr("option --foreground is given twice"));
    EXPECT_THAT(error_of({"/s", "/m", "-ff"}), HasSubstr("option -f is given twice"));
    EXPECT_THAT(error_of({"ls", "/s", "-lRl"}), HasSubstr("option -l is given twice"));
    EXPECT_THAT(error_of({"inspect", "--json", "/s", "--json"}), HasSubstr("option --json is given twice"));
    EXPECT_THAT(error_of({"verify", "/s", "--tag=a", "--tag=b"}), HasSubstr("option --tag is given twice"));
    EXPECT_THAT(error_of({"export", "/s", "/d", "--jobs=1", "--jobs=1"}), HasSubstr("option --jobs is given twice"));
    EXPECT_THAT(text_of({"--help", "--help"}), HasSubstr("Usage"));
    EXPECT_EQ(mount_of({
                           "/s",
                           "/m",
                           "--log-file",
                           "l",
                           "--",
                       })
                  .log_file,
              "l");
    EXPECT_EQ(mount_of({"--log-file=l", "--", "--log-file=x", "--log-file=y"}).source, "--log-file=x") << "no options";
}

TEST(Arguments, TheLastOfTwoOptionsOfFstabWins) {
    const auto arguments =
        mount_of({"/s", "/m", "-o", "world-size=2,io=direct,f,allow_other,context=a", "-o",
                  "world_size=4,foreground,context=b,io=cached,io=auto,allow-other", "-oworld-size=3"});
    EXPECT_EQ(arguments.target.world_size(), 3U);
    EXPECT_EQ(arguments.io, IoMode::automatic);
    EXPECT_TRUE(arguments.foreground);
    EXPECT_TRUE(arguments.allow_other);
    EXPECT_THAT(arguments.kernel_options, ElementsAre("context=b"));
}

TEST(Arguments, MemoryOfAMountIsASize) {
    EXPECT_EQ(mount_of({"/s", "/m"}).memory_nbytes, std::nullopt);
    EXPECT_EQ(mount_of({"/s", "/m", "--memory=2GB"}).memory_nbytes, 2'000'000'000U);
    EXPECT_EQ(mount_of({"/s", "/m", "-o", "memory=1MiB,memory=3MiB"}).memory_nbytes, 3U << 20U);
    EXPECT_THAT(error_of({"/s", "/m", "--memory=much"}), HasSubstr("--memory: "));
    EXPECT_THAT(error_of({"/s", "/m", "--memory=0"}), HasSubstr("--memory: "));
}

TEST(Arguments, WhatMayBeRepeatedIsNotTheLastAlone) {
    const auto names = mount_of({"/s", "/m", "-o", "view=weights,rename=a=b,strip-prefix=m.", "-o",
                                 "strip_prefix=n.,rename=a=b,rename=c=d", "--rename=e=f"})
                           .target.names;
    EXPECT_THAT(names.strip_prefixes, ElementsAre("m.", "n."));
    ASSERT_EQ(names.renames.size(), 4U);
    EXPECT_EQ(names.renames[1].pattern, "a");
    EXPECT_EQ(names.renames[3].pattern, "e");
}

TEST(Arguments, AFlagTakesNoValue) {
    for (const char* value : {"yes", "no", "true", "false", "1", "0", ""}) {
        const std::string rest = std::string("=") + value;
        EXPECT_THAT(error_of({"/s", "/m", "--world-size=2", "--writable" + rest}),
                    HasSubstr("option --writable takes no value: write it without '" + rest + "'; usage"));
        EXPECT_THAT(error_of({"/s", "/m", "-f" + rest}), HasSubstr("option -f takes no value"));
        EXPECT_THAT(error_of({"/s", "/m", "-o", "rw,allow_other" + rest}),
                    HasSubstr("the mount option 'allow_other" + rest + "' takes no value: give -o allow_other"));
        EXPECT_THAT(error_of({"inspect", "/s", "--json" + rest}), HasSubstr("--json takes no value"));
        EXPECT_THAT(error_of({"/s", "/m", "--version" + rest}), HasSubstr("--version takes no value"));
    }
    EXPECT_THAT(error_of({"ls", "/s", "-lR=yes"}), HasSubstr("option -R takes no value"));
    for (const char* word :
         {"f", "foreground", "allow-other", "allow-empty", "accept-mixed", "trainable-only", "writable"}) {
        EXPECT_THAT(error_of({"/s", "/m", "-o", word + std::string("=yes")}), HasSubstr("takes no value"));
    }
}

TEST(Arguments, ASourceMayBeginWithADash) {
    const auto mount = mount_of({"--world-size=2", "-o", "io=direct", "--", "-s", "--m"});
    EXPECT_EQ(mount.source, "-s");
    EXPECT_EQ(mount.mount_point, "--m");
    EXPECT_EQ(mount.target.world_size(), 2U);
    EXPECT_EQ(mount.io, IoMode::direct);
    EXPECT_EQ(mount_of({"--", "run", "/m"}).source, "run");
    EXPECT_EQ(std::get<InspectArguments>(*parse_arguments({"inspect", "--json", "--", "--json"})).source, "--json");
    EXPECT_EQ(std::get<VerifyArguments>(*parse_arguments({"verify", "--", "-h"})).source, "-h");
    EXPECT_EQ(
        std::get<CheckArguments>(*parse_arguments({"check", "--world-size=2", "--ds-config=c", "--", "--world-size=3"}))
            .source,
        "--world-size=3");
    const auto list = std::get<ListArguments>(*parse_arguments({"ls", "-l", "--", "-R", "-l"}));
    EXPECT_EQ(list.shown.source, "-R");
    EXPECT_EQ(list.path, "-l");
    EXPECT_FALSE(list.is_recursive);
    const auto cat = std::get<CatArguments>(*parse_arguments({"cat", "--", "-s", "-p"}));
    EXPECT_EQ(cat.shown.source, "-s");
    EXPECT_EQ(cat.path, "-p");
    const auto exported = std::get<ExportArguments>(*parse_arguments({"export", "--world-size=2", "--", "-s", "-d"}));
    EXPECT_EQ(exported.source, "-s");
    EXPECT_EQ(exported.destination, "-d");
    EXPECT_THAT(error_of({"inspect", "-s"}), HasSubstr("unknown option '-s'"));
}

struct BadWorldSize {
    std::string text;
    std::string says;
};

class WorldSizes : public testing::TestWithParam<BadWorldSize> {};

TEST_P(WorldSizes, BadOnesAreRefusedByReason) {
    const auto& [text, says] = GetParam();
    EXPECT_THAT(error_of({"/s", "/m", "-o", "world-size=" + text, "--io=auto"}), HasSubstr(says));
    EXPECT_THAT(error_of({"/s", "/m", "--world-size=" + text}), HasSubstr("1 to 1,048,576"));
}

INSTANTIATE_TEST_SUITE_P(Bad, WorldSizes,
                         testing::Values(BadWorldSize{"0", "is 0"}, BadWorldSize{"-1", "'-1' is negative"},
                                         BadWorldSize{"abc", "'abc' is not a whole number"},
                                         BadWorldSize{"1e3", "'1e3' is not a whole"},
                                         BadWorldSize{"0x4", "not a whole"}, BadWorldSize{" 3", "not a whole"},
                                         BadWorldSize{"+3", "not a whole"}, BadWorldSize{"3.0", "not a whole"},
                                         BadWorldSize{"-", "not a whole"},
                                         BadWorldSize{"1048577", "'1048577' is too large"},
                                         BadWorldSize{"99999999999999999999", "is too large"}));

TEST(ExitCodes, EveryErrorHasOne) {
    const auto status = [](ErrorCode code) { return status_of(exit_code_of(code)); };
    EXPECT_EQ(status(ErrorCode::verification), 1);
    EXPECT_EQ(status(ErrorCode::invalid_argument), 2);
    EXPECT_EQ(status(ErrorCode::not_a_checkpoint), 3);
    EXPECT_EQ(status(ErrorCode::not_found), 3);
    EXPECT_EQ(status(ErrorCode::incomplete), 4);
    EXPECT_EQ(status(ErrorCode::damaged), 4);
    EXPECT_EQ(status(ErrorCode::inconsistent), 4);
    EXPECT_EQ(status(ErrorCode::stale), 4);
    EXPECT_EQ(status(ErrorCode::unsupported), 5);
    EXPECT_EQ(status(ErrorCode::mount), 6);
    EXPECT_EQ(status(ErrorCode::io), 7);
    EXPECT_EQ(status(ErrorCode::internal), 70);
}

}  // namespace
}  // namespace ckptfs::cli
