// DeepSpeed's rules of batch sizes (runtime/config.py _set_batch_related_parameters), solved for what is missing.
#include "report/batch_arithmetic.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "util/checked.h"
#include "zero/config.h"

namespace ckptfs::report {
namespace {

// Far above any batch; keeps the products below in 64 bits and the search for divisors short.
constexpr std::uint64_t most = 1'000'000'000'000;

struct Given {
    std::optional<std::uint64_t> value;
    bool automatic = false;
};

Result<Given> given(const nlohmann::json& config, const char* key) {
    const nlohmann::json& value = zero::setting(config, {key});
    if (value.is_null()) {
        return Given{};
    }
    if (value.is_string() && value.get<std::string>() == "auto") {
        return Given{std::nullopt, true};
    }
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > 0 && value.get<std::uint64_t>() <= most) {
        return Given{value.get<std::uint64_t>(), false};
    }
    if (value.is_number_integer() && value.get<std::int64_t>() > 0 &&
        value.get<std::int64_t>() <= static_cast<std::int64_t>(most)) {
        return Given{static_cast<std::uint64_t>(value.get<std::int64_t>()), false};
    }
    return Error(ErrorCode::invalid_argument, std::string(key) + " is " +
                                                  value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
                                                  ", but must be a whole number of at least 1");
}

std::string product(const Batch& batch, std::uint64_t dp_world_size) {
    return "train_batch_size is " + std::to_string(batch.train) + ", but train_micro_batch_size_per_gpu " +
           std::to_string(batch.micro) + " x gradient_accumulation_steps " + std::to_string(batch.accumulation) +
           " x " + std::to_string(dp_world_size) + " data-parallel ranks is another number";
}

}  // namespace

Result<std::optional<Batch>> batch_of(const nlohmann::json& config, std::uint64_t dp_world_size) {
    CKPTFS_ASSIGN(const Given train, given(config, "train_batch_size"));
    CKPTFS_ASSIGN(const Given micro, given(config, "train_micro_batch_size_per_gpu"));
    CKPTFS_ASSIGN(const Given accumulation, given(config, "gradient_accumulation_steps"));
    const bool automatic = train.automatic || micro.automatic || accumulation.automatic;
    if (automatic || (!train.value && !micro.value)) {
        return std::optional<Batch>();
    }
    Batch batch{train.value.value_or(0), micro.value.value_or(0), accumulation.value.value_or(0)};
    if (train.value && micro.value && !accumulation.value) {
        batch.accumulation = batch.train / batch.micro / dp_world_size;
    } else if (train.value && !micro.value) {
        batch.accumulation = accumulation.value.value_or(1);
        batch.micro = batch.train / dp_world_size / batch.accumulation;
    } else if (!train.value) {
        batch.accumulation = accumulation.value.value_or(1);
    }
    const auto passes = checked_multiply(batch.micro, batch.accumulation);
    const auto whole = passes ? checked_multiply(*passes, dp_world_size) : std::nullopt;
    if (!whole) {
        return Error(ErrorCode::invalid_argument, product(batch, dp_world_size));
    }
    if (!train.value) {
        batch.train = *whole;
    }
    if (*whole != batch.train || batch.train == 0) {
        return Error(ErrorCode::invalid_argument, product(batch, dp_world_size));
    }
    return std::optional(batch);
}

std::vector<Batch> batch_choices(std::uint64_t train, std::uint64_t micro, std::uint64_t dp_world_size) {
    std::vector<Batch> choices;
    if (train == 0 || train > most || train % dp_world_size != 0) {
        return choices;
    }
    const std::uint64_t per_rank = train / dp_world_size;
    for (std::uint64_t divisor = 1; divisor <= per_rank / divisor; ++divisor) {
        if (per_rank % divisor != 0) {
            continue;
        }
        choices.push_back({train, divisor, per_rank / divisor});
        if (divisor != per_rank / divisor) {
            choices.push_back({train, per_rank / divisor, divisor});
        }
    }
    std::sort(choices.begin(), choices.end(), [micro](const Batch& a, const Batch& b) {
        const bool a_fits = a.micro <= micro;
        const bool b_fits = b.micro <= micro;
        return a_fits != b_fits ? a_fits : (a_fits ? a.micro > b.micro : a.micro < b.micro);
    });
    choices.resize(std::min(choices.size(), max_batch_choices));
    return choices;
}

}  // namespace ckptfs::report
