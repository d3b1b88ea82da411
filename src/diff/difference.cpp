// Names are matched first; then blocks of all pairs of tensors are compared, in any order.
#include "diff/difference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>
#include <variant>

#include "util/parallel.h"
#include "util/text.h"
#include "verify/read_pieces.h"

namespace ckptfs::diff {
namespace {

/// Two tensors whose elements are to be compared.
struct Pair {
    std::string name;
    std::string kind;
    const Tensor* a;
    const Tensor* b;
    std::size_t first_block = 0;  ///< its number among those of all pairs
    Deviation found;
};

Result<void> read(const Tensor& tensor, std::uint64_t from, std::uint64_t count, std::vector<std::byte>& out) {
    PieceList list;
    tensor.append(from, count, list);
    out.resize(count * model::itemsize(tensor.dtype));
    return verify::read_pieces(list, out);
}

bool is_same_number(std::int64_t whole, double number) {
    constexpr double bound = 0x1p63;
    return number >= -bound && number < bound && static_cast<double>(static_cast<std::int64_t>(number)) == number &&
           static_cast<std::int64_t>(number) == whole;
}

/// By value: 0 is 0.0, and a NaN is a NaN. A flag is no number.
bool same(const model::Scalar& a, const model::Scalar& b) {
    const auto* const real_a = std::get_if<double>(&a);
    const auto* const real_b = std::get_if<double>(&b);
    if (real_a != nullptr && real_b != nullptr) {
        return *real_a == *real_b || (std::isnan(*real_a) && std::isnan(*real_b));
    }
    const auto* const whole_a = std::get_if<std::int64_t>(&a);
    const auto* const whole_b = std::get_if<std::int64_t>(&b);
    if (whole_a != nullptr && real_b != nullptr) {
        return is_same_number(*whole_a, *real_b);
    }
    if (real_a != nullptr && whole_b != nullptr) {
        return is_same_number(*whole_b, *real_a);
    }
    return a == b;
}

/// What a thread holds of both sides.
struct Blocks {
    std::vector<std::byte> a;
    std::vector<std::byte> b;
};

/// Hands blocks to whichever thread asks, and takes them back.
class SpareBlocks {
 public:
    Blocks take() {
        const std::lock_guard lock(mutex_);
        if (spare_.empty()) {
            return {};
        }
        Blocks result = std::move(spare_.back());
        spare_.pop_back();
        return result;
    }
    void give(Blocks blocks) {
        const std::lock_guard lock(mutex_);
        spare_.push_back(std::move(blocks));
    }

 private:
    std::mutex mutex_;
    std::vector<Blocks> spare_;
};

/// All names of a tensor, itself among them, by the tensor's own name.
using TiedSets = std::map<std::string, std::set<std::string>>;

class Comparison {
 public:
    Comparison(const Side& a, const Side& b, Work& work) : a_(a), b_(b), work_(work) {}

    Result<Difference> run(std::size_t threads) {
        match_names();
        match_tied();
        match_numbers();
        CKPTFS_TRY(compare_all(threads));
        summarise();
        add_notes();
        return std::move(result_);
    }

 private:
    static std::vector<std::string> names_of(const Side& side) {
        std::vector<std::string> names;
        for (const Entry& entry : side.entries) {
            names.push_back(entry.name);
        }
        for (const auto& [name, of] : side.tied) {
            if (!side.index.contains(name)) {
                names.push_back(name);
            }
        }
        return names;
    }

    static std::map<std::string, const Entry*> entries_by_name(const Side& side) {
        std::map<std::string, std::string> owners;
        for (const auto& [name, of] : side.tied) {
            owners.emplace(name, of);
        }
        std::map<std::string, const Entry*> result;
        for (const std::string& name : names_of(side)) {
            const auto own = side.index.find(name);
            const auto owner = own == side.index.end() ? side.index.find(owners.at(name)) : own;
            if (owner != side.index.end()) {
                result.emplace(name, &side.entries[owner->second]);
            }
        }
        return result;
    }

    void match_names() {
        by_name_a_ = entries_by_name(a_);
        by_name_b_ = entries_by_name(b_);
        std::set<std::pair<const Entry*, const Entry*>> seen;
        for (const std::string& name : names_of(a_)) {
            const auto in_a = by_name_a_.find(name);
            const auto in_b = by_name_b_.find(name);
            if (in_a == by_name_a_.end()) {
                continue;  // tied to what the side does not hold
            }
            if (in_b == by_name_b_.end()) {
                result_.only_in_a.push_back(name);
                continue;
            }
            ++result_.names;
            if (seen.emplace(in_a->second, in_b->second).second) {
                match(name, *in_a->second, *in_b->second);
            }
        }
        for (const std::string& name : names_of(b_)) {
            if (by_name_b_.contains(name) && !by_name_a_.contains(name)) {
                result_.only_in_b.push_back(name);
            }
        }
    }

