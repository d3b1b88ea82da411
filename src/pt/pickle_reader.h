// Reads the arguments of opcodes from a pickle's bytes, inside frames and out of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "util/checked.h"

namespace ckptfs::pickle {

/// Never reads past the end, nor past the frame that the position lies in. After a failed read the position is
/// unspecified.
class Reader {
 public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}

    [[nodiscard]] std::size_t position() const { return position_; }
    [[nodiscard]] bool at_end() const { return position_ == bytes_.size(); }

    std::optional<std::string_view> take(std::uint64_t length) {
        if (position_ == frame_end_) {
            frame_end_ = 0;
        }
        const std::size_t end = frame_end_ != 0 ? frame_end_ : bytes_.size();
        if (!fits(position_, length, end)) {
            return std::nullopt;
        }
        const std::string_view taken = bytes_.substr(position_, length);
        position_ += taken.size();
        return taken;
    }

    /// A little-endian unsigned number of `width` bytes.
    std::optional<std::uint64_t> number(unsigned width) {
        const auto taken = take(width);
        if (!taken) {
            return std::nullopt;
        }
        std::uint64_t value = 0;
        for (unsigned i = width; i-- > 0;) {
            value = value << 8U | static_cast<unsigned char>((*taken)[i]);
        }
        return value;
    }

    /// As many bytes as a number of `width` bytes before them says.
    std::optional<std::string_view> counted(unsigned width) {
        const auto length = number(width);
        return length ? take(*length) : std::nullopt;
    }

    /// Up to a newline, which is consumed and left out.
    std::optional<std::string_view> line() {
        const std::size_t newline = bytes_.find('\n', position_);
        if (newline == std::string_view::npos) {
            return std::nullopt;
        }
        auto taken = take(newline - position_ + 1);
        if (taken) {
            taken->remove_suffix(1);
        }
        return taken;
    }

    /// The next `length` bytes are a frame. False if they reach past the end or a frame is open.
    bool begin_frame(std::uint64_t length) {
        if ((frame_end_ != 0 && frame_end_ != position_) || !fits(position_, length, bytes_.size())) {
            return false;
        }
        frame_end_ = position_ + length;
        return true;
    }

 private:
    std::string_view bytes_;
    std::size_t position_ = 0;
    std::size_t frame_end_ = 0;  // 0: in no frame
};

}  // namespace ckptfs::pickle
