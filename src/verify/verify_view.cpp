// A view read back as a checkpoint says where its elements lie; then all its files are read.
#include "verify/verify_view.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/text.h"
#include "verify/coverage.h"
#include "verify/module_tensors.h"
#include "verify/view_reading.h"
#include "verify/view_source.h"
#include "view/rank_template.h"
#include "zero/reader.h"

namespace ckptfs::verify {
namespace {

/// Looks at everything but elements, which it leaves to a reading of the view's files.
class ViewVerifier {
 public:
    ViewVerifier(const zero::Written& source, const zero::Written& view, ViewReading& reading, Problems& problems)
        : source_(source), view_(view), reading_(reading), problems_(problems) {}

    Result<void> run(std::uint64_t dp_world_size) {
        const bool stage0 = source_.format == zero::Format::stage0;
        if (view_.format != source_.format || (!stage0 && view_.dp_world_size != dp_world_size) ||
            view_.families.size() != source_.families.size()) {
            problems_.add("the view is of " + std::string(name(view_.format)) + " at data-parallel size " +
                          std::to_string(view_.dp_world_size) + ", expected " + std::string(name(source_.format)) +
                          " at " + std::to_string(dp_world_size));
            return {};
        }
        for (std::size_t rank = 0; rank < source_.families.size(); ++rank) {
            CKPTFS_TRY(check_family(rank));
        }
        return {};
    }

 private:
    /// One state of a group's parameters, or their weights.
    struct Shown {
        std::string_view key;
        model::DType dtype;
        std::vector<const model::Elements*> elements;  ///< by parameter; nullptr where the content has none
    };

    static Shown shown(const zero::State& state) {
        Shown result{state.key(), state.form().dtype, {}};
        for (std::size_t index = 0; index < state.group().parameters.size(); ++index) {
            result.elements.push_back(&state.elements(index));
        }
        return result;
    }

    static Shown shown_weights(const model::Group& group, const zero::WeightsBuffer& buffer) {
        Shown result{"weights", buffer.dtype, {}};
        for (const model::Parameter& parameter : group.parameters) {
            result.elements.push_back(parameter.weight ? &*parameter.weight : nullptr);
        }
        return result;
    }

    Result<void> check_family(std::size_t rank) {
        const zero::Family& source = source_.families[rank];
        const zero::Family& view = view_.families[rank];
        if (source.groups.size() != view.groups.size()) {
            problems_.add("the view has " + counted(view.groups.size(), "parameter group") + ", the source " +
                          std::to_string(source.groups.size()));
            return {};
        }
        for (std::size_t group = 0; group < source.groups.size(); ++group) {
            CKPTFS_TRY(check_group("group " + std::to_string(group),
                                   {source_.content.ranks[rank].groups[group], source.groups[group]},
                                   {view_.content.ranks[rank].groups[group], view.groups[group]}));
        }
        if (source_.format == zero::Format::zero3) {
            CKPTFS_TRY(check_frozen(source.zero3->frozen, view.zero3->frozen));
            return check_buffers(source.model_states_of_ranks(), view.model_states_of_ranks());
        }
        for (const char* key : {"module", "frozen_param_fragments"}) {
            CKPTFS_TRY(check_module(key, {source.model_states, {}}, {view.model_states, {}}));
        }
        return {};
    }

    Result<void> check_frozen(const std::vector<zero::FrozenFragments>& source,
                              const std::vector<zero::FrozenFragments>& view) {
        const auto same = [](const zero::FrozenFragments& a, const zero::FrozenFragments& b) {
            return a.parameter.name == b.parameter.name && a.parameter.shape == b.parameter.shape;
        };
        if (!std::equal(source.begin(), source.end(), view.begin(), view.end(), same)) {
            problems_.add("the view has other frozen parameters than the source");
            return {};
        }
        for (std::size_t index = 0; index < source.size(); ++index) {
            const auto fragments = [](const zero::FrozenFragments& of) {
                return Shown{"frozen", of.parameter.weight->dtype(), {&*of.parameter.weight}};
            };
            CKPTFS_TRY(check_state("frozen parameters", "frozen", {&source[index].parameter, 1},
                                   fragments(source[index]), fragments(view[index])));
        }
        return {};
    }

