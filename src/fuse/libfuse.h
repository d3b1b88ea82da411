// libfuse's low-level header, and the version of it that this layer is written for.
#pragma once

#define FUSE_USE_VERSION 314

#include <fuse_lowlevel.h>
