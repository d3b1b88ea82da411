// The module ckptfs_torch, loaded on first use: libtorch costs a third of a second and 100 MB, which a mount never
// pays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ckptfs/result.h"
#include "ckptfs/source.h"

struct CkptfsTorchModule;

namespace ckptfs {

/// libtorch as an independent second reader. Safe for concurrent use.
class TorchModule {
 public:
    /// Of one record of a .pt (`name` without the archive's root directory): the bytes from `offset` on, in order.
    /// A record arrives in one or more chunks; an empty one as one empty chunk. An error ends the reading.
    using ChunkVisitor = std::function<Result<void>(std::string_view name, std::uint64_t offset,
                                                    std::uint64_t record_nbytes, std::span<const std::byte> bytes)>;

    /// From default_directories(); one instance per process, which stays loaded. `not_found` when there is no module,
    /// `internal` when it is not of this build.
    static Result<std::shared_ptr<const TorchModule>> load();
    /// From the first of `directories` that has it.
    static Result<std::shared_ptr<const TorchModule>> load_from(const std::vector<std::filesystem::path>& directories);

    /// Of whoever has one, which stays as long as this is used. `name`: for the message where it is of another version
    /// (`internal`).
    static Result<std::shared_ptr<const TorchModule>> of(const CkptfsTorchModule& module, const std::string& name);

    /// Beside the running program (the build tree), then in lib/ckptfs of the prefix that it is installed in, then
    /// where this build installs it, if it has one (programs that use ckptfs as a library).
    [[nodiscard]] static std::vector<std::filesystem::path> default_directories();

    /// Of the libtorch behind the module: "2.13.0".
    [[nodiscard]] std::string_view torch_version() const;

    /// Opens `file` through libtorch's PyTorchStreamReader and reads every record to its end.
    /// `damaged` with libtorch's words where it refuses the file, `io` where it cannot read any; errors of `file` and
    /// of `visit` come back as they are.
    Result<void> read_all_records(const File& file, const ChunkVisitor& visit = {}) const;

 private:
    explicit TorchModule(const CkptfsTorchModule* module) : module_(module) {}

    const CkptfsTorchModule* module_;
};

}  // namespace ckptfs