    // At stage 3 every rank has buffers of its own; those of further ranks are repeated.
    Result<void> check_buffers(const std::vector<zero::RankFile>& source, const std::vector<zero::RankFile>& view) {
        for (std::size_t rank = 0; rank < view.size(); ++rank) {
            CKPTFS_ASSIGN(const view::Template expected, view::template_of(source[rank % source.size()]));
            CKPTFS_ASSIGN(const view::Template found, view::template_of(view[rank]));
            CKPTFS_TRY(check_module("module", expected, found));
        }
        return {};
    }

    /// A group from both sides.
    struct Group {
        const model::Group& content;
        const zero::GroupForm& form;

        [[nodiscard]] bool has_weights() const { return form.flat && form.flat->weights; }
    };

    Result<void> check_group(const std::string& where, const Group& source, const Group& view) {
        const std::vector<model::Parameter>& parameters = source.content.parameters;
        const auto same = [](const model::Parameter& a, const model::Parameter& b) {
            return a.name == b.name && a.shape == b.shape;
        };
        if (!std::equal(parameters.begin(), parameters.end(), view.content.parameters.begin(),
                        view.content.parameters.end(), same)) {
            problems_.add(where + ": the view has other parameters, or in another order, than the source");
            return {};
        }
        CKPTFS_TRY(check_state(where, "fp32 master", parameters,
                               shown(zero::State::master(source.content, source.form)),
                               shown(zero::State::master(view.content, view.form))));
        const std::vector<zero::State> expected = zero::states_of(source.content, source.form);
        const std::vector<zero::State> found = zero::states_of(view.content, view.form);
        if (expected.size() != found.size() || source.has_weights() != view.has_weights()) {
            problems_.add(where + ": the view has " + counted(found.size(), "optimizer state") + ", the source " +
                          std::to_string(expected.size()));
            return {};
        }
        for (std::size_t index = 0; index < expected.size(); ++index) {
            CKPTFS_TRY(check_state(where, std::string(expected[index].key()), parameters, shown(expected[index]),
                                   shown(found[index])));
        }
        if (source.has_weights()) {
            CKPTFS_TRY(check_state(where, "weights", parameters,
                                   shown_weights(source.content, *source.form.flat->weights),
                                   shown_weights(view.content, *view.form.flat->weights)));
        }
        return {};
    }

    Result<void> check_state(const std::string& where, const std::string& label,
                             std::span<const model::Parameter> parameters, const Shown& source, const Shown& view) {
        const auto both_or_none = [](const model::Elements* a, const model::Elements* b) {
            return (a == nullptr) == (b == nullptr);
        };
        if (source.key != view.key || source.dtype != view.dtype ||
            !std::equal(source.elements.begin(), source.elements.end(), view.elements.begin(), view.elements.end(),
                        both_or_none)) {
            problems_.add(where + ": the view's state " + in_quotes(view.key) + " is not the source's " +
                          in_quotes(source.key));
            return {};
        }
        const auto pieces_of = [](const Shown& state) {
            PieceList pieces;
            for (const model::Elements* elements : state.elements) {
                if (elements != nullptr) {
                    elements->append(pieces);
                }
            }
            return pieces;
        };
        if (const std::string wrong = fault_in_coverage(pieces_of(source), pieces_of(view)); !wrong.empty()) {
            problems_.add(where + ", " + label + ": " + wrong);
        }
        for (std::size_t index = 0; index < parameters.size(); ++index) {
            if (source.elements[index] == nullptr) {
                continue;  // what `module` holds is compared by itself
            }
            PieceList pieces;
            view.elements[index]->append(pieces);
            const std::uint64_t numel = parameters[index].numel;
            CKPTFS_TRY(reading_.expect(
                {.what = "parameter " + in_quotes(parameters[index].name) + ", " + label,
                 .numel = numel,
                 .source_dtype = source.dtype,
                 .view_dtype = view.dtype,
                 .source = [elements = source.elements[index]](std::uint64_t from, std::uint64_t count,
                                                               PieceList& out) { elements->append(from, count, out); }},
                pieces));
        }
        return {};
    }

