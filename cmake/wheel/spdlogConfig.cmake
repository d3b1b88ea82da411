# spdlog and fmt for the wheel: their headers alone, since this machine's libraries of them belong to its glibc and C++ library.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
add_library(spdlog::spdlog INTERFACE IMPORTED)
get_filename_component(_spdlog_prefix ${CMAKE_CURRENT_LIST_DIR}/../../.. ABSOLUTE)
target_include_directories(spdlog::spdlog INTERFACE ${_spdlog_prefix}/include)
target_compile_definitions(spdlog::spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
target_link_libraries(spdlog::spdlog INTERFACE Threads::Threads)