    void match(const std::string& name, const Entry& a, const Entry& b) {
        if (!a.role.empty() && !b.role.empty()) {
            expect_same(name, "is", model::Scalar(a.role), model::Scalar(b.role));
        }
        if (a.group && b.group) {
            const auto number = [](std::size_t group) { return model::Scalar(static_cast<std::int64_t>(group)); };
            expect_same(name, "parameter group", number(*a.group), number(*b.group));
        }
        std::set<std::string> kinds;
        for (const Entry* entry : {&a, &b}) {
            for (const auto& [kind, tensor] : entry->tensors) {
                kinds.insert(kind);
            }
        }
        // The dtype that the engine computes with shows in the weights, where both sides keep them.
        const bool weights_in_both = a.tensors.contains("weight") && b.tensors.contains("weight");
        if (!weights_in_both && a.engine_dtype && b.engine_dtype) {
            const auto word = [](model::DType dtype) { return model::Scalar(std::string(model::name(dtype))); };
            expect_same(name, "dtype of the engine", word(*a.engine_dtype), word(*b.engine_dtype));
        }
        for (const std::string& kind : kinds) {
            match(name, kind, a, b);
        }
    }

    void match(const std::string& name, const std::string& kind, const Entry& a, const Entry& b) {
        const auto in_a = a.tensors.find(kind);
        const auto in_b = b.tensors.find(kind);
        const bool is_in_a = in_a != a.tensors.end();
        const bool is_in_b = in_b != b.tensors.end();
        if (is_in_a && is_in_b && in_a->second.shape == in_b->second.shape) {
            pairs_.push_back({name, kind, &in_a->second, &in_b->second, 0, {}});
            return;
        }
        if (!is_in_a || !is_in_b) {
            const Entry& lacking = is_in_a ? b : a;
            if (kind == "weight" && lacking.tensors.contains("master")) {
                ++weights_without_pair_;
                return;
            }
        }
        TensorDifference difference{name, kind, std::nullopt, std::nullopt, 0, {}};
        if (is_in_a) {
            difference.a = Form{in_a->second.dtype, in_a->second.shape};
        }
        if (is_in_b) {
            difference.b = Form{in_b->second.dtype, in_b->second.shape};
        }
        result_.tensors.push_back(std::move(difference));
    }

    void expect_same(const std::string& where, const std::string& name, std::optional<model::Scalar> a,
                     std::optional<model::Scalar> b) {
        if (a.has_value() != b.has_value() || (a && !same(*a, *b))) {
            result_.values.push_back({where, name, std::move(a), std::move(b)});
        }
    }

    static TiedSets tied_sets(const Side& side) {
        TiedSets sets;
        for (const auto& [name, of] : side.tied) {
            sets[of].insert({of, name});
        }
        return sets;
    }

    /// The other names of the same tensor, of those that both sides have.
    static std::string others(const TiedSets& sets, const std::string& owner, const std::string& name,
                              const std::map<std::string, const Entry*>& elsewhere) {
        const auto set = sets.find(owner);
        std::vector<std::string> names;
        if (set != sets.end()) {
            for (const std::string& other : set->second) {
                if (other != name && elsewhere.contains(other)) {
                    names.push_back(other);
                }
            }
        }
        return joined(names, ", ");
    }

    void match_tied() {
        const TiedSets sets_a = tied_sets(a_);
        const TiedSets sets_b = tied_sets(b_);
        for (const auto& [name, entry] : by_name_a_) {
            const auto in_b = by_name_b_.find(name);
            if (in_b != by_name_b_.end()) {
                expect_same(name, "tied to", model::Scalar(others(sets_a, entry->name, name, by_name_b_)),
                            model::Scalar(others(sets_b, in_b->second->name, name, by_name_a_)));
            }
        }
    }

    static std::set<std::string> places_of_numbers(const Side& side) {
        std::set<std::string> places;
        for (const Number& number : side.numbers) {
            places.insert(number.where);
        }
        return places;
    }

    void match_numbers() {
        using Key = std::pair<std::string, std::string>;
        std::map<Key, const model::Scalar*> in_b;
        for (const Number& number : b_.numbers) {
            in_b.emplace(Key(number.where, number.name), &number.value);
        }
        const bool same_format = a_.format == b_.format;
        const std::set<std::string> places_a = places_of_numbers(a_);
        const std::set<std::string> places_b = places_of_numbers(b_);
        // A group that one side does not have is one difference, not one for each of its numbers.
        for (const std::string& place : places_a) {
            if (same_format && !places_b.contains(place)) {
                expect_same("", place, model::Scalar(std::string("there")), std::nullopt);
            }
        }
        for (const std::string& place : places_b) {
            if (same_format && !places_a.contains(place)) {
                expect_same("", place, std::nullopt, model::Scalar(std::string("there")));
            }
        }
        for (const Number& number : a_.numbers) {
            if (same_format && !places_b.contains(number.where)) {
                continue;
            }
            const auto other = in_b.find({number.where, number.name});
            if (other != in_b.end()) {
                ++result_.numbers;
                expect_same(number.where, number.name, number.value, *other->second);
                in_b.erase(other);
            } else if (same_format) {
                expect_same(number.where, number.name, number.value, std::nullopt);
            } else {
                ++numbers_without_pair_;
            }
        }
        for (const Number& number : b_.numbers) {
            const bool is_said = same_format && !places_a.contains(number.where);
            if (is_said || !in_b.contains({number.where, number.name})) {
                continue;
            }
            if (same_format) {
                expect_same(number.where, number.name, std::nullopt, number.value);
            } else {
                ++numbers_without_pair_;
            }
        }
    }

