// Ends frames and lets large strings out of them.
#include "pt/pickle_framer.h"

namespace ckptfs::pickle {

void Framer::write_counted(Op op, std::string_view payload, unsigned length_width) {
    if (payload.size() >= target) {
        end_frame();
        append_number(static_cast<std::uint8_t>(op), 1);
        append_number(payload.size(), length_width);
        append(payload);
        return;
    }
    write_number(static_cast<std::uint8_t>(op), 1);
    append_number(payload.size(), length_width);
    append(payload);
}

void Framer::end_frame() {
    if (!in_frame_) {
        return;
    }
    in_frame_ = false;
    const std::uint64_t length = frame_length();
    if (!keeps_bytes_) {
        nbytes_ -= length < minimum ? header : 0;
        return;
    }
    if (length < minimum) {
        bytes_.erase(frame_start_, header);
        return;
    }
    bytes_[frame_start_] = static_cast<char>(Op::frame);
    for (unsigned i = 0; i < 8; ++i) {
        bytes_[frame_start_ + 1 + i] = static_cast<char>(length >> (8U * i) & 0xffU);
    }
}

}  // namespace ckptfs::pickle
