// Element maps are asked for their pieces, parameter by parameter.
#include "report/parameters.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "ckptfs/extent.h"
#include "util/layout.h"
#include "util/shape.h"
#include "util/text.h"

namespace ckptfs::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t max_listed_runs = 4;

PlacedTensor placed(std::string kind, const model::Elements& elements) {
    PlacedTensor result{std::move(kind), std::string(model::name(elements.dtype())), elements.nbytes(), {}};
    PieceList pieces;
    elements.append(pieces);
    for (const Piece piece : pieces.pieces()) {
        const std::string path = piece.kind == Piece::Kind::source ? piece.file->name() : "";
        result.runs.push_back({path.substr(path.rfind('/') + 1), piece.offset, piece.length});
    }
    return result;
}

class Visitor {
 public:
    Visitor(const model::Rank& rank, const std::function<void(const PlacedParameter&)>& take)
        : rank_(rank), take_(take) {
        for (const model::TiedName& tied : rank.tied) {
            tied_[tied.of].push_back(tied.name);
        }
    }

    void visit_all() const {
        for (std::size_t index = 0; index < rank_.groups.size(); ++index) {
            const model::Group& group = rank_.groups[index];
            for (const model::Parameter& parameter : group.parameters) {
                const bool is_known = parameter.trainable.has_value();
                PlacedParameter result = described(parameter, is_known ? "trained" : "parameter");
                result.group = is_known ? std::optional(index) : std::nullopt;
                for (std::size_t state = 0; state < parameter.states.size(); ++state) {
                    result.tensors.push_back(placed(group.states[state], parameter.states[state]));
                }
                take_(result);
            }
        }
        for (const model::Parameter& parameter : rank_.frozen) {
            take_(described(parameter, "frozen"));
        }
        for (const model::Tensor& buffer : rank_.buffers) {
            PlacedParameter result = named(buffer.name, "buffer", buffer.shape, buffer.elements.dtype());
            result.numel = buffer.elements.numel();
            result.tensors.push_back(placed("weight", buffer.elements));
            take_(result);
        }
    }

 private:
    [[nodiscard]] PlacedParameter named(const std::string& name, std::string role,
                                        const std::vector<std::uint64_t>& shape, model::DType dtype) const {
        PlacedParameter result;
        result.name = name;
        result.model_rank = rank_.name;
        result.role = std::move(role);
        result.shape = shape;
        result.dtype = model::name(dtype);
        if (const auto tied = tied_.find(name); tied != tied_.end()) {
            result.tied = tied->second;
        }
        return result;
    }

    [[nodiscard]] PlacedParameter described(const model::Parameter& parameter, std::string role) const {
        PlacedParameter result = named(parameter.name, std::move(role), parameter.shape, parameter.dtype);
        result.numel = parameter.numel;
        if (parameter.weight) {
            result.tensors.push_back(placed("weight", *parameter.weight));
        }
        if (parameter.master) {
            result.tensors.push_back(placed("master", *parameter.master));
        }
        return result;
    }

    const model::Rank& rank_;
    const std::function<void(const PlacedParameter&)>& take_;
    std::map<std::string, std::vector<std::string>> tied_;
};

std::string runs_text(const PlacedTensor& tensor) {
    std::vector<std::string> parts;
    for (const PlacedRun& run : tensor.runs) {
        if (parts.size() == max_listed_runs && tensor.runs.size() > max_listed_runs + 1) {
            parts.push_back(unbroken("and " + counted(tensor.runs.size() - max_listed_runs, "more run")));
            break;
        }
        parts.push_back(run.file.empty() ? unbroken(grouped(run.nbytes) + " B of zeros")
                                         : unbroken(printable(run.file) + " at " + grouped(run.offset) + ", " +
                                                    grouped(run.nbytes) + " B"));
    }
    return parts.empty() ? "no elements" : joined(parts, "; ");
}

}  // namespace

void for_each_parameter(const zero::Written& checkpoint, const std::function<void(const PlacedParameter&)>& take) {
    for (const model::Rank& rank : checkpoint.content.ranks) {
        Visitor(rank, take).visit_all();
    }
}

std::string as_text(const PlacedParameter& parameter, std::size_t columns) {
    std::string about = shape_text(parameter.shape) + " " + parameter.dtype + ", " + parameter.role;
    if (parameter.group) {
        about += ", group " + std::to_string(*parameter.group);
    }
    if (!parameter.tied.empty()) {
        std::vector<std::string> names;
        std::transform(parameter.tied.begin(), parameter.tied.end(), std::back_inserter(names),
                       [](const std::string& name) { return unbroken(printable(name)); });
        about += ", also " + joined(names, ", ");
    }
    std::string result = wrapped(about, columns, "  " + printable(parameter.name) + "  ", 6);
    std::vector<std::vector<std::string>> rows;
    for (const PlacedTensor& tensor : parameter.tensors) {
        rows.push_back({printable(tensor.kind), tensor.dtype, runs_text(tensor)});
    }
    return result + fitted_table(rows, {}, "    ", columns);
}

std::string as_json(const PlacedParameter& parameter) {
    Json tensors = Json::array();
    for (const PlacedTensor& tensor : parameter.tensors) {
        Json runs = Json::array();
        for (const PlacedRun& run : tensor.runs) {
            runs.push_back({{"file", run.file.empty() ? Json() : Json(run.file)},
                            {"offset", run.file.empty() ? Json() : Json(run.offset)},
                            {"nbytes", run.nbytes}});
        }
        tensors.push_back(
            {{"kind", tensor.kind}, {"dtype", tensor.dtype}, {"nbytes", tensor.nbytes}, {"runs", std::move(runs)}});
    }
    const Json result{{"name", parameter.name},       {"model_parallel_rank", parameter.model_rank},
                      {"role", parameter.role},       {"group", parameter.group ? Json(*parameter.group) : Json()},
                      {"shape", parameter.shape},     {"numel", parameter.numel},
                      {"dtype", parameter.dtype},     {"tied_names", parameter.tied},
                      {"tensors", std::move(tensors)}};
    return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ckptfs::report
