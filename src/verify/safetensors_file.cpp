// Header, bounds, overlaps and gaps.
#include "verify/safetensors_file.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "util/checked.h"
#include "util/text.h"

namespace ckptfs::verify {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t length_nbytes = 8;
constexpr std::uint64_t max_header_nbytes = 100'000'000;
constexpr std::string_view metadata_key = "__metadata__";

struct FormatType {
    std::string_view name;
    model::DType dtype;
    std::uint64_t values_per_element;  ///< torch packs two values of F4 into one element
};

constexpr std::array<FormatType, 19> format_types{{
    {"BOOL", model::DType::boolean, 1},
    {"U8", model::DType::uint8, 1},
    {"I8", model::DType::int8, 1},
    {"F8_E5M2", model::DType::float8_e5m2, 1},
    {"F8_E4M3", model::DType::float8_e4m3fn, 1},
    {"F8_E5M2FNUZ", model::DType::float8_e5m2fnuz, 1},
    {"F8_E4M3FNUZ", model::DType::float8_e4m3fnuz, 1},
    {"F8_E8M0", model::DType::float8_e8m0fnu, 1},
    {"F4", model::DType::float4_e2m1fn_x2, 2},
    {"I16", model::DType::int16, 1},
    {"U16", model::DType::uint16, 1},
    {"F16", model::DType::float16, 1},
    {"BF16", model::DType::bfloat16, 1},
    {"I32", model::DType::int32, 1},
    {"U32", model::DType::uint32, 1},
    {"F32", model::DType::float32, 1},
    {"F64", model::DType::float64, 1},
    {"I64", model::DType::int64, 1},
    {"U64", model::DType::uint64, 1},
}};

class Header {
 public:
    explicit Header(const File& file) : file_(file) {}

    Result<SafetensorsFile> read() {
        CKPTFS_ASSIGN(const Json root, parse());
        SafetensorsFile result;
        for (const auto& [name, value] : root.items()) {
            if (name == metadata_key) {
                CKPTFS_ASSIGN(result.metadata, metadata(value));
                continue;
            }
            CKPTFS_ASSIGN(ShownTensor tensor, this->tensor(name, value));
            result.tensors.push_back(std::move(tensor));
        }
        CKPTFS_TRY(check_coverage(result.tensors));
        return result;
    }

 private:
    [[nodiscard]] Error damaged(const std::string& what) const {
        return {ErrorCode::damaged, in_quotes(file_.name()) + ": " + what};
    }

    Result<Json> parse() {
        std::array<std::byte, length_nbytes> length{};
        if (file_.size() < length_nbytes) {
            return damaged("shorter than the length of a safetensors header");
        }
        CKPTFS_TRY(file_.read(0, length));
        std::uint64_t nbytes = 0;
        for (std::size_t index = length.size(); index > 0; --index) {
            nbytes = nbytes << 8U | std::to_integer<std::uint64_t>(length.at(index - 1));
        }
        if (nbytes > max_header_nbytes || nbytes > file_.size() - length_nbytes) {
            return damaged("a header of " + std::to_string(nbytes) +
                           " bytes is longer than the file, or than readers take");
        }
        data_offset_ = length_nbytes + nbytes;
        std::string text(nbytes, '\0');
        CKPTFS_TRY(file_.read(length_nbytes, std::as_writable_bytes(std::span(text))));
        if (!text.starts_with('{')) {
            return damaged("its header does not begin with '{'");
        }
        text.erase(text.find_last_not_of(' ') + 1);
        if (!text.ends_with('}')) {
            return damaged("its header is padded with something else than spaces");
        }
        return parse(text);
    }

    /// nlohmann_json takes the last of equal keys without a word.
    Result<Json> parse(const std::string& text) {
        std::optional<std::string> duplicate;
        std::vector<std::set<std::string>> open;
        const auto visit = [&](int /*depth*/, Json::parse_event_t event, Json& value) {
            if (event == Json::parse_event_t::object_start) {
                open.emplace_back();
            } else if (event == Json::parse_event_t::object_end) {
                open.pop_back();
            } else if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second) {
                duplicate = value.get<std::string>();
            }
            return true;
        };
        Json result = Json::parse(text, visit, false);
        if (!result.is_object()) {
            return damaged("its header is no JSON object");
        }
        if (duplicate) {
            return damaged("its header has the key " + in_quotes(*duplicate) + " twice");
        }
        return result;
    }

