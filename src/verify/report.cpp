// JSON out of what was verified.
#include "verify/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace ckptfs::verify {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson json_of(const FileTotals& files) {
    return {{"files", files.files},
            {"nbytes", files.nbytes},
            {"records", files.records},
            {"records_without_crc", files.records_without_crc}};
}

OrderedJson json_of(const VerifiedTag::Weights& weights) {
    return {{"numel_compared", weights.compared_numel}, {"numel_different", weights.different_numel}};
}

OrderedJson json_of(const ViewTotals& view) {
    return {{"files", view.files},
            {"records", view.records},
            {"tensors", view.tensors},
            {"nbytes_compared", view.compared_nbytes}};
}

template <class T>
OrderedJson json_of(const std::optional<T>& value) {
    return value ? json_of(*value) : OrderedJson();
}

OrderedJson json_of(const VerifiedTag& tag) {
    return {{"name", tag.name},
            {"right", tag.problems.empty()},
            {"world_size", tag.world_size == 0 ? OrderedJson() : OrderedJson(tag.world_size)},
            {"source", json_of(tag.files)},
            {"weights", json_of(tag.weights)},
            {"view", json_of(tag.view)},
            {"warnings", tag.warnings},
            {"problems", tag.problems},
            {"unlisted_problems", tag.unlisted_problems}};
}

}  // namespace

bool VerifiedSource::is_right() const {
    return problems.empty() &&
           std::all_of(tags.begin(), tags.end(), [](const VerifiedTag& tag) { return tag.problems.empty(); });
}

std::string as_json(const VerifiedSource& verified) {
    OrderedJson tags = OrderedJson::array();
    for (const VerifiedTag& tag : verified.tags) {
        tags.push_back(json_of(tag));
    }
    const OrderedJson result{{"schema_version", 1},
                             {"source", verified.source},
                             {"view", verified.view ? OrderedJson(*verified.view) : OrderedJson()},
                             {"right", verified.is_right()},
                             {"tags", std::move(tags)},
                             {"problems", verified.problems}};
    return result.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace ckptfs::verify
