# Compiles the page of `ckptfs inspect --html` in: src/report/page/* as the strings of src/report/page_files.h.
# Written when CMake configures, as clang-tidy reads what a build has not made yet.

set(page_source ${PROJECT_BINARY_DIR}/report/page_files.cpp)
set(page_text "// Made by cmake/CkptfsPage.cmake from src/report/page.\n#include \"report/page_files.h\"\n\nnamespace ckptfs::report {\n\n")
foreach(page_file page.html page.css model.js draw.js page.js)
  set(page_path ${PROJECT_SOURCE_DIR}/src/report/page/${page_file})
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page_path})
  file(READ ${page_path} page_content)
  string(REPLACE "." "_" page_name ${page_file})
  string(APPEND page_text "const std::string_view ${page_name} = R\"page_file(${page_content})page_file\";\n")
endforeach()
file(WRITE ${page_source}.new "${page_text}\n}  // namespace ckptfs::report\n")
# What is as it was is not compiled again.
file(COPY_FILE ${page_source}.new ${page_source} ONLY_IF_DIFFERENT)
file(REMOVE ${page_source}.new)
target_sources(ckptfs_report PRIVATE ${page_source})
