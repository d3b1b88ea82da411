// Thousands of random ZeRO-3 checkpoints: the view at N is what the model writes at N.
//   CKPTFS_PROPERTY_SEED=<seed of a case> CKPTFS_PROPERTY_CASES=1 tests/property_views   runs one case again.
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "cases.h"
#include "harness.h"
#include "naive/zero12_random.h"
#include "naive/zero3_model.h"
#include "naive/zip_io.h"

namespace ckptfs::test {
namespace zero3 {
namespace {

constexpr std::uint64_t default_seed = 20'241'124;
constexpr std::uint64_t default_cases = 480;
constexpr std::uint64_t huge_world_size = 1'048'576;

std::uint64_t same_rank(std::uint64_t rank) {
    return rank;
}

struct Case {
    naive::Checkpoint checkpoint;
    naive::Stage3 stage3;
    std::uint64_t from = 1;
    std::uint64_t to = 1;
    std::uint64_t sub_group_size = 0;  // of the target
    bool overridden = false;
};

Case draw_case(naive::Random& random) {
    Case drawn;
    drawn.checkpoint = naive::random_checkpoint(random);
    drawn.stage3 = naive::make_stage3(drawn.checkpoint, random);
    drawn.from = random.one_in(10) ? random.between(10, 30) : random.between(1, 9);
    drawn.to = random.one_in(10) ? random.between(13, random.one_in(10) ? 3000 : 300) : random.between(1, 12);
    if (random.one_in(12)) {
        drawn.to = drawn.from;
    }
    drawn.overridden = random.one_in(4);
    drawn.sub_group_size = drawn.overridden ? random.between(0, 50) : drawn.stage3.sub_group_size;
    return drawn;
}

Files write_files3(const naive::Save3& save, std::uint64_t world_size) {
    Files files;
    const std::string id(40, '7');
    for (std::uint64_t rank = 0; rank < world_size; ++rank) {
        const std::string model_states = naive::Save3::model_states_name(rank);
        const std::string optimizer = save.optimizer_name(rank);
        files[model_states] = naive::write_pt(save.model_states(rank), model_states, id);
        files[optimizer] = naive::write_pt(save.optimizer(rank), optimizer, id);
    }
    return files;
}

std::set<std::uint64_t> choose_ranks(std::uint64_t world_size, bool all, naive::Random& random) {
    std::set<std::uint64_t> ranks{0, world_size / 2, world_size - 1, random.below(world_size)};
    for (std::uint64_t rank = 0; rank < world_size && (all || world_size <= 5); ++rank) {
        ranks.insert(rank);
    }
    return ranks;
}

// Looks at both files of the chosen ranks; keeps their bytes in `kept`.
std::string check_view(const View& view, const naive::Save3& expected, std::uint64_t world_size,
                       const std::set<std::uint64_t>& ranks, Files& kept) {
    if (view.file_count() != 2 * world_size) {
        return std::to_string(view.file_count()) + " files, expected " + std::to_string(2 * world_size);
    }
    if (view.find(expected.optimizer_name(world_size)) || view.find(naive::Save3::model_states_name(world_size)) ||
        view.find(naive::model_states_name)) {
        return "a file is found that should not be there";
    }
    const auto check = [&](const std::string& name, const naive::Value& object) -> std::string {
        const auto index = view.find(name);
        if (!index || view.file_name(*index) != name) {
            return name + " is not found";
        }
        const auto size = view.file_size(*index);
        const std::string whole = read_whole(view, *index);
        if (!size || *size != whole.size()) {
            return name + ": file_size() is not that of the file";
        }
        const std::string wrong = judge(whole, name, object);
        kept[name] = whole;
        return wrong.empty() ? "" : name + wrong;
    };
    for (const std::uint64_t rank : ranks) {
        std::string wrong = check(naive::Save3::model_states_name(rank), expected.model_states(rank));
        if (wrong.empty()) {
            wrong = check(expected.optimizer_name(rank), expected.optimizer(rank));
        }
        if (!wrong.empty()) {
            return wrong;
        }
    }
    return "";
}

std::string check_pass_through(const View& view, const Files& files) {
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        if (read_whole(view, i) != files.at(view.file_name(i))) {
            return view.file_name(i) + " is not the source's, byte for byte";
        }
    }
    return "";
}

// A file cut by another size than its config says names that size.
void store_size(const Case& drawn) {
    if (drawn.sub_group_size == drawn.stage3.sub_group_size) {
        return;
    }
    const naive::Value zero = naive::find(drawn.checkpoint.ds_config, "zero_optimization");
    if (const naive::Value size = naive::find(zero, "sub_group_size")) {
        *size = *naive::integer(drawn.sub_group_size);
    } else {
        naive::set(zero, "sub_group_size", naive::integer(drawn.sub_group_size));
    }
}

std::string run(const Case& drawn, naive::Random& random) {
    const std::uint64_t from = drawn.from;
    const std::uint64_t to = drawn.to;
    const naive::Save3 save(drawn.checkpoint, drawn.stage3, from, drawn.stage3.sub_group_size, same_rank,
                            naive::random_freedom(random, drawn.checkpoint));
    Files files = write_files3(save, from);
    if (random.one_in(6)) {
        files[save.optimizer_name(from + random.below(3))] = "left over";
        files[naive::Save3::model_states_name(from + random.below(3))] = "left over";
    }
    view::ViewOptions options;
    if (drawn.overridden && random.one_in(2)) {
        options.target.emplace().sub_group_size = drawn.sub_group_size;
    } else if (drawn.overridden) {
        options.sub_group_size = drawn.sub_group_size;
    }
    const Opened opened = open_view(files, to, options);
    if (!opened.view) {
        return opened.problem;
    }
    if (to == from && drawn.sub_group_size == drawn.stage3.sub_group_size) {
        return check_pass_through(*opened.view, files);
    }
    store_size(drawn);
    const naive::Save3 expected(drawn.checkpoint, drawn.stage3, to, drawn.sub_group_size,
                                [from](std::uint64_t rank) { return rank % from; }, {});
    const bool back = to <= 12 && to != from && random.one_in(3);
    Files at_to;
    std::string wrong = check_view(*opened.view, expected, to, choose_ranks(to, back, random), at_to);
    if (!wrong.empty() || !back) {
        return wrong;
    }
    const Opened returned = open_view(at_to, from, {});
    if (!returned.view) {
        return "and back: " + returned.problem;
    }
    const naive::Save3 original(drawn.checkpoint, drawn.stage3, from, drawn.sub_group_size,
                                [=](std::uint64_t rank) { return rank % to % from; }, {});
    Files kept;
    wrong = check_view(*returned.view, original, from, choose_ranks(from, false, random), kept);
    return wrong.empty() ? "" : "and back: " + wrong;
}

std::string describe(const Case& drawn) {
    std::string text = "sub-groups of " + std::to_string(drawn.stage3.sub_group_size) + ", target " +
                       std::to_string(drawn.sub_group_size) + ", on " + drawn.checkpoint.location;
    for (const naive::Group& group : drawn.checkpoint.groups) {
        text += "; group";
        for (const naive::Parameter& parameter : group.parameters) {
            text += " " + std::to_string(parameter.numel);
        }
        for (const naive::StateKind& kind : group.states) {
            text += " " + kind.key;
        }
    }
    return text;
}

std::string run_drawn(std::uint64_t seed, bool huge) {
    naive::Random random(seed);
    Case drawn = draw_case(random);
    if (huge) {
        drawn.to = huge_world_size;
    }
    std::string wrong;
    try {
        wrong = run(drawn, random);
    } catch (const std::runtime_error& error) {  // of the model's own readers: the file is not what torch writes
        wrong = error.what();
    }
    return wrong.empty() ? ""
                         : "seed " + std::to_string(seed) + ", " + std::to_string(drawn.from) + " -> " +
                               std::to_string(drawn.to) + ": " + wrong + "\n  of " + describe(drawn);
}

TEST(PropertyZero3, views_are_what_the_model_writes) {
    run_known_cases(default_seed, default_cases, [](std::uint64_t seed) { return run_drawn(seed, false); });
}

TEST(PropertyZero3, views_are_what_the_model_writes_at_seeds_never_seen) {
    run_new_cases(default_cases, [](std::uint64_t seed) { return run_drawn(seed, false); });
}

TEST(PropertyZero3, the_largest_world_size) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        EXPECT_EQ(run_drawn(default_seed + seed, true), "");
    }
}

