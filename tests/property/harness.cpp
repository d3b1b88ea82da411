// The steps of one case; every expectation comes from the model.
#include "harness.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <stdexcept>
#include <vector>

#include "ckptfs/extent.h"
#include "naive/zero12_random.h"
#include "naive/zip_io.h"
#include "support/memory_source.h"
#include "view/world_size_kind.h"
#include "view/zero_tag.h"

namespace ckptfs::test {
namespace {

constexpr const char* directory = "global_step7";
constexpr std::uint64_t huge_world_size = 1'048'576;

std::uint64_t same_rank(std::uint64_t rank) {
    return rank;
}

std::string serialization_id(naive::Random& random) {
    std::string digits;
    for (int i = 0; i < 40; ++i) {
        digits += static_cast<char>('0' + random.below(10));
    }
    return digits;
}

bool same(const naive::Settings& a, const naive::Settings& b) {
    return a.round_robin == b.round_robin && a.alignment == b.alignment && a.offload == b.offload;
}

std::string describe(const naive::Settings& settings) {
    return std::string(settings.round_robin ? " round robin" : "") + (settings.alignment ? " aligned" : "") +
           (settings.offload ? " offloaded" : "");
}

std::string describe(const naive::Checkpoint& checkpoint) {
    constexpr std::array<const char*, 3> formats{"zero12", "elastic", "bf16_optimizer"};
    std::string text = std::string(formats.at(static_cast<std::size_t>(checkpoint.format))) + " stage " +
                       std::to_string(checkpoint.stage) + " " + checkpoint.weight_type + " on " + checkpoint.location +
                       describe(checkpoint.settings) + (checkpoint.flat_module ? "" : ", module not flat") +
                       (checkpoint.has_slice_mappings ? "" : ", no slice mappings");
    for (const naive::Group& group : checkpoint.groups) {
        text += group.use_muon ? "; muon group" : "; group";
        for (const naive::Parameter& parameter : group.parameters) {
            text += " " + std::to_string(parameter.numel);
        }
        text += group.has_state ? " with" : " without";
        for (const naive::StateKind& kind : group.states) {
            text += " " + kind.key;
        }
    }
    return text;
}

std::string read_window(const File& file, std::uint64_t offset, std::uint64_t length) {
    std::string bytes(length, '\x55');
    if (const Result<void> result = file.read(offset, std::as_writable_bytes(std::span(bytes))); !result) {
        throw std::runtime_error("reading " + std::to_string(length) + " bytes at " + std::to_string(offset) + ": " +
                                 result.error().message());
    }
    return bytes;
}

std::shared_ptr<const File> open_file(const View& view, std::size_t index) {
    auto file = view.open(index);
    if (!file) {
        throw std::runtime_error(view.file_name(index) + " does not open: " + file.error().message());
    }
    return *file;
}

// Windows at random and across the seams of the pieces, each against the whole.
std::string check_windows(const File& file, const std::string& whole, naive::Random& random) {
    std::vector<std::uint64_t> centers{0, whole.size()};
    for (int i = 0; i < 4; ++i) {
        centers.push_back(random.below(whole.size() + 1));
    }
    if (const auto* made = dynamic_cast<const VirtualFile*>(&file)) {
        std::uint64_t end = 0;
        for (const Piece piece : made->pieces()) {
            end += piece.length;
            centers.push_back(end);
        }
    }
    for (const std::uint64_t center : centers) {
        const std::uint64_t begin = center - std::min(center, random.below(random.one_in(8) ? 5000 : 9));
        const std::uint64_t end = std::min(whole.size(), center + random.below(random.one_in(8) ? 5000 : 9));
        if (read_window(file, begin, end - begin) != whole.substr(begin, end - begin)) {
            return "the window from " + std::to_string(begin) + " to " + std::to_string(end) + " is not the whole's";
        }
    }
    std::byte beyond{};
    if (file.read(whole.size(), std::span(&beyond, 1)).ok()) {
        return "a read past the end succeeds";
    }
    return "";
}

std::string check_names(const View& view, const naive::Save& expected, std::uint64_t world_size,
                        const std::vector<std::uint64_t>& ranks) {
    if (view.file_count() != world_size + 1) {
        return std::to_string(view.file_count()) + " files, expected " + std::to_string(world_size + 1);
    }
    std::set<std::string> names;
    std::set<std::string> expected_names{naive::model_states_name};
    const bool all = world_size <= 1000;
    for (std::uint64_t i = 0; i < (all ? world_size : ranks.size()); ++i) {
        expected_names.insert(expected.optimizer_name(all ? i : ranks[i]));
    }
    for (const std::string& name : expected_names) {
        const auto index = view.find(name);
        if (!index || view.file_name(*index) != name) {
            return name + " is not found";
        }
    }
    for (std::size_t i = 0; all && i < view.file_count(); ++i) {
        names.insert(view.file_name(i));
    }
    if (all && names != expected_names) {
        return "the names listed are not those of a save";
    }
    for (const std::string& name : {expected.optimizer_name(world_size), std::string("latest"), std::string()}) {
        if (view.find(name)) {
            return "'" + name + "' is found and should not be";
        }
    }
    return "";
}

std::vector<std::uint64_t> choose_ranks(std::uint64_t world_size, bool all, naive::Random& random) {
    std::set<std::uint64_t> ranks;
    for (std::uint64_t rank = 0; rank < world_size && (all || world_size <= 5); ++rank) {
        ranks.insert(rank);
    }
    ranks.insert({0, world_size / 2, world_size - 1, random.below(world_size), random.below(world_size)});
    return {ranks.begin(), ranks.end()};
}

// Looks at the model states and the chosen ranks' files; keeps their bytes in `kept`.
std::string check_view(const View& view, const naive::Save& expected, std::uint64_t world_size,
                       const std::vector<std::uint64_t>& ranks, naive::Random& random, Files& kept) {
    if (std::string wrong = check_names(view, expected, world_size, ranks); !wrong.empty()) {
        return wrong;
    }
    const auto check = [&](const std::string& name, const naive::Value& object) -> std::string {
        const std::size_t index = *view.find(name);
        const auto size = view.file_size(index);
        if (!size) {
            return name + " has no size: " + size.error().message();
        }
        const std::string whole = read_whole(view, index);
        if (*size != whole.size()) {
            return name + ": file_size() is " + std::to_string(*size) + ", the file has " +
                   std::to_string(whole.size());
        }
        std::string wrong = judge(whole, name, object);
        if (wrong.empty()) {
            wrong = check_windows(*open_file(view, index), whole, random);
        }
        kept[name] = whole;
        return wrong.empty() ? "" : name + wrong;
    };
    std::string wrong = check(naive::model_states_name, expected.model_states());
    for (std::size_t i = 0; i < ranks.size() && wrong.empty(); ++i) {
        wrong = check(expected.optimizer_name(ranks[i]), expected.optimizer(ranks[i]));
    }
    return wrong;
}

std::string check_pass_through(const View& view, const Files& files) {
    for (std::size_t i = 0; i < view.file_count(); ++i) {
        const auto original = files.find(view.file_name(i));
        if (original == files.end() || read_whole(view, i) != original->second) {
            return view.file_name(i) + " is not the source's, byte for byte";
        }
    }
    return "";
}

struct Case {
    naive::Checkpoint checkpoint;
    std::uint64_t from = 1;
    std::uint64_t to = 1;
    naive::Settings target;
    bool overridden = false;
};

Case draw_case(naive::Random& random) {
    Case drawn;
    drawn.checkpoint = naive::random_checkpoint(random);
    drawn.from = random.one_in(10) ? random.between(10, 30) : random.between(1, 9);
    drawn.to = random.one_in(10) ? random.between(13, random.one_in(10) ? 3000 : 300) : random.between(1, 12);
    if (random.one_in(20)) {
        drawn.to = drawn.from;
    }
    drawn.target = drawn.checkpoint.settings;
    drawn.overridden = random.one_in(8);
    if (drawn.overridden) {
        drawn.target = {random.one_in(2), random.one_in(2), random.one_in(2)};
    }
    return drawn;
}

// Files that are no part of the save: an older, larger run's, and a framework's.
void add_strangers(Files& files, const naive::Save& save, std::uint64_t world_size, naive::Random& random) {
    if (random.one_in(6)) {
        files[save.optimizer_name(world_size + random.below(3))] = "left over";
    }
    if (random.one_in(6)) {
        files["rng_state_0.pth"] = "not ours";
    }
}

bool is_shard(const std::string& name) {
    return name.ends_with("states.pt");
}

std::string check_replaced(const Tag& tag, const Files& files) {
    std::set<std::string> expected;
    for (const auto& [name, bytes] : files) {
        if (is_shard(name)) {
            expected.insert(name);
        }
    }
    const auto& names = tag.replaced_files();
    if (std::set<std::string>(names.begin(), names.end()) != expected || names.size() != tag.stamps().size()) {
        return "the replaced files are not the shards that are there";
    }
    return "";
}

// From the view's files back to where they came from.
std::string check_return(const Case& drawn, const Files& at_to, naive::Random& random) {
    const std::uint64_t from = drawn.from;
    const std::uint64_t to = drawn.to;
    const Opened opened = open_view(at_to, from, drawn.checkpoint, nullptr);
    if (!opened.view) {
        return opened.problem;
    }
    const naive::Save expected(drawn.checkpoint, from, drawn.target,
                               [=](std::uint64_t rank) { return rank % to % from; }, {});
    Files kept;
    return check_view(*opened.view, expected, from, choose_ranks(from, false, random), random, kept);
}

naive::Value find(const naive::Value& dict, std::string_view key) {
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
        if (dict->items[i]->text == key) {
            return dict->items[i + 1];
        }
    }
    return nullptr;
}

// A file cut by another config's rules names that config's rules: key by key, where they differ from the stored ones.
void store_rules(const naive::Value& ds_config, const naive::Settings& stored, const naive::Settings& target) {
    const auto store = [zero = find(ds_config, "zero_optimization")](std::string_view key, bool was, bool is) {
        if (was == is) {
            return;
        }
        if (const naive::Value value = find(zero, key)) {
            value->integer = is ? 1 : 0;
        } else {
            naive::set(zero, key, naive::boolean(is));
        }
    };
    store("round_robin_gradients", stored.round_robin, target.round_robin);
    store("parameter_alignment", stored.alignment, target.alignment);
}

std::string run(const Case& drawn, naive::Random& random) {
    const std::uint64_t from = drawn.from;
    const std::uint64_t to = drawn.to;
    const naive::Save save(drawn.checkpoint, from, drawn.checkpoint.settings, same_rank,
                           naive::random_freedom(random, drawn.checkpoint));
    Files files = write_files(save, from, random);
    add_strangers(files, save, from, random);
    const Opened opened = open_view(files, to, drawn.checkpoint, drawn.overridden ? &drawn.target : nullptr);
    // A ZeRO-1/2 engine of these settings would take the elements of BF16_Optimizer's files for others.
    if (drawn.checkpoint.format == naive::Format::bf16_optimizer && drawn.overridden &&
        (drawn.target.round_robin || drawn.target.alignment)) {
        const bool refused = !opened.view && opened.problem.find("is of BF16_Optimizer") != std::string::npos;
        return refused ? "" : "the order that BF16_Optimizer's files do not know is not refused: " + opened.problem;
    }
    if (!opened.view) {
        return opened.problem;
    }
    const auto suggested = opened.tag->suggestions();
    if (suggested.empty() || suggested.front() != ViewRequest::at_world_size(from)) {
        return "the tag does not suggest its own world size first";
    }
    if (std::string wrong = check_replaced(*opened.tag, files); !wrong.empty()) {
        return wrong;
    }
    if (to == from && same(drawn.target, drawn.checkpoint.settings)) {
        return check_pass_through(*opened.view, files);
    }
    store_rules(drawn.checkpoint.ds_config, drawn.checkpoint.settings, drawn.target);
    const naive::Save expected(drawn.checkpoint, to, drawn.target, [from](std::uint64_t rank) { return rank % from; },
                               {});
    if (to == from) {
        const naive::Save clean(drawn.checkpoint, from, drawn.checkpoint.settings, same_rank, {});
        bool layout_differs = false;
        for (std::uint64_t rank = 0; rank < from; ++rank) {
            layout_differs |= !difference(clean.optimizer(rank), expected.optimizer(rank)).empty();
        }
        if (!layout_differs && check_pass_through(*opened.view, files).empty()) {
            return "";
        }
    }
    const bool back = to <= 12 && !drawn.overridden && random.one_in(3);
    Files at_to;
    std::string wrong = check_view(*opened.view, expected, to, choose_ranks(to, back, random), random, at_to);
    if (wrong.empty() && back) {
        wrong = check_return(drawn, at_to, random);
        wrong = wrong.empty() ? "" : "and back: " + wrong;
    }
    return wrong;
}

std::string run_drawn(std::uint64_t seed, const std::function<void(Case&, naive::Random&)>& change) {
    naive::Random random(seed);
    Case drawn = draw_case(random);
    change(drawn, random);
    std::string wrong;
    try {
        wrong = run(drawn, random);
    } catch (const std::runtime_error& error) {  // of the model's own readers: the file is not what torch writes
        wrong = error.what();
    }
    if (wrong.empty()) {
        return "";
    }
    return "seed " + std::to_string(seed) + ", " + std::to_string(drawn.from) + " -> " + std::to_string(drawn.to) +
           ": " + wrong + "\n  of " + describe(drawn.checkpoint) +
           (drawn.overridden ? "\n  target:" + describe(drawn.target) : "");
}

}  // namespace

