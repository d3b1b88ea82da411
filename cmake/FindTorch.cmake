# Finds libtorch: -DTorch_ROOT, else the torch of the active Python, else Debian's libtorch-dev.
# PyTorch's own CMake package is not used: it aborts on a CUDA build where the CUDA toolkit is missing.
# Provides Torch::c10 (libc10, headers, the C++ ABI they were built with), Torch::cpu (libtorch_cpu too), Torch_VERSION.

# A found torch stays found when CMake runs again by itself, in whatever environment; `cmake --fresh` looks anew.
if(NOT "${Torch_ROOT}" STREQUAL "${_Torch_ROOT_USED}" OR NOT EXISTS "${Torch_CPU_LIBRARY}" OR NOT EXISTS "${Torch_C10_LIBRARY}"
   OR NOT EXISTS "${Torch_INCLUDE_DIR}")
  set(_Torch_ROOT_USED "${Torch_ROOT}" CACHE INTERNAL "The Torch_ROOT that the cached paths come from")
  if(Torch_ROOT)
    set(_torch_roots ${Torch_ROOT})
  else()
    # "Active" means the virtual environment, else the first on PATH; CMake by itself would look beside its own installation first.
    set(_torch_roots /usr)
    find_program(_torch_python NAMES python3 python PATHS $ENV{VIRTUAL_ENV}/bin ENV PATH NO_DEFAULT_PATH NO_CACHE)
    if(_torch_python)
      execute_process(
        COMMAND ${_torch_python} -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
        OUTPUT_VARIABLE _torch_python_root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(_torch_python_root)
        list(PREPEND _torch_roots ${_torch_python_root})
      endif()
    endif()
  endif()
  foreach(_root IN LISTS _torch_roots)
    unset(Torch_CPU_LIBRARY CACHE)
    unset(Torch_C10_LIBRARY CACHE)
    unset(Torch_INCLUDE_DIR CACHE)
    find_library(Torch_CPU_LIBRARY torch_cpu PATHS ${_root} PATH_SUFFIXES lib lib/${CMAKE_LIBRARY_ARCHITECTURE} NO_DEFAULT_PATH)
    find_library(Torch_C10_LIBRARY c10 PATHS ${_root} PATH_SUFFIXES lib lib/${CMAKE_LIBRARY_ARCHITECTURE} NO_DEFAULT_PATH)
    find_path(Torch_INCLUDE_DIR caffe2/serialize/inline_container.h PATHS ${_root} PATH_SUFFIXES include NO_DEFAULT_PATH)
    if(Torch_CPU_LIBRARY AND Torch_C10_LIBRARY AND Torch_INCLUDE_DIR)
      break()
    endif()
  endforeach()
endif()

set(Torch_VERSION "")
foreach(_header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(Torch_INCLUDE_DIR AND NOT Torch_VERSION AND EXISTS ${Torch_INCLUDE_DIR}/${_header})
    file(STRINGS ${Torch_INCLUDE_DIR}/${_header} _torch_version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
    string(REGEX MATCHALL "[0-9]+" _torch_version_numbers "${_torch_version_lines}")
    list(JOIN _torch_version_numbers "." Torch_VERSION)
  endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Torch
  REQUIRED_VARS Torch_CPU_LIBRARY Torch_C10_LIBRARY Torch_INCLUDE_DIR
  VERSION_VAR Torch_VERSION
  REASON_FAILURE_MESSAGE "install Debian's libtorch-dev, activate a Python that has torch, or pass -DTorch_ROOT=DIR")

if(Torch_FOUND AND NOT TARGET Torch::cpu)
  # Old wheels were built with the C++ ABI from before GCC 5: their symbols have no "cxx11" in them.
  file(STRINGS ${Torch_C10_LIBRARY} _torch_cxx11_symbol REGEX "cxx11" LIMIT_COUNT 1)
  set(_torch_abi 1)
  if(NOT _torch_cxx11_symbol)
    set(_torch_abi 0)
  endif()
  add_library(Torch::c10 INTERFACE IMPORTED)
  target_include_directories(Torch::c10 SYSTEM INTERFACE ${Torch_INCLUDE_DIR})
  target_compile_definitions(Torch::c10 INTERFACE _GLIBCXX_USE_CXX11_ABI=${_torch_abi})
  target_link_libraries(Torch::c10 INTERFACE ${Torch_C10_LIBRARY})
  add_library(Torch::cpu INTERFACE IMPORTED)
  target_link_libraries(Torch::cpu INTERFACE ${Torch_CPU_LIBRARY} Torch::c10)
endif()
