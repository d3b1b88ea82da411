# Toolchain of the wheel that is given away: zig's clang and static libc++, for a glibc older than this machine's.
# mount_scripts/build_wheel.sh makes what it names: the tools, and the libraries in a prefix of their own, since headers
# that lie beside this machine's glibc would bring that glibc along.
set(_ckptfs_wheel ${CMAKE_CURRENT_LIST_DIR}/../../build/wheel)
get_filename_component(_ckptfs_wheel ${_ckptfs_wheel} ABSOLUTE)

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER ${_ckptfs_wheel}/bin/c++)
set(CMAKE_AR ${_ckptfs_wheel}/bin/ar)
set(CMAKE_RANLIB ${_ckptfs_wheel}/bin/ranlib)
# What CMake asks the compiler is compiled only: linking would compile the C++ library once more, for builds without optimisation.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_CXX_FLAGS_INIT "-ffile-prefix-map=${_ckptfs_wheel}/../..=. -ffunction-sections -fdata-sections")
# What is downloaded by every job; where time goes is in the kernel, in libdeflate and in loops that clang vectorises all the same.
set(CMAKE_CXX_FLAGS_RELEASE "-Os -DNDEBUG" CACHE STRING "Flags of optimised builds")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-s -pie -Wl,--gc-sections")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-s -Wl,--gc-sections")

set(CMAKE_FIND_ROOT_PATH ${_ckptfs_wheel}/prefix)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${_ckptfs_wheel}/prefix/lib/pkgconfig)
