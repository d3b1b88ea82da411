// Some files at a time: what they hold is looked up, then they are read.
#include "verify/verify_derived_view.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "util/text.h"
#include "verify/coverage.h"
#include "verify/view_reading.h"

namespace ckptfs::verify {
namespace {

using Json = nlohmann::json;

/// So many are read side by side, and held until they are.
constexpr std::size_t files_at_a_time = 64;

std::string in_words(const std::vector<std::uint64_t>& shape) {
    std::vector<std::string> extents;
    extents.reserve(shape.size());
    for (const std::uint64_t extent : shape) {
        extents.push_back(std::to_string(extent));
    }
    return "[" + joined(extents, ", ") + "]";
}

std::string in_words(model::DType dtype, const std::vector<std::uint64_t>& shape) {
    return std::string(model::name(dtype)) + " " + in_words(shape);
}

bool is_archive(const std::string& path) {
    return path.ends_with(".pt") || path.ends_with(".bin") || path.ends_with(".ckpt");
}

/// The elements of a tensor and its shape, joined from the ranks' parts along the one axis in which it is larger than
/// they are. `shape`: as the view shows it. nullopt where there is no such axis.
std::optional<model::Elements> whole_of(const ExpectedTensor& expected, const std::vector<std::uint64_t>& shape) {
    const std::vector<TensorPart>& parts = expected.parts;
    const TensorPart& first = parts.front();
    const bool is_flat = shape.size() == 1 && shape.front() == first.elements.numel();
    if (first.shape == shape || (expected.may_be_flat && is_flat)) {
        return first.elements;  // the only part, or one that every rank has whole
    }
    if (first.shape.size() != shape.size()) {
        return std::nullopt;
    }
    std::uint64_t rows = 1;
    std::size_t axis = 0;
    for (; axis < shape.size() && first.shape[axis] == shape[axis]; ++axis) {
        rows *= shape[axis];
    }
    std::vector<std::uint64_t> sum = first.shape;
    std::vector<model::Elements> elements{first.elements};
    for (std::size_t index = 1; index < parts.size(); ++index) {
        std::vector<std::uint64_t> with_extent = parts[index].shape;
        if (with_extent.size() != shape.size()) {
            return std::nullopt;
        }
        sum[axis] += std::exchange(with_extent[axis], first.shape[axis]);
        if (with_extent != first.shape) {
            return std::nullopt;
        }
        elements.push_back(parts[index].elements);
    }
    return sum == shape ? std::optional(model::join(std::move(elements), rows)) : std::nullopt;
}

class DerivedVerifier {
 public:
    DerivedVerifier(const DerivedKind& kind, std::vector<ExpectedTensor> expected, const TorchReader& read_with_torch,
                    const PassedBytes& passed, Problems& problems)
        : kind_(kind), expected_(std::move(expected)), problems_(problems), reading_(read_with_torch, passed) {
        for (std::size_t index = 0; index < expected_.size(); ++index) {
            if (expected_[index].is_doubled) {
                problems_.add(what_of(joined(expected_[index].names, " or "), expected_[index].kind) +
                              ": one rank of the source has two of this name");
            }
            for (const std::string& name : expected_[index].names) {
                if (!by_key_.emplace(std::pair(name, expected_[index].kind), Place{index, ""}).second) {
                    problems_.add(what_of(name, expected_[index].kind) +
                                  ": two tensors of the source have this name in the view");
                }
            }
        }
    }

    /// Files of the view from `index` on, of which there are at least `count`.
    Result<void> check_files(const View& view, std::size_t index, std::size_t count) {
        std::vector<ViewReading::ViewFile> files(count);
        std::vector<Result<void>> checked(count);
        for (std::size_t number = 0; number < count; ++number) {
            checked[number] = [&]() -> Result<void> {
                CKPTFS_ASSIGN(files[number].file, view.open(index + number));
                files[number].by_torch = is_archive(view.file_name(index + number));
                return check_file(view.file_name(index + number), files[number].file);
            }();
            if (!checked[number] && is_of_the_world(checked[number].error())) {
                return checked[number];
            }
        }
        CKPTFS_TRY(reading_.read(files));
        for (std::size_t number = 0; number < count; ++number) {
            const auto& records = files[number].records;
            if (records && checked[number]) {
                ++totals_.files;
                totals_.records += *records;
            } else {
                problems_.add(in_quotes(view.file_name(index + number)) + ": " +
                              (records ? checked[number].error() : records.error()).message());
            }
        }
        return {};
    }

    Result<void> finish() {
        for (const ExpectedTensor& tensor : expected_) {
            std::size_t shown = 0;
            for (const std::string& name : tensor.names) {
                shown += by_key_.at({name, tensor.kind}).path.empty() ? 0U : 1U;
            }
            if (shown == 0 || (tensor.under_every_name && shown < tensor.names.size())) {
                problems_.add(what_of(joined(tensor.names, " or "), tensor.kind) + ": the view does not show it");
            }
        }
        for (const auto& [index, files] : indexes_) {
            check_index(index, files);
        }
        CKPTFS_TRY(reading_.report(problems_));
        totals_.tensors = reading_.compared_tensors();
        totals_.compared_nbytes = reading_.compared_nbytes();
        return {};
    }

    [[nodiscard]] const ViewTotals& totals() const { return totals_; }

