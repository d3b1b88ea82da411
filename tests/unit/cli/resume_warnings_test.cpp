// What `inspect` says of files beside a tag that do not follow a change of world size.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "harness.h"
#include "support/archives.h"

namespace ckptfs::cli::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* trainer_state = R"({"global_step": 2, "best_model_checkpoint": null})";

class Warnings : public testing::Test {
 protected:
    Warnings() : source_(harness_.copy("stage1_bf16_ws3")) {}

    void write(const std::string& name, const std::string& bytes = "x") const {
        std::ofstream(source_ / name, std::ios::binary) << bytes;
    }
    std::vector<std::string> at(int world_size) {
        return of({"inspect", "--json", "--world-size=" + std::to_string(world_size), source_.string()});
    }
    std::vector<std::string> anywhere() { return of({"inspect", "--json", source_.string()}); }

    std::vector<std::string> of(const std::vector<std::string>& arguments) {
        EXPECT_EQ(harness_.run(arguments), 0) << harness_.error();
        return json::parse(harness_.out())["warnings"].get<std::vector<std::string>>();
    }

    Harness harness_;
    fs::path source_;
};

TEST_F(Warnings, APlainCheckpointHasNone) {
    write("random_states.txt");
    write("scheduler.bin");
    EXPECT_THAT(anywhere(), IsEmpty());
    EXPECT_THAT(at(4), IsEmpty());
    EXPECT_EQ(harness_.run({"inspect", source_.string()}), 0);
    EXPECT_THAT(harness_.out(), Not(HasSubstr("at another world size")));
}

TEST_F(Warnings, TransformersRandomStates) {
    write("trainer_state.json", trainer_state);
    for (const char* rank : {"0", "1", "2"}) {
        write(std::string("rng_state_") + rank + ".pth");
    }
    EXPECT_THAT(at(3), IsEmpty());
    EXPECT_THAT(at(5), Contains(AllOf(HasSubstr("rng_state_3.pth"), HasSubstr("ranks 3 to 4 keep their own seed"))));
    EXPECT_THAT(at(4), Contains(HasSubstr("rank 3 keep")));
    EXPECT_THAT(at(2), Contains(AllOf(HasSubstr("of 1 ranks"), HasSubstr("rng_state_2.pth"))));
    EXPECT_THAT(at(1), Contains(HasSubstr("are not read at 1 rank")));
    EXPECT_THAT(anywhere(), Contains(HasSubstr("ranks from 3 on keep their own seed")));
    EXPECT_THAT(at(2), Contains(HasSubstr("exact where the global batch stays")));
}

TEST_F(Warnings, TransformersBestCheckpoint) {
    write("trainer_state.json", trainer_state);
    EXPECT_THAT(at(2), Not(Contains(HasSubstr("load_best_model_at_end"))));
    write("trainer_state.json", R"({"best_model_checkpoint": "/out/checkpoint-2"})");
    EXPECT_THAT(at(2), Contains(AllOf(HasSubstr("'/out/checkpoint-2'"), HasSubstr("load_best_model_at_end"))));
    for (const char* damaged : {"", "[]", "{"}) {
        write("trainer_state.json", damaged);
        EXPECT_THAT(at(2), Contains(HasSubstr("cannot be read")));
    }
}

TEST_F(Warnings, AcceleratesStepCounterCanHangARunThatGrows) {
    write("random_states_0.pkl");
    EXPECT_THAT(at(4), Contains(AllOf(HasSubstr("random_states_0.pkl"), HasSubstr("for ever"), HasSubstr("rank 3 "))));
    EXPECT_THAT(at(2), ElementsAre(AllOf(HasSubstr("random_states_2.pkl"), Not(HasSubstr("for ever")))));
    EXPECT_THAT(at(3), IsEmpty());
    EXPECT_EQ(harness_.run({"inspect", "--world-size=4", source_.string()}), 0);
    EXPECT_THAT(harness_.out(), AllOf(HasSubstr("\nat another world size\n"), HasSubstr("for ever")));
}

TEST_F(Warnings, AcceleratesStepCounterIsReadWhereItCanBe) {
    const auto count = [this](char step) {
        // {"step": 7}, as torch.save writes it.
        std::string pickle("\x80\x02}q\x00X\x04\x00\x00\x00stepq\x01K\x07s.", 20);
        pickle[17] = step;
        write("random_states_0.pkl",
              ckptfs::test::container({{"random_states_0/data.pkl", pickle}, {"random_states_0/version", "3\n"}}));
    };
    count(7);
    EXPECT_THAT(at(4), Contains(AllOf(HasSubstr("(7 now)"), HasSubstr("for ever"))));
    EXPECT_THAT(anywhere(), Contains(HasSubstr("(7 now)")));
    count(0);
    EXPECT_THAT(at(4), ElementsAre(HasSubstr("no random states for rank 3"))) << "0 is a multiple of any number";
    EXPECT_THAT(anywhere(), Not(Contains(HasSubstr("for ever"))));
}

TEST_F(Warnings, AcceleratesSchedulerCountsRanks) {
    write("random_states_0.pkl");
    write("scheduler.bin");
    EXPECT_THAT(at(2), Contains(AllOf(HasSubstr("scheduler.bin"), HasSubstr("3 so far, 2 from now on"))));
    EXPECT_THAT(anywhere(), Contains(HasSubstr("3 so far, N from now on")));
}

TEST_F(Warnings, ATagAloneShowsNothingBesideIt) {
    write("random_states_0.pkl");
    EXPECT_THAT(of({"inspect", "--json", "--world-size=4", (source_ / tag_name(source_)).string()}), IsEmpty());
}

}  // namespace
}  // namespace ckptfs::cli::test
