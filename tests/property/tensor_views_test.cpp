// Hundreds of random checkpoints of all stages: their weights and states, tensor by tensor, are the model's.
//   CKPTFS_PROPERTY_SEED=<seed of a case> CKPTFS_PROPERTY_CASES=1 tests/property_views   runs one case again.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "cases.h"
#include "harness.h"
#include "naive/zero12_random.h"
#include "naive/zero3_model.h"
#include "naive/zip_io.h"
#include "support/memory_source.h"
#include "view/zero_tag.h"

namespace ckptfs::test {
namespace tensor_views {
namespace {

constexpr std::uint64_t default_seed = 20'261'129;
constexpr std::uint64_t default_cases = 600;

struct Seen {
    std::string type;  ///< torch's storage class
    std::vector<std::uint64_t> shape;
    std::string bytes;

    bool operator==(const Seen&) const = default;
};
using Tensors = std::map<std::string, Seen>;

const std::map<std::string, std::string> format_types{
    {"FloatStorage", "F32"}, {"BFloat16Storage", "BF16"}, {"HalfStorage", "F16"},  {"DoubleStorage", "F64"},
    {"LongStorage", "I64"},  {"IntStorage", "I32"},       {"BoolStorage", "BOOL"}, {"ByteStorage", "U8"},
    {"CharStorage", "I8"},   {"ShortStorage", "I16"}};

std::string type_of(const std::string& format_type) {
    for (const auto& [type, name] : format_types) {
        if (name == format_type) {
            return type;
        }
    }
    throw std::runtime_error("a tensor is " + format_type);
}

Tensors read_safetensors(const std::string& file) {
    std::uint64_t header_nbytes = 0;
    std::memcpy(&header_nbytes, file.data(), sizeof(header_nbytes));
    Tensors tensors;
    const auto header = nlohmann::json::parse(file.substr(sizeof(header_nbytes), header_nbytes));
    for (const auto& [name, entry] : header.items()) {
        if (name != "__metadata__") {
            const std::uint64_t begin = entry.at("data_offsets").at(0);
            const std::uint64_t end = entry.at("data_offsets").at(1);
            tensors[name] = {type_of(entry.at("dtype")), entry.at("shape"),
                             file.substr(sizeof(header_nbytes) + header_nbytes + begin, end - begin)};
        }
    }
    return tensors;
}

Tensors read_bin(const std::string& file, const std::string& name) {
    Tensors tensors;
    const naive::Value dict = naive::read_pt(file, name);
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
        const naive::Node& tensor = *dict->items[i + 1];
        tensors[dict->items[i]->text] = {tensor.storage->type, tensor.size, tensor.storage->bytes};
    }
    return tensors;
}

/// What a view must show. Bytes are compared where nothing is converted.
class Expected {
 public:
    void add(const std::string& name, Seen tensor, const std::string& shown_type) {
        tensors_[name] = {std::move(tensor), shown_type};
    }
    void tie(const std::string& name, const std::string& of) { tied_[name] = of; }

    [[nodiscard]] std::string judge(const Tensors& found, bool all_names) const {
        std::set<std::string> missing;
        for (const auto& [name, expected] : tensors_) {
            missing.insert(name);
        }
        for (const auto& [name, seen] : found) {
            const auto tied = tied_.find(name);
            const std::string own = tied == tied_.end() ? name : tied->second;
            const auto expected = tensors_.find(own);
            if (expected == tensors_.end() || (tied != tied_.end() && !all_names)) {
                return "'" + name + "' should not be there";
            }
            missing.erase(name);
            const auto& [tensor, type] = expected->second;
            if (seen.type != type || seen.shape != tensor.shape) {
                return "'" + name + "' is " + seen.type + ", expected " + type + ", or has another shape";
            }
            if (tensor.type == type && seen.bytes != tensor.bytes) {
                return "'" + name + "' has other bytes";
            }
            if (seen.bytes.size() * naive::itemsize_of(tensor.type) !=
                tensor.bytes.size() * naive::itemsize_of(seen.type)) {
                return "'" + name + "' has another size";
            }
        }
        for (const auto& [name, of] : tied_) {
            if (all_names && tensors_.contains(of) && !found.contains(name)) {
                return "the tied '" + name + "' is missing";
            }
        }
        return missing.empty() ? "" : "'" + *missing.begin() + "' is missing";
    }