    Result<void> compare_all(std::size_t threads) {
        std::size_t blocks = 0;
        std::uint64_t total = 0;
        for (Pair& pair : pairs_) {
            pair.first_block = blocks;
            blocks += (pair.a->numel + block_numel - 1) / block_numel;
            total += pair.a->numel * (model::itemsize(pair.a->dtype) + model::itemsize(pair.b->dtype));
        }
        work_.total = total;
        result_.nbytes = total;
        std::optional<std::pair<std::size_t, Error>> failed;
        for_each_in_parallel(blocks, threads, [&](std::size_t block) {
            auto done = compare_block(block);
            if (!done) {
                const std::lock_guard lock(mutex_);
                if (!failed || block < failed->first) {
                    failed.emplace(block, done.error());
                }
            }
            return done.ok();
        });
        return failed ? Result<void>(failed->second) : Result<void>();
    }

    Result<void> compare_block(std::size_t block) {
        // The last pair that begins at or before this block: one without elements begins where the next one does.
        const auto after = std::upper_bound(pairs_.begin(), pairs_.end(), block,
                                            [](std::size_t at, const Pair& pair) { return at < pair.first_block; });
        Pair& pair = *(after - 1);
        const std::uint64_t from = (block - pair.first_block) * block_numel;
        const std::uint64_t count = std::min(block_numel, pair.a->numel - from);
        Blocks held = spare_.take();
        CKPTFS_TRY(read(*pair.a, from, count, held.a));
        CKPTFS_TRY(read(*pair.b, from, count, held.b));
        const Deviation found = compare(pair.a->dtype, held.a, pair.b->dtype, held.b);
        work_.nbytes += held.a.size() + held.b.size();
        spare_.give(std::move(held));
        const std::lock_guard lock(mutex_);
        pair.found.add(found);
        return {};
    }

    void summarise() {
        for (const Pair& pair : pairs_) {
            auto summary = std::find_if(result_.kinds.begin(), result_.kinds.end(),
                                        [&](const KindSummary& known) { return known.kind == pair.kind; });
            if (summary == result_.kinds.end()) {
                summary = result_.kinds.insert(result_.kinds.end(), {pair.kind, 0, 0, 0, {}});
            }
            const bool differs = pair.found.different > 0 || pair.a->dtype != pair.b->dtype;
            ++summary->tensors;
            summary->tensors_different += differs ? 1U : 0U;
            summary->numel += pair.a->numel;
            summary->elements.add(pair.found);
            if (differs) {
                result_.tensors.push_back({pair.name, pair.kind, Form{pair.a->dtype, pair.a->shape},
                                           Form{pair.b->dtype, pair.b->shape}, pair.a->numel, pair.found});
            }
        }
    }

    void add_notes() {
        if (weights_without_pair_ > 0) {
            result_.notes.push_back("weights of " + counted(weights_without_pair_, "parameter") +
                                    " stand on one side only, the other (ZeRO-3) keeps masters alone: the masters were "
                                    "compared");
        }
        if (numbers_without_pair_ > 0) {
            result_.notes.push_back(
                counted(numbers_without_pair_, "counter or hyper-parameter", "counters and hyper-parameters") +
                " stand on one side only, since formats (" + a_.format + ", " + b_.format + ") keep different ones");
        }
        for (const Side* side : {&a_, &b_}) {
            for (const std::string& gap : side->not_held) {
                result_.notes.push_back(side->display + ": not compared: " + gap);
            }
        }
    }

    const Side& a_;
    const Side& b_;
    Work& work_;
    std::map<std::string, const Entry*> by_name_a_;
    std::map<std::string, const Entry*> by_name_b_;
    std::vector<Pair> pairs_;
    std::mutex mutex_;  // guards what pairs_ have found while threads run
    SpareBlocks spare_;
    std::uint64_t weights_without_pair_ = 0;
    std::uint64_t numbers_without_pair_ = 0;
    Difference result_;
};

}  // namespace

Result<Difference> find_difference(const Side& a, const Side& b, std::size_t threads, Work& work) {
    return Comparison(a, b, work).run(threads);
}

}  // namespace ckptfs::diff