    Result<std::map<std::string, std::string>> metadata(const Json& value) const {
        std::map<std::string, std::string> result;
        for (const auto& [key, text] : value.items()) {
            if (!value.is_object() || !text.is_string()) {
                return damaged("its metadata are not a map from text to text");
            }
            result.emplace(key, text.get<std::string>());
        }
        return result;
    }

    Result<ShownTensor> tensor(const std::string& name, const Json& value) {
        const auto malformed = [&](const std::string& what) {
            return damaged("tensor " + in_quotes(name) + ": " + what);
        };
        if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
            !value.contains("data_offsets") || !value["dtype"].is_string()) {
            return malformed("has other members than dtype, shape and data_offsets");
        }
        const auto* const type = std::find_if(format_types.begin(), format_types.end(), [&](const FormatType& known) {
            return known.name == value["dtype"].get_ref<const std::string&>();
        });
        if (type == format_types.end()) {
            return malformed("the dtype " + in_quotes(value["dtype"].get<std::string>()) +
                             " is not one of the format's");
        }
        const auto shape = numbers(value["shape"]);
        const auto offsets = numbers(value["data_offsets"]);
        if (!shape || !offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
            return malformed("its shape or its offsets are not whole numbers of which the second offset is the larger");
        }
        ShownTensor result{.name = name, .dtype = type->dtype, .shape = *shape, .offset = 0};
        if (type->values_per_element > 1) {
            if (shape->empty() || shape->back() % type->values_per_element != 0) {
                return malformed("its last extent is not a whole number of bytes");
            }
            result.shape.back() /= type->values_per_element;
        }
        std::optional<std::uint64_t> nbytes = model::itemsize(type->dtype);
        for (const std::uint64_t extent : result.shape) {
            nbytes = nbytes ? checked_multiply(*nbytes, extent) : std::nullopt;
        }
        const auto [begin, end] = std::pair((*offsets)[0], (*offsets)[1]);
        if (nbytes != end - begin) {
            return malformed("has " + std::to_string(end - begin) + " bytes, which its dtype and shape do not come to");
        }
        if (end > file_.size() - data_offset_) {
            return malformed("ends behind the end of the file");
        }
        result.offset = data_offset_ + begin;
        ends_.emplace_back(result.offset, data_offset_ + end, name);
        return result;
    }

    static std::optional<std::vector<std::uint64_t>> numbers(const Json& value) {
        std::vector<std::uint64_t> result;
        if (!value.is_array()) {
            return std::nullopt;
        }
        for (const Json& number : value) {
            if (!number.is_number_unsigned()) {
                return std::nullopt;
            }
            result.push_back(number.get<std::uint64_t>());
        }
        return result;
    }

    Result<void> check_coverage(std::vector<ShownTensor>& tensors) {
        std::sort(ends_.begin(), ends_.end());
        std::uint64_t end = data_offset_;
        for (const auto& [tensor_offset, tensor_end, name] : ends_) {
            if (tensor_offset != end) {
                return damaged("tensor " + in_quotes(name) + " begins at byte " + std::to_string(tensor_offset) +
                               " although the one before it ends at " + std::to_string(end));
            }
            end = tensor_end;
        }
        if (end != file_.size()) {
            return damaged("its tensors end at byte " + std::to_string(end) + " of " + std::to_string(file_.size()));
        }
        std::sort(tensors.begin(), tensors.end(), [](const ShownTensor& a, const ShownTensor& b) {
            return std::tie(a.offset, a.name) < std::tie(b.offset, b.name);
        });
        return {};
    }

    const File& file_;
    std::uint64_t data_offset_ = 0;
    std::vector<std::tuple<std::uint64_t, std::uint64_t, std::string>> ends_;
};

}  // namespace

Result<SafetensorsFile> read_safetensors(const File& file) {
    return Header(file).read();
}

}  // namespace ckptfs::verify
