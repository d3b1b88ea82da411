// Summaries first, then the tensors that differ most, then everything else that differs.
#include "diff/report.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>
#include <vector>

#include "util/layout.h"
#include "util/shape.h"
#include "util/text.h"

namespace ckptfs::diff {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t max_listed = 20;
constexpr std::size_t hanging = 4;

std::string form_text(const std::optional<Form>& form) {
    return form ? std::string(model::name(form->dtype)) + " " + shape_text(form->shape) : "absent";
}

/// All digits of a number: one that differs in the last of them must not look the same.
std::string value_text(const std::optional<model::Scalar>& value) {
    if (!value) {
        return "absent";
    }
    const std::string text = std::visit([](const auto& held) { return Json(held); }, *value)
                                 .dump(-1, ' ', false, Json::error_handler_t::replace);
    const bool is_word = std::holds_alternative<std::string>(*value);
    return is_word && text.size() > 2 ? text.substr(1, text.size() - 2) : text;  // an empty word keeps its quotes
}

bool is_listed_by_form(const TensorDifference& tensor) {
    return !tensor.a || !tensor.b || !(*tensor.a == *tensor.b);
}

std::string measure_text(const Deviation& elements, double value) {
    const bool is_measured = elements.is_measured && elements.different > elements.not_finite;
    return is_measured || elements.different == 0 ? human_number(value) : "-";
}

std::string different_text(const Deviation& elements, std::uint64_t numel) {
    return grouped(elements.different) + " of " + grouped(numel);
}

class Text {
 public:
    Text(const Side& a, const Side& b, const Difference& difference, std::size_t columns)
        : a_(a), b_(b), difference_(difference), columns_(columns) {}

    std::string all() {
        add_side("A  ", a_);
        add_side("B  ", b_);
        add_kinds();
        add_tensors();
        add_forms();
        add_names("only in A", difference_.only_in_a);
        add_names("only in B", difference_.only_in_b);
        add_values();
        if (!difference_.notes.empty()) {
            text_ += "\nnotes\n";
        }
        for (const std::string& note : difference_.notes) {
            text_ += wrapped(printable(note), columns_, "  ", hanging);
        }
        text_ += "\n" + wrapped(verdict(), columns_, "", 0);
        return std::move(text_);
    }

 private:
    void add_side(const char* label, const Side& side) {
        text_ +=
            wrapped(unbroken(printable(side.display)) + ", " + side.facts +
                        (side.global_step ? ", " + unbroken("global step " + std::to_string(*side.global_step)) : ""),
                    columns_, label, hanging);
    }

    void add_kinds() {
        std::vector<std::vector<std::string>> rows{{"", "tensors differ", "elements differ", "max abs", "max rel"}};
        for (const KindSummary& kind : difference_.kinds) {
            if (kind.tensors_different > 0) {
                rows.push_back({printable(kind.kind), grouped(kind.tensors_different) + " of " + grouped(kind.tensors),
                                different_text(kind.elements, kind.numel),
                                measure_text(kind.elements, kind.elements.max_absolute),
                                measure_text(kind.elements, kind.elements.max_relative)});
            }
        }
        if (rows.size() > 1) {
            text_ += "\n" + fitted_table(rows, {false, true, true, true, true}, "  ", columns_);
        }
    }