 private:
    struct Place {
        std::size_t index = 0;  ///< in expected_
        std::string path;       ///< of the file that shows it; empty before it is found
    };

    static std::string what_of(const std::string& name, const std::string& kind) {
        return "tensor " + in_quotes(name) + ", " + kind;
    }

    Result<void> check_file(const std::string& path, const std::shared_ptr<const File>& file) {
        if (path.ends_with(".index.json")) {
            CKPTFS_TRY(read_index(path, *file));
        }
        CKPTFS_ASSIGN(const auto tensors, kind_.found(path, file));
        for (const FoundTensor& found : tensors) {
            CKPTFS_TRY(check_tensor(path, *file, found));
        }
        return {};
    }

    Result<void> check_tensor(const std::string& path, const File& file, const FoundTensor& found) {
        const ShownTensor& shown = found.tensor;
        const std::string what = what_of(shown.name, found.kind);
        const auto place = by_key_.find({shown.name, found.kind});
        if (place == by_key_.end()) {
            problems_.add(what + ": " + in_quotes(path) + " shows it, but the source has no such tensor");
            return {};
        }
        if (!place->second.path.empty()) {
            problems_.add(what + ": both " + in_quotes(place->second.path) + " and " + in_quotes(path) + " show it");
            return {};
        }
        place->second.path = path;
        const ExpectedTensor& expected = expected_[place->second.index];
        const auto elements = whole_of(expected, shown.shape);
        if (shown.dtype != expected.dtype || !elements) {
            problems_.add(what + ": is " + in_words(shown.dtype, shown.shape) + " in the view, expected " +
                          in_words(expected.dtype, expected.parts.front().shape) +
                          (expected.parts.size() > 1 ? " on each of several ranks" : ""));
            return {};
        }
        return compare(what, *elements, file, shown);
    }

    Result<void> compare(const std::string& what, const model::Elements& elements, const File& file,
                         const ShownTensor& shown) {
        PieceList view;
        view.add_source(&file, shown.offset, elements.numel() * model::itemsize(shown.dtype));
        if (shown.dtype == elements.dtype()) {
            PieceList source;
            elements.append(source);
            if (const std::string wrong = fault_in_coverage(source, view); !wrong.empty()) {
                problems_.add(what + ": " + wrong);
            }
        }
        return reading_.expect({.what = what,
                                .numel = elements.numel(),
                                .source_dtype = elements.dtype(),
                                .view_dtype = shown.dtype,
                                .source = [elements](std::uint64_t from, std::uint64_t count,
                                                     PieceList& out) { elements.append(from, count, out); }},
                               view);
    }

    /// model.safetensors.index.json: {"metadata": …, "weight_map": {tensor: file beside the index}}.
    Result<void> read_index(const std::string& path, const File& file) {
        std::string text(file.size(), '\0');
        CKPTFS_TRY(file.read(0, std::as_writable_bytes(std::span(text))));
        const Json index = Json::parse(text, nullptr, false);
        const Json map = index.is_object() ? index.value("weight_map", Json()) : Json();
        if (!map.is_object()) {
            return Error(ErrorCode::damaged, in_quotes(path) + ": has no weight_map");
        }
        for (const auto& [name, shard] : map.items()) {
            indexes_[path][name] = shard.is_string() ? shard.get<std::string>() : std::string();
        }
        return {};
    }

    void check_index(const std::string& index, const std::map<std::string, std::string>& files) {
        const std::string directory = index.substr(0, index.rfind('/') + 1);
        for (const auto& [key, place] : by_key_) {
            const auto named = files.find(key.first);
            const std::string file = named == files.end() ? "" : directory + named->second;
            if (file != place.path) {
                problems_.add(in_quotes(index) + ": tensor " + in_quotes(key.first) + " is said to be in " +
                              in_quotes(file) + ", but is in " + in_quotes(place.path));
            }
        }
        for (const auto& [name, file] : files) {
            const auto at = by_key_.lower_bound({name, ""});
            if (at == by_key_.end() || at->first.first != name) {
                problems_.add(in_quotes(index) + ": names the tensor " + in_quotes(name) + ", which does not exist");
            }
        }
    }

    const DerivedKind& kind_;
    std::vector<ExpectedTensor> expected_;
    Problems& problems_;
    std::map<std::pair<std::string, std::string>, Place> by_key_;        // by name and kind
    std::map<std::string, std::map<std::string, std::string>> indexes_;  // by path: files by tensor
    ViewTotals totals_;
    ViewReading reading_;
};

}  // namespace

Result<ViewTotals> verify_derived_view(const model::Checkpoint& source, const View& view, const ViewRequest& request,
                                       const Naming& naming, const TorchReader& read_with_torch, Problems& problems,
                                       const PassedBytes& passed) {
    const DerivedKind* kind = derived_kind(request.kind);
    if (kind == nullptr) {
        return Error(ErrorCode::internal, in_quotes(request.name()) + " is not a derived view");
    }
    DerivedVerifier verifier(*kind, kind->expected(source, request, naming), read_with_torch, passed, problems);
    for (std::size_t index = 0; index < view.file_count(); index += files_at_a_time) {
        CKPTFS_TRY(verifier.check_files(view, index, std::min(files_at_a_time, view.file_count() - index)));
    }
    CKPTFS_TRY(verifier.finish());
    return verifier.totals();
}

}  // namespace ckptfs::verify
