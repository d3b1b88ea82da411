# Compiles the commit that `ckptfs --version` names in: nothing where PROJECT_SOURCE_DIR is no checkout of its own, as an unpacked sdist.

set(commit "")
find_program(CKPTFS_GIT git)
mark_as_advanced(CKPTFS_GIT)
if(CKPTFS_GIT AND EXISTS ${PROJECT_SOURCE_DIR}/.git)  # a directory, or the file of a worktree
  execute_process(
    COMMAND ${CKPTFS_GIT} -c safe.directory=${PROJECT_SOURCE_DIR} rev-parse HEAD --absolute-git-dir
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE found RESULT_VARIABLE failed ERROR_QUIET)
  if(NOT failed AND found MATCHES "^([0-9a-f]+)\n(.+)\n$")
    set(git_directory ${CMAKE_MATCH_2})
    string(SUBSTRING ${CMAKE_MATCH_1} 0 12 commit)
    # The log of HEAD grows whenever HEAD moves, along a branch too: CMake then configures anew, and one small file is compiled.
    set(moves ${git_directory}/logs/HEAD)
    if(NOT EXISTS ${moves})
      set(moves ${git_directory}/HEAD)
    endif()
    set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${moves})
  endif()
endif()

set(commit_source ${PROJECT_BINARY_DIR}/cli/commit.cpp)
file(CONFIGURE OUTPUT ${commit_source} @ONLY CONTENT [[
// Made by cmake/CkptfsCommit.cmake.
#include "cli/commit.h"

namespace ckptfs::cli {

const std::string_view commit = "@commit@";

}  // namespace ckptfs::cli
]])
set_source_files_properties(${commit_source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
target_sources(ckptfs_cli PRIVATE ${commit_source})
