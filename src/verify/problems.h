// What verification found wrong: the first problems in full, the rest counted.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "util/printable.h"

namespace ckptfs::verify {

class Problems {
 public:
    /// A checkpoint whose every element is wrong must not fill memory with sentences.
    static constexpr std::size_t max_kept = 20;

    void add(const std::string& sentence) {
        ++count_;
        if (kept_.size() < max_kept) {
            kept_.push_back(printable(sentence));  // libtorch quotes what it finds in a damaged file as it is
        }
    }

    /// Those of `other` behind these.
    void add(const Problems& other) {
        const std::size_t unkept = other.count_ - other.kept_.size();
        for (const std::string& sentence : other.kept_) {
            add(sentence);
        }
        count_ += unkept;
    }

    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] const std::vector<std::string>& kept() const { return kept_; }

 private:
    std::size_t count_ = 0;
    std::vector<std::string> kept_;
};

}  // namespace ckptfs::verify
