# Compiles the page of `ckptfs inspect --html` in: src/report/page/* as the strings of src/report/page_files.h.
# As a script (-P) it writes the source file OUTPUT from the files in DIRECTORY; included, it has that done when one changes.

set(page_files page.html page.css model.js draw.js page.js)

if(CMAKE_SCRIPT_MODE_FILE)
  set(text "// Made by cmake/CkptfsPage.cmake from src/report/page.\n#include \"report/page_files.h\"\n\nnamespace ckptfs::report {\n\n")
  foreach(file IN LISTS page_files)
    file(READ ${DIRECTORY}/${file} content)
    string(REPLACE "." "_" name ${file})
    string(APPEND text "const std::string_view ${name} = R\"page_file(${content})page_file\";\n")
  endforeach()
  file(WRITE ${OUTPUT} "${text}\n}  // namespace ckptfs::report\n")
  return()
endif()

list(TRANSFORM page_files PREPEND ${PROJECT_SOURCE_DIR}/src/report/page/ OUTPUT_VARIABLE page_paths)
set(page_source ${PROJECT_BINARY_DIR}/report/page_files.cpp)
add_custom_command(OUTPUT ${page_source}
  COMMAND ${CMAKE_COMMAND} -DDIRECTORY=${PROJECT_SOURCE_DIR}/src/report/page -DOUTPUT=${page_source} -P ${CMAKE_CURRENT_LIST_FILE}
  DEPENDS ${page_paths} ${CMAKE_CURRENT_LIST_FILE}
  COMMENT "Embedding the page of ckptfs inspect --html" VERBATIM)
target_sources(ckptfs_report PRIVATE ${page_source})