    void add_tensors() {
        std::vector<const TensorDifference*> tensors;
        for (const TensorDifference& tensor : difference_.tensors) {
            if (tensor.elements.different > 0) {
                tensors.push_back(&tensor);
            }
        }
        if (tensors.empty()) {
            return;
        }
        std::stable_sort(tensors.begin(), tensors.end(), [](const auto* left, const auto* right) {
            return left->elements.max_relative > right->elements.max_relative;
        });
        std::vector<std::vector<std::string>> rows{{"tensor", "what", "elements differ", "max abs", "max rel", ""}};
        bool any_not_finite = false;
        for (std::size_t index = 0; index < std::min(tensors.size(), max_listed); ++index) {
            const TensorDifference& tensor = *tensors[index];
            const Deviation& elements = tensor.elements;
            any_not_finite = any_not_finite || elements.not_finite > 0;
            rows.push_back({unbroken(printable(tensor.name)), unbroken(printable(tensor.kind)),
                            different_text(elements, tensor.numel), measure_text(elements, elements.max_absolute),
                            measure_text(elements, elements.max_relative),
                            elements.not_finite > 0 ? unbroken(grouped(elements.not_finite) + " not finite") : ""});
        }
        if (!any_not_finite) {
            std::for_each(rows.begin(), rows.end(), [](auto& row) { row.pop_back(); });
        }
        text_ += "\n" + fitted_table(rows, {false, false, true, true, true, false}, "  ", columns_);
        if (tensors.size() > max_listed) {
            text_ += "  ... and " + grouped(tensors.size() - max_listed) + " more (--json lists all)\n";
        }
    }

    /// Tensors of other shapes and dtypes, and how many of a kind one side does not keep.
    void add_forms() {
        std::vector<std::vector<std::string>> rows;
        std::map<std::pair<std::string, bool>, std::size_t> one_sided;  // by kind, and whether A has them
        std::size_t more = 0;
        for (const TensorDifference& tensor : difference_.tensors) {
            if (tensor.a.has_value() != tensor.b.has_value()) {
                ++one_sided[{tensor.kind, tensor.a.has_value()}];
                continue;
            }
            if (!is_listed_by_form(tensor)) {
                continue;
            }
            if (rows.size() == max_listed) {
                ++more;
                continue;
            }
            rows.push_back({unbroken(printable(tensor.name)), unbroken(printable(tensor.kind)),
                            unbroken(form_text(tensor.a)) + " in A, " + unbroken(form_text(tensor.b)) + " in B"});
        }
        for (const auto& [what, count] : one_sided) {
            const char* const side = what.second ? "A" : "B";
            text_ += (what == one_sided.begin()->first ? "\nkept by one side only\n" : "") +
                     wrapped(printable(what.first) + " of " + counted(count, "tensor") + ": in " + side, columns_, "  ",
                             hanging);
        }
        if (rows.empty()) {
            return;
        }
        text_ += "\nshapes and dtypes\n" + fitted_table(rows, {}, "  ", columns_);
        if (more > 0) {
            text_ += "  ... and " + grouped(more) + " more (--json lists all)\n";
        }
    }

    void add_names(const char* heading, const std::vector<std::string>& names) {
        if (names.empty()) {
            return;
        }
        text_ += "\n" + std::string(heading) + "\n";
        for (std::size_t index = 0; index < std::min(names.size(), max_listed); ++index) {
            text_ += "  " + printable(names[index]) + "\n";
        }
        if (names.size() > max_listed) {
            text_ += "  ... and " + grouped(names.size() - max_listed) + " more (--json lists all)\n";
        }
    }

    void add_values() {
        if (difference_.values.empty()) {
            return;
        }
        std::vector<std::vector<std::string>> rows{{"", unbroken("A -> B")}};
        for (std::size_t index = 0; index < std::min(difference_.values.size(), 2 * max_listed); ++index) {
            const ValueDifference& value = difference_.values[index];
            const std::string name = (value.where.empty() ? "" : printable(value.where) + ": ") + printable(value.name);
            rows.push_back({unbroken(name), unbroken(printable(value_text(value.a))) + " -> " +
                                                unbroken(printable(value_text(value.b)))});
        }
        text_ += "\ncounters, hyper-parameters and roles\n" + fitted_table(rows, {}, "  ", columns_);
        if (difference_.values.size() > 2 * max_listed) {
            text_ += "  ... and " + grouped(difference_.values.size() - 2 * max_listed) + " more (--json lists all)\n";
        }
    }

