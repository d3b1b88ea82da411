// Runs one random case: files at A from the model, the product's view at N, compared with the model's files at N.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ckptfs/view.h"
#include "naive/random.h"
#include "naive/zero12_model.h"
#include "view/view_options.h"

namespace ckptfs::test {

using Files = std::map<std::string, std::string>;  // name in the tag directory -> bytes

/// All files of a save at `world_size`, as torch.save writes them.
[[nodiscard]] Files write_files(const naive::Save& save, std::uint64_t world_size, naive::Random& random);

/// The product's view of these files, laid into the directory "global_step7" of a source in memory.
struct Opened {
    std::shared_ptr<const Source> source;
    std::shared_ptr<const Tag> tag;
    std::shared_ptr<const View> view;
    std::string problem;  ///< why there is no view; else empty
};
[[nodiscard]] Opened open_view(const Files& files, std::uint64_t world_size, view::ViewOptions options);
[[nodiscard]] Opened open_view(const Files& files, std::uint64_t world_size, const naive::Checkpoint& checkpoint,
                               const naive::Settings* target);

/// The whole of a virtual file; throws std::runtime_error where it cannot be had.
[[nodiscard]] std::string read_whole(const View& view, std::size_t index);

/// What is wrong with file `name` whose bytes are `bytes` and whose object should be `expected`; empty when nothing is.
[[nodiscard]] std::string judge(const std::string& bytes, const std::string& name, const naive::Value& expected);

/// What goes wrong in the case of this seed, or an empty string.
[[nodiscard]] std::string run_case(std::uint64_t seed);
/// The same at a world size of 1,048,576, of which a few files are looked at.
[[nodiscard]] std::string run_huge_case(std::uint64_t seed);

}  // namespace ckptfs::test