    Result<void> check_module(const char* key, const view::Template& source, const view::Template& view) {
        CKPTFS_ASSIGN(const auto expected, module_tensors(*source.archive, key, source.places));
        CKPTFS_ASSIGN(const auto found, module_tensors(*view.archive, key, view.places));
        const auto same_form = [](const ModuleTensor& a, const ModuleTensor& b) { return a.same_form(b); };
        if (!std::equal(expected.begin(), expected.end(), found.begin(), found.end(), same_form)) {
            problems_.add("the tensors in " + in_quotes(key) + " have other names, dtypes or shapes than the source's");
            return {};
        }
        for (std::size_t index = 0; index < expected.size(); ++index) {
            const ModuleTensor& of = expected[index];
            const std::uint64_t itemsize = model::itemsize(of.dtype);
            PieceList pieces;
            pieces.add_source(found[index].file, found[index].offset, of.numel * itemsize);
            CKPTFS_TRY(reading_.expect(
                {.what = "tensor " + in_quotes(of.name) + " in " + in_quotes(key),
                 .numel = of.numel,
                 .source_dtype = of.dtype,
                 .view_dtype = of.dtype,
                 .source = [file = of.file, offset = of.offset, itemsize](
                               std::uint64_t from, std::uint64_t count,
                               PieceList& out) { out.add_source(file, offset + from * itemsize, count * itemsize); }},
                pieces));
        }
        return {};
    }

    const zero::Written& source_;
    const zero::Written& view_;
    ViewReading& reading_;
    Problems& problems_;
};

/// The files behind a checkpoint, by name: those that its elements lie in.
std::map<std::string, std::shared_ptr<const File>> files_of(const zero::Written& checkpoint) {
    std::map<std::string, std::shared_ptr<const File>> files;
    for (const zero::Family& family : checkpoint.families) {
        for (const zero::RankFile* file : family.rank_files()) {
            files.emplace(file->name, file->file);
        }
        files.emplace(family.model_states_name, family.model_states->file());
    }
    return files;
}

}  // namespace

Result<ViewTotals> verify_view(const zero::Written& source, const std::shared_ptr<const View>& view,
                               std::uint64_t dp_world_size, const TorchReader& read_with_torch, Problems& problems,
                               const PassedBytes& passed) {
    const ViewSource view_source(view, source, "the view at data-parallel size " + std::to_string(dp_world_size));
    // Whether the source is of one save was decided when it was read.
    const auto read_back = zero::read_checkpoint(
        view_source, "", {.accept_mixed = false, .rank_values_of = std::nullopt, .look_for_two_saves = false});
    ViewReading reading(read_with_torch, passed);
    Problems of_content;
    if (read_back) {
        CKPTFS_TRY(ViewVerifier(source, **read_back, reading, of_content).run(dp_world_size));
    }
    const auto known = read_back ? files_of(**read_back) : std::map<std::string, std::shared_ptr<const File>>();
    std::vector<ViewReading::ViewFile> files;
    for (std::size_t index = 0; index < view->file_count(); ++index) {
        ViewReading::ViewFile& file = files.emplace_back();
        if (const auto found = known.find(view->file_name(index)); found != known.end()) {
            file.file = found->second;
        } else if (auto opened = view->open(index)) {
            file.file = *opened;
        } else if (is_of_the_world(opened.error())) {
            return opened.error();
        } else {
            file.records = opened.error();
        }
        file.by_torch = file.file != nullptr;
    }
    CKPTFS_TRY(reading.read(files));
    ViewTotals totals;
    for (std::size_t index = 0; index < files.size(); ++index) {
        const auto& records = files[index].records;
        if (!records) {
            problems.add(in_quotes(view->file_name(index)) + ": " + records.error().message());
            continue;
        }
        ++totals.files;
        totals.records += *records;
    }
    if (!read_back) {
        problems.add("the view cannot be read as a checkpoint: " + read_back.error().message());
        return totals;
    }
    problems.add(of_content);
    CKPTFS_TRY(reading.report(problems));
    totals.tensors = reading.compared_tensors();
    totals.compared_nbytes = reading.compared_nbytes();
    return totals;
}

}  // namespace ckptfs::verify
