# ckptfs_layer(NAME DEPENDENCIES...): the static library ckptfs_NAME from src/NAME/*.cpp.
# ckptfs_warnings(TARGET): the project's warnings and sanitizers for one target.

function(ckptfs_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
                         -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual -Wcast-qual)
  if(CKPTFS_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(CKPTFS_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${CKPTFS_SANITIZE} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${CKPTFS_SANITIZE})
  endif()
endfunction()

function(ckptfs_layer name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(NOT sources)
    add_library(ckptfs_${name} INTERFACE)
    target_include_directories(ckptfs_${name} INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(ckptfs_${name} INTERFACE ${ARGN})
    return()
  endif()
  add_library(ckptfs_${name} STATIC ${sources})
  target_include_directories(ckptfs_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(ckptfs_${name} PUBLIC ${ARGN})
  ckptfs_warnings(ckptfs_${name})
endfunction()
