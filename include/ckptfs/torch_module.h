/* The border to PyTorch's reader of .pt files: a C interface without libtorch's headers, exceptions or C++ ABI. The
   module ckptfs_torch exports it; a program with a PyTorch of its own can have one of its own. */
#ifndef CKPTFS_TORCH_MODULE_H
#define CKPTFS_TORCH_MODULE_H

/* NOLINTBEGIN(modernize-deprecated-headers): C */
#include <stddef.h>
#include <stdint.h>
/* NOLINTEND(modernize-deprecated-headers) */

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever anything below does: a module of another version is refused. */
#define CKPTFS_TORCH_INTERFACE_VERSION 1

/* The file to read, as the caller sees it. */
struct CkptfsTorchFile {
    void* context;
    uint64_t nbytes;
    /* Fills `out` whole and returns 0, or returns another number. Must not throw. */
    int (*read)(void* context, uint64_t offset, void* out, uint64_t nbytes);
};

/* Receives what libtorch read: a record's bytes from first to last, in one or more chunks (one empty chunk if it has
   none). */
struct CkptfsTorchSink {
    void* context;
    /* `name` is without the archive's root directory. Returns 0 to go on, another number to stop. Must not throw. */
    int (*chunk)(void* context, const char* name, uint64_t offset, uint64_t record_nbytes, const void* bytes,
                 uint64_t nbytes);
};

/* What read_all_records() returns. */
#define CKPTFS_TORCH_READ 0     /* whole */
#define CKPTFS_TORCH_REFUSED 1  /* libtorch does not read this file */
#define CKPTFS_TORCH_UNUSABLE 2 /* which says nothing of the file: there is no libtorch, or no memory */

/* Functions may be called from several threads at once. */
struct CkptfsTorchModule {
    uint32_t interface_version;
    /* Of the libtorch that it reads with: "2.13.0". */
    const char* torch_version;
    /* Opens `file` with PyTorch's PyTorchStreamReader and reads every record whole. Holds 1 MiB of it at a time (a
       libtorch that cannot stream: one record). Unless CKPTFS_TORCH_READ is returned, a terminated text of at most
       `error_nbytes` - 1 bytes is in `error`. */
    int (*read_all_records)(const struct CkptfsTorchFile* file, const struct CkptfsTorchSink* sink, char* error,
                            size_t error_nbytes);
};

/* The only symbol of the module ckptfs_torch. Never null. */
const struct CkptfsTorchModule* ckptfs_torch_module(void);

#ifdef __cplusplus
}
#endif

#endif
