// The bytes of a pickle being written, cut into frames from protocol 4 on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "pt/pickle_opcodes.h"

namespace ckptfs::pickle {

/// Places frames as _Pickler_OpcodeBoundary and _Pickler_write_bytes of CPython do.
class Framer {
 public:
    explicit Framer(int protocol) : framing_(protocol >= first_framed_protocol) {
        bytes_ = {static_cast<char>(Op::proto), static_cast<char>(protocol)};
    }

    [[nodiscard]] std::size_t size() const { return bytes_.size(); }

    void write(std::string_view bytes) {
        begin_frame();
        bytes_.append(bytes);
    }

    /// The low `width` bytes of `value`, little-endian.
    void write_number(std::uint64_t value, unsigned width) {
        begin_frame();
        append_number(value, width);
    }

    /// A string with the opcode and length before it; out of any frame when it is large.
    void write_counted(Op op, std::string_view payload, unsigned length_width);

    /// A value begins here: a full frame ends.
    void boundary() {
        if (in_frame_ && frame_length() >= target) {
            end_frame();
        }
    }

    /// After this nothing more may be written.
    void finish() { end_frame(); }

    [[nodiscard]] std::string bytes() && { return std::move(bytes_); }

 private:
    static constexpr std::size_t target = std::size_t{64} * 1024;
    static constexpr std::size_t minimum = 4;
    static constexpr std::size_t header = 9;

    [[nodiscard]] std::size_t frame_length() const { return bytes_.size() - frame_start_ - header; }

    void begin_frame() {
        if (framing_ && !in_frame_) {
            in_frame_ = true;
            frame_start_ = bytes_.size();
            bytes_.append(header, '\0');
        }
    }

    void append_number(std::uint64_t value, unsigned width) {
        for (; width > 0; --width, value >>= 8U) {
            bytes_.push_back(static_cast<char>(value & 0xffU));
        }
    }

    void end_frame();

    std::string bytes_;
    bool framing_;
    bool in_frame_ = false;
    std::size_t frame_start_ = 0;
};

}  // namespace ckptfs::pickle