 private:
    std::map<std::string, std::pair<Seen, std::string>> tensors_;
    std::map<std::string, std::string> tied_;
};

bool is_floating(const std::string& type) {
    return type == "FloatStorage" || type == "BFloat16Storage" || type == "HalfStorage" || type == "DoubleStorage";
}

/// `type`: of floating-point tensors; empty: their own.
Expected expected_weights(const naive::Checkpoint& checkpoint, bool is_stage3, const std::string& type) {
    Expected expected;
    const auto shown = [&](const std::string& own) { return type.empty() || !is_floating(own) ? own : type; };
    for (const naive::Group& group : checkpoint.groups) {
        for (const naive::Parameter& parameter : group.parameters) {
            const std::string as = shown(checkpoint.weight_type);
            if (!is_stage3 && checkpoint.weight_type == as && type != "FloatStorage") {
                expected.add(parameter.name, {checkpoint.weight_type, parameter.shape, parameter.weight}, as);
            } else {
                expected.add(parameter.name, {checkpoint.master_type, parameter.shape, parameter.master}, as);
            }
        }
    }
    for (const auto* fixed : {&checkpoint.frozen, &checkpoint.buffers}) {
        for (const naive::Fixed& tensor : *fixed) {
            expected.add(tensor.name, {tensor.type, tensor.shape, tensor.bytes}, shown(tensor.type));
        }
    }
    for (const auto& [name, of] : checkpoint.tied) {
        expected.tie(name, of);
    }
    return expected;
}

std::map<std::string, Expected> expected_states(const naive::Checkpoint& checkpoint) {
    std::map<std::string, Expected> files;
    for (const naive::Group& group : checkpoint.groups) {
        for (const naive::Parameter& parameter : group.parameters) {
            files["fp32.safetensors"].add(parameter.name, {checkpoint.master_type, parameter.shape, parameter.master},
                                          checkpoint.master_type);
            for (const naive::StateKind& kind : group.states) {
                if (group.has_state && kind.how == naive::StateKind::How::elementwise) {
                    files[kind.key + ".safetensors"].add(
                        parameter.name, {kind.type, parameter.shape, parameter.states.at(kind.key)}, kind.type);
                }
            }
        }
    }
    return files;
}

Files write_files_of(const naive::Checkpoint& checkpoint, const naive::Stage3* stage3, std::uint64_t world_size,
                     naive::Random& random) {
    const auto same_rank = [](std::uint64_t rank) { return rank; };
    if (stage3 == nullptr) {
        return write_files(naive::Save(checkpoint, world_size, checkpoint.settings, same_rank,
                                       naive::random_freedom(random, checkpoint)),
                           world_size, random);
    }
    const naive::Save3 save(checkpoint, *stage3, world_size, stage3->sub_group_size, same_rank,
                            naive::random_freedom(random, checkpoint));
    Files files;
    for (std::uint64_t rank = 0; rank < world_size; ++rank) {
        const std::string model_states = naive::Save3::model_states_name(rank);
        const std::string optimizer = save.optimizer_name(rank);
        files[model_states] = naive::write_pt(save.model_states(rank), model_states, std::string(40, '7'));
        files[optimizer] = naive::write_pt(save.optimizer(rank), optimizer, std::string(40, '7'));
    }
    return files;
}

std::string whole_file_of(const View& view, std::size_t index, naive::Random& random) {
    const std::string whole = read_whole(view, index);
    if (view.file_size(index).value() != whole.size()) {
        throw std::runtime_error(view.file_name(index) + ": the size is not the file's");
    }
    const auto file = view.open(index).value();
    for (int i = 0; i < 20; ++i) {
        const std::uint64_t offset = random.below(whole.size() + 1);
        const std::uint64_t nbytes = random.below(std::min<std::uint64_t>(whole.size() - offset, 40) + 1);
        std::string window(nbytes, '\x55');
        if (!file->read(offset, std::as_writable_bytes(std::span(window))).ok() ||
            window != whole.substr(offset, nbytes)) {
            throw std::runtime_error(view.file_name(index) + ": the window at " + std::to_string(offset) +
                                     " is not the whole's");
        }
    }
    return whole;
}

std::string check_weights(const Tag& tag, const std::string& name, const Expected& expected, naive::Random& random) {
    const auto view = tag.show(ViewRequest::parse(name).value());
    if (!view) {
        return name + ": " + view.error().message();
    }
    Tensors found;
    for (std::size_t index = 0; index < (*view)->file_count(); ++index) {
        const std::string file = (*view)->file_name(index);
        if (!file.ends_with(".json")) {
            const std::string whole = whole_file_of(**view, index, random);
            found.merge(file.ends_with(".bin") ? read_bin(whole, file) : read_safetensors(whole));
        }
    }
    const std::string wrong = expected.judge(found, name.ends_with("-bin"));
    return wrong.empty() ? "" : name + ": " + wrong;
}

std::string check_states(const Tag& tag, const std::map<std::string, Expected>& expected, naive::Random& random) {
    const auto view = tag.show(ViewRequest::parse("states").value());
    if (!view) {
        return "states: " + view.error().message();
    }
    if ((*view)->file_count() != expected.size()) {
        return "states: " + std::to_string((*view)->file_count()) + " files, expected " +
               std::to_string(expected.size());
    }
    for (const auto& [name, tensors] : expected) {
        const auto index = (*view)->find(name);
        if (!index) {
            return "states: " + name + " is missing";
        }
        if (std::string wrong = tensors.judge(read_safetensors(whole_file_of(**view, *index, random)), false);
            !wrong.empty()) {
            return name + ": " + wrong;
        }
    }
    return "";
}

std::string run(std::uint64_t seed) {
    naive::Random random(seed);
    naive::Checkpoint checkpoint = naive::random_checkpoint(random);
    const bool is_stage3 = random.one_in(2);
    const naive::Stage3 stage3 = is_stage3 ? naive::make_stage3(checkpoint, random) : naive::Stage3();
    const std::uint64_t world_size = random.between(1, 9);
    const Files files = write_files_of(checkpoint, is_stage3 ? &stage3 : nullptr, world_size, random);
    MemorySource source;
    for (const auto& [name, bytes] : files) {
        source.add("global_step7/" + name, bytes);
    }
    view::ViewOptions options;
    options.read.look_for_two_saves = false;  // steps, weights and masters are drawn each for itself
    options.strip_prefixes = {"nothing has this in front."};
    if (random.one_in(2)) {
        options.max_shard_nbytes = random.between(1, 400);
    }
    const auto tag = view::zero_tag_reader(options)->read(source, "global_step7");
    if (const Error* problem = tag->problem()) {
        return "the tag is not read: " + problem->message();
    }
    if (is_stage3 && checkpoint.exclude_frozen && !checkpoint.frozen.empty()) {
        const auto view = tag->show(ViewRequest::parse("weights").value());
        return view.ok() ? "frozen parameters that no file holds are passed over" : "";
    }
    for (const auto& [name, type] :
         std::vector<std::pair<std::string, std::string>>{{"weights", ""},
                                                          {"weights-fp32", "FloatStorage"},
                                                          {"weights-bf16", "BFloat16Storage"},
                                                          {"weights-fp16-bin", "HalfStorage"},
                                                          {"weights-bin", "FloatStorage"}}) {
        if (std::string wrong = check_weights(*tag, name, expected_weights(checkpoint, is_stage3, type), random);
            !wrong.empty()) {
            return wrong;
        }
    }
    return check_states(*tag, expected_states(checkpoint), random);
}

std::string run_case_of_tensors(std::uint64_t seed) {
    std::string wrong;
    try {
        wrong = run(seed);
    } catch (const std::exception& error) {
        wrong = error.what();
    }
    return wrong.empty() ? "" : "seed " + std::to_string(seed) + ": " + wrong;
}

TEST(PropertyTensorViews, weights_and_states_are_the_model_s) {
    run_known_cases(default_seed, default_cases, run_case_of_tensors);
}

TEST(PropertyTensorViews, weights_and_states_are_the_model_s_at_seeds_never_seen) {
    run_new_cases(default_cases, run_case_of_tensors);
}

TEST(PropertyTensorViews, the_judge_finds_what_is_wrong) {
    Expected expected;
    expected.add("w", {"FloatStorage", {1}, "abcd"}, "FloatStorage");
    expected.tie("v", "w");
    const Seen right{"FloatStorage", {1}, "abcd"};
    EXPECT_EQ(expected.judge({{"w", right}}, false), "");
    EXPECT_EQ(expected.judge({{"w", right}, {"v", right}}, true), "");
    EXPECT_NE(expected.judge({{"w", right}}, true), "");
    EXPECT_NE(expected.judge({{"w", right}, {"v", right}}, false), "");
    EXPECT_NE(expected.judge({}, false), "");
    EXPECT_NE(expected.judge({{"w", right}, {"x", right}}, false), "");
    EXPECT_NE(expected.judge({{"w", {"FloatStorage", {1}, "abce"}}}, false), "");
    EXPECT_NE(expected.judge({{"w", {"FloatStorage", {1, 1}, "abcd"}}}, false), "");
    EXPECT_NE(expected.judge({{"w", {"HalfStorage", {1}, "ab"}}}, false), "");
}

}  // namespace
}  // namespace tensor_views
}  // namespace ckptfs::test
