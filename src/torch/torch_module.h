// The border to libtorch: a C interface without its headers, exceptions or C++ ABI, exported by the module
// ckptfs_torch.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

/// Changes whenever anything below does: a loader refuses a module of another version.
inline constexpr std::uint32_t ckptfs_torch_interface_version = 1;

/// The file to read, as the caller sees it.
struct CkptfsTorchFile {
    void* context;
    std::uint64_t nbytes;
    /// Fills `out` whole and returns 0, or returns another number. Must not throw.
    int (*read)(void* context, std::uint64_t offset, void* out, std::uint64_t nbytes);
};

/// Receives what libtorch read: a record's bytes from first to last, in one or more chunks (one empty chunk if it has
/// none).
struct CkptfsTorchSink {
    void* context;
    /// `name` is without the archive's root directory. Returns 0 to go on, another number to stop. Must not throw.
    int (*chunk)(void* context, const char* name, std::uint64_t offset, std::uint64_t record_nbytes, const void* bytes,
                 std::uint64_t nbytes);
};

/// Functions may be called from several threads at once.
struct CkptfsTorchModule {
    std::uint32_t interface_version;
    /// Of the libtorch that the module was built with: "2.13.0".
    const char* torch_version;
    /// Opens `file` with caffe2::serialize::PyTorchStreamReader and reads every record whole.
    /// Holds 1 MiB of it at a time (a libtorch that cannot stream: one record).
    /// Returns 0, or another number with a terminated text of at most `error_nbytes` - 1 bytes in `error`.
    int (*read_all_records)(const CkptfsTorchFile* file, const CkptfsTorchSink* sink, char* error,
                            std::size_t error_nbytes);
};

/// The module's only symbol. Never null.
const CkptfsTorchModule* ckptfs_torch_module();
}
