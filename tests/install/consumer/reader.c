/* reader CHECKPOINT DIRECTORY OPTION...: prints name, size and kind of the files in a directory of a view, all of whose bytes
   it reads. */
#include <ckptfs/ckptfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ckptfs_tree* tree;
static char directory[1024];

static int failed(ckptfs_failure* failure) {
    fprintf(stderr, "%s (code %d, errno %d)\n", failure->message, failure->code, failure->system_errno);
    ckptfs_free(failure->message);
    return 1;
}

static int print(void* context, const char* name, uint32_t type) {
    char path[2048];
    ckptfs_file* file = NULL;
    ckptfs_attributes attributes;
    ckptfs_failure failure;
    void* bytes;
    int* errors = context;
    (void)type;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (ckptfs_tree_attributes(tree, path, 1, &attributes, &failure) != 0 ||
        ckptfs_tree_open_file(tree, path, &file, &failure) != 0) {
        *errors += failed(&failure);
        return 0;
    }
    bytes = malloc(attributes.size);
    if (ckptfs_file_read(file, 0, bytes, attributes.size, &failure) != 0) {
        *errors += failed(&failure);
    } else {
        printf("%s %lu %s\n", name, (unsigned long)ckptfs_file_nbytes(file),
               ckptfs_file_is_virtual(file) ? "virtual" : "real");
    }
    free(bytes);
    ckptfs_file_close(file);
    return 0;
}

int main(int argc, char** argv) {
    ckptfs_failure failure;
    int errors = 0;
    if (argc < 3 || ckptfs_interface_version() != CKPTFS_INTERFACE_VERSION) {
        return 2;
    }
    strncpy(directory, argv[2], sizeof directory - 1);
    if (ckptfs_tree_open(argv[1], (const char* const*)argv + 3, (size_t)argc - 3, NULL, NULL, &tree, &failure) != 0) {
        return failed(&failure);
    }
    if (ckptfs_tree_list(tree, directory, print, &errors, &failure) != 0) {
        errors += failed(&failure);
    }
    ckptfs_tree_close(tree);
    return errors == 0 ? 0 : 1;
}