    [[nodiscard]] std::string verdict() const {
        std::uint64_t tensors = 0;
        std::uint64_t different = 0;
        for (const KindSummary& kind : difference_.kinds) {
            tensors += kind.tensors;
        }
        for (const TensorDifference& tensor : difference_.tensors) {
            const bool differs =
                tensor.numel > 0 || tensor.a.has_value() != tensor.b.has_value() || is_listed_by_form(tensor);
            different += differs ? 1U : 0U;
        }
        const std::string compared = counted(tensors, "tensor") + " of " + counted(difference_.names, "name") + " (" +
                                     human_nbytes(difference_.nbytes) + " of both) and " +
                                     counted(difference_.numbers, "number") + " compared";
        if (difference_.is_none()) {
            return "the same: " + compared;
        }
        std::vector<std::string> words;
        const auto add = [&](std::uint64_t count, const std::string& text) {
            if (count > 0) {
                words.push_back(text);
            }
        };
        add(different, counted(different, "tensor"));
        add(difference_.only_in_a.size(), counted(difference_.only_in_a.size(), "name") + " only in A");
        add(difference_.only_in_b.size(), counted(difference_.only_in_b.size(), "name") + " only in B");
        add(difference_.values.size(), counted(difference_.values.size(), "counter, hyper-parameter or role",
                                               "counters, hyper-parameters or roles"));
        return "different: " + joined(words, ", ") + "; " + compared;
    }

    const Side& a_;
    const Side& b_;
    const Difference& difference_;
    std::size_t columns_;
    std::string text_;
};

Json side_json(const Side& side) {
    return {{"tag", side.display},
            {"format", side.format},
            {"global_step", side.global_step ? Json(*side.global_step) : Json()}};
}

Json form_json(const std::optional<Form>& form) {
    return form ? Json{{"dtype", model::name(form->dtype)}, {"shape", form->shape}} : Json();
}

Json scalar_json(const std::optional<model::Scalar>& value) {
    return value ? std::visit([](const auto& held) { return Json(held); }, *value) : Json();
}

void add_deviation(const Deviation& elements, Json& out) {
    const bool is_measured = elements.is_measured && elements.different > elements.not_finite;
    const bool is_zero = elements.different == 0;
    out["numel_different"] = elements.different;
    out["numel_not_finite"] = elements.not_finite;
    out["max_absolute"] = is_measured || is_zero ? Json(elements.max_absolute) : Json();
    out["max_relative"] = is_measured || is_zero ? Json(elements.max_relative) : Json();
}

}  // namespace

std::string as_text(const Side& a, const Side& b, const Difference& difference, std::size_t columns) {
    return Text(a, b, difference, columns).all();
}

std::string as_json(const Side& a, const Side& b, const Difference& difference) {
    Json kinds = Json::array();
    for (const KindSummary& kind : difference.kinds) {
        Json& added = kinds.emplace_back(Json{{"kind", kind.kind},
                                              {"tensors", kind.tensors},
                                              {"tensors_different", kind.tensors_different},
                                              {"numel", kind.numel}});
        add_deviation(kind.elements, added);
    }
    Json tensors = Json::array();
    for (const TensorDifference& tensor : difference.tensors) {
        Json& added = tensors.emplace_back(Json{{"name", tensor.name},
                                                {"kind", tensor.kind},
                                                {"a", form_json(tensor.a)},
                                                {"b", form_json(tensor.b)},
                                                {"numel_compared", tensor.numel}});
        add_deviation(tensor.elements, added);
    }
    Json values = Json::array();
    for (const ValueDifference& value : difference.values) {
        values.push_back(
            {{"where", value.where}, {"name", value.name}, {"a", scalar_json(value.a)}, {"b", scalar_json(value.b)}});
    }
    const Json result{{"schema_version", 1},
                      {"same", difference.is_none()},
                      {"a", side_json(a)},
                      {"b", side_json(b)},
                      {"names_compared", difference.names},
                      {"numbers_compared", difference.numbers},
                      {"nbytes_compared", difference.nbytes},
                      {"kinds", std::move(kinds)},
                      {"tensors", std::move(tensors)},
                      {"only_in_a", difference.only_in_a},
                      {"only_in_b", difference.only_in_b},
                      {"values", std::move(values)},
                      {"notes", difference.notes}};
    return result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace ckptfs::diff
