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
    /// `keeps_bytes` false: for their number alone.
    explicit Framer(int protocol, bool keeps_bytes = true)
        : framing_(protocol >= first_framed_protocol), keeps_bytes_(keeps_bytes) {
        append_number(static_cast<std::uint8_t>(Op::proto), 1);
        append_number(static_cast<unsigned>(protocol), 1);
    }

    [[nodiscard]] std::size_t size() const { return keeps_bytes_ ? bytes_.size() : nbytes_; }

    void write(std::string_view bytes) {
        begin_frame();
        append(bytes);
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

    [[nodiscard]] std::size_t frame_length() const { return size() - frame_start_ - header; }

    void begin_frame() {
        if (framing_ && !in_frame_) {
            in_frame_ = true;
            frame_start_ = size();
            append(std::string_view("\0\0\0\0\0\0\0\0\0", header));
        }
    }

    void append(std::string_view bytes) {
        if (keeps_bytes_) {
            bytes_.append(bytes);
        } else {
            nbytes_ += bytes.size();
        }
    }

    void append_number(std::uint64_t value, unsigned width) {
        if (!keeps_bytes_) {
            nbytes_ += width;
            return;
        }
        for (; width > 0; --width, value >>= 8U) {
            bytes_.push_back(static_cast<char>(value & 0xffU));
        }
    }

    void end_frame();

    std::string bytes_;
    bool framing_;
    bool keeps_bytes_;
    std::size_t nbytes_ = 0;  // where they are not kept
    bool in_frame_ = false;
    std::size_t frame_start_ = 0;
};

}  // namespace ckptfs::pickle
