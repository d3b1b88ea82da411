/* The C interface of ckptfs: views of a checkpoint read in process, and the commands that mount nothing. Needs neither
   FUSE nor Python; the library is libckptfs.so (-lckptfs).

   Every function may be called from several threads at once, but for the closing of what another thread still uses.
   Functions that return int return 0, or -1 after filling `failure`, which may be NULL where nobody wants to know.
   Strings are bytes that end in a zero byte, names of files among them; messages are UTF-8 as far as names are. Nothing
   that is thrown leaves the library, and it neither handles signals nor closes what it did not open. Opening a tree
   raises the process's soft limit of open files to the hard one. */
#ifndef CKPTFS_CKPTFS_H
#define CKPTFS_CKPTFS_H

/* NOLINTBEGIN(modernize-deprecated-headers,modernize-use-using,readability-identifier-naming): C */
#include <stddef.h>
#include <stdint.h>

#include "ckptfs/torch_module.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever anything below does that programs which use it would notice. */
#define CKPTFS_INTERFACE_VERSION 1

/* What a program can do about a failure. */
enum ckptfs_code {
    CKPTFS_INVALID_ARGUMENT = 0, /* something impossible was asked for: correct the call */
    CKPTFS_NOT_A_CHECKPOINT = 1, /* nothing here that ckptfs knows: point it elsewhere */
    CKPTFS_INCOMPLETE = 2,       /* files are missing or cut short: wait for the save, or take another tag */
    CKPTFS_DAMAGED = 3,          /* bytes contradict themselves: restore the file */
    CKPTFS_INCONSISTENT = 4,     /* files are whole but belong to different saves */
    CKPTFS_UNSUPPORTED = 5,      /* a layout that cannot be shown so (docs/support.md), or no regular file */
    CKPTFS_STALE = 6,            /* the source changed under an open file: open it again */
    CKPTFS_NOT_FOUND = 7,        /* no such file, or no directory where one is asked for */
    CKPTFS_IO = 8,               /* the operating system said no; system_errno tells what */
    CKPTFS_MOUNT = 9,            /* the mount point cannot be used */
    CKPTFS_VERIFICATION = 10,    /* `verify` found a difference */
    CKPTFS_INTERNAL = 11         /* a bug in ckptfs */
};

typedef struct ckptfs_failure {
    int code;         /* an enum ckptfs_code */
    int system_errno; /* what a system call would have failed with; never 0 */
    char* message;    /* a sentence for people; to be freed with ckptfs_free(). NULL where there is no memory for it */
} ckptfs_failure;

/* CKPTFS_INTERFACE_VERSION of the library. */
uint32_t ckptfs_interface_version(void);
/* Of ckptfs: "0.1.0". Valid for ever. */
const char* ckptfs_version(void);
/* Frees what a function made for its caller. NULL does nothing. */
void ckptfs_free(void* memory);

/* What a read-only mount of a SOURCE would show: the same names, attributes and bytes. A change of SOURCE is seen
   within a second, and by ckptfs_tree_open_file() at once. Paths are relative to its root, "" for that itself, with '/'
   between components; ".." is refused. Symbolic links on the way are followed. */
typedef struct ckptfs_tree ckptfs_tree;
/* One generation of a file: it keeps its bytes, or answers CKPTFS_STALE. */
typedef struct ckptfs_file ckptfs_file;

/* `words`: the options of `ckptfs SOURCE MOUNTPOINT` that say what is shown, such as "--world-size=8",
   "--view=weights", "--dtype=fp32", "--ds-config=FILE", "--allow-empty"; without any of them the tree has a directory
   for each view. Fails where no tag can be shown. `warn`, which may be NULL, receives sentences that its user should
   read, within this call. */
int ckptfs_tree_open(const char* source, const char* const* words, size_t word_count,
                     void (*warn)(void* context, const char* message), void* context, ckptfs_tree** out,
                     ckptfs_failure* failure);
/* Its files stay usable. NULL does nothing. */
void ckptfs_tree_close(ckptfs_tree* tree);

typedef struct ckptfs_attributes {
    uint64_t inode; /* of the path and the generation: another one where the bytes may be others */
    uint32_t mode;  /* type (S_IFMT) and permissions */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint64_t size;   /* bytes */
    uint64_t blocks; /* of 512 bytes */
    int64_t atime_ns;
    int64_t mtime_ns; /* since the epoch, as the others */
    int64_t ctime_ns;
} ckptfs_attributes;

/* `follow`: of what a symbolic link at the end of `path` leads to, rather than of the link. */
int ckptfs_tree_attributes(const ckptfs_tree* tree, const char* path, int follow, ckptfs_attributes* out,
                           ckptfs_failure* failure);
/* Hands the entries of the directory `path` to `take`, sorted by their names' bytes, without "." and ".."; `type` has
   the bits of S_IFMT, 0 where it cannot be told. Ends early, and successfully, when `take` returns another number
   than 0. */
int ckptfs_tree_list(const ckptfs_tree* tree, const char* path,
                     int (*take)(void* context, const char* name, uint32_t type), void* context,
                     ckptfs_failure* failure);
/* The text of the symbolic link `path`, to be freed with ckptfs_free(). */
int ckptfs_tree_read_link(const ckptfs_tree* tree, const char* path, char** out, ckptfs_failure* failure);
/* Links are followed. CKPTFS_UNSUPPORTED with EISDIR for a directory. A file of a tag that cannot be shown is a failure
   that says why. */
int ckptfs_tree_open_file(const ckptfs_tree* tree, const char* path, ckptfs_file** out, ckptfs_failure* failure);

/* NULL does nothing. */
void ckptfs_file_close(ckptfs_file* file);
uint64_t ckptfs_file_nbytes(const ckptfs_file* file);
/* 1: a file of a view, put together from pieces; 0: SOURCE's own file as it is. */
int ckptfs_file_is_virtual(const ckptfs_file* file);
/* Fills `out` with exactly `nbytes` from `offset` on, or fails; past the end is CKPTFS_INVALID_ARGUMENT. */
int ckptfs_file_read(const ckptfs_file* file, uint64_t offset, void* out, uint64_t nbytes, ckptfs_failure* failure);

/* Where a command writes, and whether it is to end. Any of the functions may be NULL: what it prints is lost, and it
   runs to its end. */
typedef struct ckptfs_streams {
    void* context;
    /* Takes `nbytes` bytes and returns 0, or another number where they cannot be written, which ends the command.
       Called from the calling thread; `error` from another one too, for the progress of `export`, but never from two
       at a time. */
    int (*out)(void* context, const char* bytes, size_t nbytes);
    int (*error)(void* context, const char* bytes, size_t nbytes);
    /* Another number than 0 ends the command soon, as a failure. Called from any of its threads, a few times a second
       while it reads. */
    int (*interrupted)(void* context);
    /* Whether both lead to one terminal or file, where nobody reads a sentence twice. */
    int streams_are_one;
} ckptfs_streams;

/* Runs a command line (without the program's name) that mounts nothing, such as inspect, check, verify, ls or cat, as
   the program does, relative paths from the working directory; a failure is a line on `error`, "ckptfs: ...".
   `reader`: what `verify` reads views with besides itself; NULL: the module ckptfs_torch. Returns the program's exit
   status (docs/cli.md), and fills `failure`, unless that is NULL, where it is not 0. */
int ckptfs_command(const char* const* words, size_t word_count, const ckptfs_streams* streams,
                   const struct CkptfsTorchModule* reader, ckptfs_failure* failure);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-deprecated-headers,modernize-use-using,readability-identifier-naming) */

#endif
