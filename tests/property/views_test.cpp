// Random checkpoints of all stages: the tensors of every derived view are the model's, element by element.
//   CKPTFS_PROPERTY_SEED=<seed of a case> CKPTFS_PROPERTY_CASES=1 tests/property_views   runs one case again.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>

#include "cases.h"
#include "harness.h"
#include "naive/convert.h"
#include "naive/zero12_random.h"
#include "naive/zero3_model.h"
#include "naive/zip_io.h"
#include "support/memory_source.h"

namespace ckptfs::test {
namespace views {
namespace {

constexpr std::uint64_t default_seed = 20'261'129;
constexpr std::uint64_t default_cases = 300;

std::uint64_t same_rank(std::uint64_t rank) {
    return rank;
}

struct Tensor {
    std::string type;  // torch's storage class
    std::vector<std::uint64_t> shape;
    std::string bytes;
};
using Tensors = std::map<std::string, Tensor>;

struct Case {
    naive::Checkpoint checkpoint;
    std::optional<naive::Stage3> stage3;
    std::uint64_t ranks = 1;
};

Case draw_case(naive::Random& random) {
    Case drawn;
    drawn.checkpoint = naive::random_checkpoint(random);
    if (random.one_in(2)) {
        drawn.stage3 = naive::make_stage3(drawn.checkpoint, random);
    }
    // What a tied name is whose first name was left out is another question.
    drawn.checkpoint.exclude_frozen &= drawn.checkpoint.tied.empty();
    drawn.ranks = random.one_in(10) ? random.between(10, 30) : random.between(1, 9);
    return drawn;
}

Files write(const Case& drawn, naive::Random& random) {
    const naive::Freedom freedom = naive::random_freedom(random, drawn.checkpoint);
    if (!drawn.stage3) {
        return write_files(naive::Save(drawn.checkpoint, drawn.ranks, drawn.checkpoint.settings, same_rank, freedom),
                           drawn.ranks, random);
    }
    const naive::Save3 save(drawn.checkpoint, *drawn.stage3, drawn.ranks, drawn.stage3->sub_group_size, same_rank,
                            freedom);
    Files files;
    const std::string id(40, '7');
    for (std::uint64_t rank = 0; rank < drawn.ranks; ++rank) {
        const std::string model_states = naive::Save3::model_states_name(rank);
        files[model_states] = naive::write_pt(save.model_states(rank), model_states, id);
        files[save.optimizer_name(rank)] = naive::write_pt(save.optimizer(rank), save.optimizer_name(rank), id);
    }
    return files;
}

// By the published format: eight bytes of length, a JSON header, and the data without gaps.
Tensors read_safetensors(const std::string& file) {
    if (file.size() < 8) {
        throw std::runtime_error("too short for a safetensors file");
    }
    std::uint64_t header_nbytes = 0;
    for (std::size_t i = 8; i > 0; --i) {
        header_nbytes = header_nbytes << 8U | static_cast<unsigned char>(file[i - 1]);
    }
    if (header_nbytes > file.size() - 8 || header_nbytes % 8 != 0) {
        throw std::runtime_error("a header of " + std::to_string(header_nbytes) + " bytes");
    }
    const auto header = nlohmann::json::parse(file.substr(8, header_nbytes), nullptr, false);
    if (!header.is_object()) {
        throw std::runtime_error("the header is no JSON object");
    }
    static const std::map<std::string, std::string> types{{"F32", "FloatStorage"}, {"BF16", "BFloat16Storage"},
                                                          {"F16", "HalfStorage"},  {"F64", "DoubleStorage"},
                                                          {"I64", "LongStorage"},  {"U8", "ByteStorage"}};
    const std::string data = file.substr(8 + header_nbytes);
    std::map<std::uint64_t, std::uint64_t> ranges;
    Tensors tensors;
    for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__") {
            continue;
        }
        const std::uint64_t begin = entry.at("data_offsets").at(0).get<std::uint64_t>();
        const std::uint64_t end = entry.at("data_offsets").at(1).get<std::uint64_t>();
        if (begin > end || end > data.size()) {
            throw std::runtime_error(name + " reaches outside the file");
        }
        if (begin < end && !ranges.emplace(begin, end).second) {
            throw std::runtime_error(name + " overlaps another tensor");
        }
        tensors[name] = {types.at(entry.at("dtype").get<std::string>()),
                         entry.at("shape").get<std::vector<std::uint64_t>>(), data.substr(begin, end - begin)};
    }
    std::uint64_t covered = 0;
    for (const auto& [begin, end] : ranges) {
        if (begin != covered) {
            throw std::runtime_error("byte " + std::to_string(covered) + " belongs to no tensor, or to two");
        }
        covered = end;
    }
    if (covered != data.size()) {
        throw std::runtime_error("the data do not end with the last tensor");
    }
    return tensors;
}

bool is_floating(const std::string& type) {
    return type == "FloatStorage" || type == "BFloat16Storage" || type == "HalfStorage" || type == "DoubleStorage";
}

Tensor converted(const Tensor& tensor, const std::string& type) {
    return {type, tensor.shape, naive::convert(tensor.bytes, tensor.type, type)};
}

// What the weights are in `type`; empty: in that of the source.
Tensors expected_weights(const Case& drawn, const std::string& type) {
    const naive::Checkpoint& checkpoint = drawn.checkpoint;
    const std::string& weight_type = checkpoint.weight_type;
    Tensors expected;
    for (const naive::Group& group : checkpoint.groups) {
        for (const naive::Parameter& parameter : group.parameters) {
            const Tensor weight{weight_type, parameter.shape, parameter.weight};
            const Tensor master{checkpoint.master_type, parameter.shape, parameter.master};
            const std::string wanted = type.empty() ? weight_type : type;
            // Stage 3 keeps no weights; else the stored ones serve where their dtype is asked for, but fp32 is masters.
            const bool kept = !drawn.stage3 && wanted == weight_type && type != "FloatStorage";
            expected[parameter.name] = kept ? weight : converted(master, wanted);
        }
    }
    const auto add = [&](const naive::Fixed& fixed) {
        const Tensor tensor{fixed.type, fixed.shape, fixed.bytes};
        expected[fixed.name] = type.empty() || !is_floating(fixed.type) ? tensor : converted(tensor, type);
    };
    std::for_each(checkpoint.buffers.begin(), checkpoint.buffers.end(), add);
    if (!checkpoint.exclude_frozen) {
        std::for_each(checkpoint.frozen.begin(), checkpoint.frozen.end(), add);
    }
    return expected;
}

Tensors expected_state(const Case& drawn, const std::string& key) {
    Tensors expected;
    for (const naive::Group& group : drawn.checkpoint.groups) {
        for (const naive::Parameter& parameter : group.parameters) {
            if (key == "fp32") {
                expected[parameter.name] = {drawn.checkpoint.master_type, parameter.shape, parameter.master};
            }
            const auto kind = std::find_if(group.states.begin(), group.states.end(),
                                           [&](const naive::StateKind& one) { return one.key == key; });
            if (const auto state = parameter.states.find(key); state != parameter.states.end() && group.has_state) {
                expected[parameter.name] = {kind->type, parameter.shape, state->second};
            }
        }
    }
    return expected;
}

std::string difference(const Tensors& found, const Tensors& expected, const std::string& where) {
    for (const auto& [name, tensor] : expected) {
        const auto at = found.find(name);
        if (at == found.end()) {
            return where + ": " + name + " is missing";
        }
        if (at->second.type != tensor.type || at->second.shape != tensor.shape) {
            return where + ": " + name + " is of " + at->second.type + ", expected " + tensor.type +
                   ", or of another shape";
        }
        if (!naive::equal_elements(at->second.bytes, tensor.bytes, tensor.type)) {
            return where + ": " + name + " has other elements";
        }
    }
    for (const auto& [name, tensor] : found) {
        if (!expected.contains(name)) {
            return where + ": " + name + " should not be there";
        }
    }
    return "";
}

std::shared_ptr<const View> show(const Tag& tag, const std::string& name) {
    auto view = tag.show(*ViewRequest::parse(name));
    if (!view) {
        throw std::runtime_error("no view " + name + ": " + view.error().message());
    }
    return *view;
}

std::string read_checked(const View& view, std::size_t index) {
    const std::string whole = read_whole(view, index);
    const auto size = view.file_size(index);
    if (!size || *size != whole.size()) {
        throw std::runtime_error(view.file_name(index) + ": file_size() is not that of the file");
    }
    return whole;
}

std::string check_weights(const Case& drawn, const Tag& tag) {
    constexpr std::array<std::pair<const char*, const char*>, 4> kinds{{{"weights", ""},
                                                                        {"weights-fp32", "FloatStorage"},
                                                                        {"weights-bf16", "BFloat16Storage"},
                                                                        {"weights-fp16", "HalfStorage"}}};
    for (const auto& [name, type] : kinds) {
        const auto view = show(tag, name);
        Tensors found;
        for (std::size_t i = 0; i < view->file_count(); ++i) {
            if (view->file_name(i).ends_with(".safetensors")) {
                found.merge(read_safetensors(read_checked(*view, i)));
            }
        }
        if (std::string wrong = difference(found, expected_weights(drawn, type), name); !wrong.empty()) {
            return wrong;
        }
    }
    return "";
}

// Those that some group keeps element by element.
std::set<std::string> state_keys(const Case& drawn) {
    std::set<std::string> keys{"fp32"};
    for (const naive::Group& group : drawn.checkpoint.groups) {
        for (const naive::StateKind& kind : group.states) {
            if (group.has_state && kind.how == naive::StateKind::How::elementwise) {
                keys.insert(kind.key);
            }
        }
    }
    return keys;
}

std::string check_states(const Case& drawn, const Tag& tag) {
    const auto view = show(tag, "states");
    std::set<std::string> left = state_keys(drawn);
    for (std::size_t i = 0; i < view->file_count(); ++i) {
        const std::string name = view->file_name(i);
        const std::string key = name.substr(0, name.rfind(".safetensors"));
        if (left.erase(key) == 0) {
            return name + " should not be there";
        }
        const Tensors found = read_safetensors(read_checked(*view, i));
        if (std::string wrong = difference(found, expected_state(drawn, key), name); !wrong.empty()) {
            return wrong;
        }
    }
    return left.empty() ? "" : *left.begin() + ".safetensors is missing";
}

// The tensor that a value is, as a file holds it; its shape is told by the data of some files alone.
Tensor tensor_of(const naive::Value& value) {
    if (value == nullptr || value->kind != naive::Kind::tensor) {
        throw std::runtime_error("a tensor is missing");
    }
    const std::size_t itemsize = naive::itemsize_of(value->storage->type);
    std::uint64_t numel = 1;
    for (const std::uint64_t extent : value->size) {
        numel *= extent;
    }
    return {value->storage->type, value->size,
            value->storage->bytes.substr(value->offset * itemsize, numel * itemsize)};
}

// Views that some checkpoints do not have say so by name.
std::shared_ptr<const View> show_if_any(const Tag& tag, const std::string& name, bool is_refused) {
    auto view = tag.show(*ViewRequest::parse(name));
    if (is_refused && !view && view.error().code() == ErrorCode::unsupported) {
        return nullptr;
    }
    if (is_refused || !view) {
        throw std::runtime_error(view ? name + " should be refused"
                                      : "no view " + name + ": " + view.error().message());
    }
    return *view;
}

std::string check_universal(const Case& drawn, const Tag& tag) {
    const auto view = show_if_any(tag, "universal", drawn.checkpoint.format == naive::Format::elastic);
    if (view == nullptr) {
        return "";
    }
    for (const std::string& key : state_keys(drawn)) {
        for (const auto& [name, expected] : expected_state(drawn, key)) {
            const std::string path = "zero/" + name + "/" + key + ".pt";
            const auto index = view->find(path);
            if (!index) {
                return path + " is missing";
            }
            const naive::Value root = naive::read_pt(read_checked(*view, *index), key + ".pt");
            const Tensor found = tensor_of(root->kind == naive::Kind::tensor ? root : naive::find(root, "param"));
            if (found.type != expected.type || !naive::equal_elements(found.bytes, expected.bytes, found.type)) {
                return path + " has other elements, or another dtype";
            }
        }
    }
    return "";
}

// Lightning calls its tags so, in a directory that has the checkpoint's name.
std::string check_lightning(const Case& drawn, const Files& files) {
    auto source = std::make_shared<MemorySource>();
    for (const auto& [name, bytes] : files) {
        source->add("run.ckpt/checkpoint/" + name, bytes);
    }
    view::ViewOptions options;
    options.read.look_for_two_saves = false;
    const auto tag = view::zero_tag_reader(options)->read(*source, "run.ckpt/checkpoint");
    const auto view = show_if_any(*tag, "lightning", false);
    if (view->file_count() != 1) {
        return "lightning: " + std::to_string(view->file_count()) + " files";
    }
    const naive::Value root = naive::read_pt(read_checked(*view, 0), view->file_name(0));
    const naive::Value state_dict = naive::find(root, "state_dict");
    if (state_dict == nullptr) {
        return "lightning: no state_dict";
    }
    Tensors found;
    for (std::size_t i = 0; i + 1 < state_dict->items.size(); i += 2) {
        found[state_dict->items[i]->text] = tensor_of(state_dict->items[i + 1]);
    }
    for (const auto& [name, expected] : expected_weights(drawn, "FloatStorage")) {
        const auto at = found.find(name);
        if (at == found.end() || at->second.shape != expected.shape) {
            return "lightning: " + name + " is missing or has another shape";
        }
        // Frozen parameters and buffers keep the dtype that they have.
        const std::string bytes = naive::convert(at->second.bytes, at->second.type, expected.type);
        if (!naive::equal_elements(bytes, expected.bytes, expected.type)) {
            return "lightning: " + name + " has other elements";
        }
    }
    return "";
}

std::string check_case(const Case& drawn, naive::Random& random) {
    const Files files = write(drawn, random);
    const Opened opened = open_view(files, drawn.ranks, {});
    if (!opened.view) {
        return opened.problem;
    }
    for (const auto& check : {check_weights, check_states, check_universal}) {
        if (std::string wrong = check(drawn, *opened.tag); !wrong.empty()) {
            return wrong;
        }
    }
    return check_lightning(drawn, files);
}

std::string run_views(std::uint64_t seed) {
    naive::Random random(seed);
    const Case drawn = draw_case(random);
    std::string wrong;
    try {
        wrong = check_case(drawn, random);
    } catch (const std::runtime_error& error) {
        wrong = error.what();
    }
    return wrong.empty()
               ? ""
               : "seed " + std::to_string(seed) + ", stage " + std::to_string(drawn.checkpoint.stage) + " of " +
                     drawn.checkpoint.weight_type + " at " + std::to_string(drawn.ranks) + " ranks: " + wrong;
}

TEST(PropertyViews, tensors_are_the_models) {
    run_known_cases(default_seed, default_cases, run_views);
}

TEST(PropertyViews, tensors_are_the_models_at_seeds_never_seen) {
    run_new_cases(default_cases, run_views);
}

}  // namespace
}  // namespace views
}  // namespace ckptfs::test
