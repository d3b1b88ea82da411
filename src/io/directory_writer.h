// A SourceWriter over the directory of a DirectorySource.
#pragma once

#include <memory>

#include "io/descriptor_pool.h"
#include "io/root_directory.h"
#include "io/source_writer.h"
#include "io/system_calls.h"

namespace ckptfs::io {

/// Everything is done on what one descriptor of `root` leads to, as the caller: the kernel decides who may go the way,
/// too. Needs /proc. `pool`: gives its descriptors back where the process has none left.
std::shared_ptr<const SourceWriter> directory_writer(std::shared_ptr<const SystemCalls> calls,
                                                     std::shared_ptr<const RootDirectory> root,
                                                     std::shared_ptr<DescriptorPool> pool);

}  // namespace ckptfs::io