Files write_files(const naive::Save& save, std::uint64_t world_size, naive::Random& random) {
    Files files;
    const std::string id = serialization_id(random);
    files[naive::model_states_name] = naive::write_pt(save.model_states(), naive::model_states_name, id);
    for (std::uint64_t rank = 0; rank < world_size; ++rank) {
        const std::string name = save.optimizer_name(rank);
        files[name] = naive::write_pt(save.optimizer(rank), name, id);
    }

    return files;
}

Opened open_view(const Files& files, std::uint64_t world_size, const naive::Checkpoint& checkpoint,
                 const naive::Settings* target) {
    view::ViewOptions options;
    if (target != nullptr) {
        zero::LayoutConfig config;
        config.round_robin_gradients = target->round_robin;
        config.parameter_alignment = target->alignment;
        config.bf16 = checkpoint.bf16;
        config.optimizer_offloaded = target->offload;
        options.target = config;
    }
    return open_view(files, world_size, options);
}

Opened open_view(const Files& files, std::uint64_t world_size, view::ViewOptions options) {
    options.read.look_for_two_saves = false;  // steps, weights and masters are drawn each for itself
    auto source = std::make_shared<MemorySource>();
    for (const auto& [name, bytes] : files) {
        source->add(std::string(directory) + "/" + name, bytes);
    }
    Opened opened;
    opened.source = source;
    opened.tag = view::zero_tag_reader(options)->read(*source, directory);
    if (const Error* problem = opened.tag->problem()) {
        opened.problem = "the tag is not read: " + problem->message();
        return opened;
    }
    auto view = opened.tag->show(ViewRequest::at_world_size(world_size));
    if (view) {
        opened.view = *view;
    } else {
        opened.problem = "no view: " + view.error().message();
    }
    return opened;
}

std::string read_whole(const View& view, std::size_t index) {
    const std::shared_ptr<const File> file = open_file(view, index);
    return read_window(*file, 0, file->size());
}

std::string judge(const std::string& bytes, const std::string& name, const naive::Value& expected) {
    return naive::difference(naive::read_pt(bytes, name), expected);
}

std::string run_case(std::uint64_t seed) {
    return run_drawn(seed, [](Case&, naive::Random&) {});
}

std::string run_huge_case(std::uint64_t seed) {
    return run_drawn(seed, [](Case& drawn, naive::Random&) { drawn.to = huge_world_size; });
}

}  // namespace ckptfs::test
