# ckptfs_layer(NAME DEPENDENCIES...): the static library ckptfs_NAME from src/NAME/*.cpp.
# ckptfs_warnings(TARGET): the project's warnings and sanitizers for one target.

function(ckptfs_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
                         -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual -Wcast-qual)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-restrict)  # false for "literal" + std::string when optimised (GCC bug 105651)
  endif()
  if(CKPTFS_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(CKPTFS_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${CKPTFS_SANITIZE} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${CKPTFS_SANITIZE})
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
      # False where sanitizers keep the optimiser from seeing all paths (GCC's manual, -fsanitize); release builds have it.
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
      # With these GCC takes twice as long. The build for the thread sanitizer, which is clang's, has them.
      target_compile_options(${target} PRIVATE -fno-sanitize=alignment,null,object-size,pointer-overflow)
    endif()
    # It asks by a pipe whether memory is there, which the thread sanitizer takes for a race of descriptors.
    target_compile_options(${target} PRIVATE -fno-sanitize=vptr)
  endif()
endfunction()

function(ckptfs_layer name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(sources)
    set(scope PUBLIC)
    add_library(ckptfs_${name} STATIC ${sources})
    ckptfs_warnings(ckptfs_${name})
  else()
    set(scope INTERFACE)
    add_library(ckptfs_${name} INTERFACE)
  endif()
  target_compile_features(ckptfs_${name} ${scope} cxx_std_20)
  target_include_directories(ckptfs_${name} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(ckptfs_${name} ${scope} ${ARGN})
endfunction()