TEST(PropertyZero3, the_model_reads_what_it_writes) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        naive::Random random(seed);
        naive::Checkpoint checkpoint = naive::random_checkpoint(random);
        const naive::Stage3 stage3 = naive::make_stage3(checkpoint, random);
        const naive::Save3 save(checkpoint, stage3, 3, stage3.sub_group_size, same_rank, {});
        const Files files = write_files3(save, 3);
        for (std::uint64_t rank = 0; rank < 3; ++rank) {
            const std::string name = save.optimizer_name(rank);
            EXPECT_EQ(judge(files.at(name), name, save.optimizer(rank)), "") << "seed " << seed;
        }
        const std::string states = naive::Save3::model_states_name(1);
        EXPECT_EQ(judge(files.at(states), states, save.model_states(1)), "") << "seed " << seed;
    }
}

TEST(PropertyZero3, a_mistake_in_one_byte_or_number_is_found) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        naive::Random random(seed);
        naive::Checkpoint checkpoint = naive::random_checkpoint(random);
        const naive::Stage3 stage3 = naive::make_stage3(checkpoint, random);
        const naive::Save3 save(checkpoint, stage3, 2, stage3.sub_group_size, same_rank, {});
        const std::string name = save.optimizer_name(0);
        const Files files = write_files3(save, 2);
        const naive::Value number = save.optimizer(0);
        naive::find(naive::find(number, "optimizer_state_dict"), "partition_count")->integer = 3;
        EXPECT_NE(judge(files.at(name), name, number), "");
        checkpoint.groups.back().parameters.front().master.front() ^= 1;
        EXPECT_NE(judge(files.at(name), name, save.optimizer(0)), "");
    }
}

}  // namespace
}  // namespace zero3
}  // namespace ckptfs::test
