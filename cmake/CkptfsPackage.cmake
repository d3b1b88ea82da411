# `cpack -G DEB` in a build directory: the program as a package of Debian's, and the libtorch module, where it was built with
# Debian's libtorch, as another, since libtorch is 1.3 GB that only `verify` of views asks for.
find_program(CKPTFS_SHLIBDEPS dpkg-shlibdeps)
mark_as_advanced(CKPTFS_SHLIBDEPS)
if(NOT CKPTFS_SHLIBDEPS)
  return()
endif()
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ckptfs)
set(CPACK_PACKAGE_CONTACT "ckptfs maintainers <maintainers@users.noreply.r-seed-960d492d.example>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program)
if(TARGET ckptfs_torch_module AND Torch_C10_LIBRARY MATCHES "^/usr/")
  list(APPEND CPACK_COMPONENTS_ALL torch)
endif()

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME ckptfs)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS fuse3)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS ckptfs-torch)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "shows a DeepSpeed ZeRO checkpoint at any world size")
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION
"A training job that was saved by some number of ranks resumes at another one
from a mount of ckptfs, with the full optimizer state. Nothing is converted or
copied: the files that the job asks for are put together from the checkpoint's
own while they are read. The mount shows weights for serving, universal
checkpoints and other views as well.")

set(CPACK_DEBIAN_TORCH_PACKAGE_NAME ckptfs-torch)
set(CPACK_DEBIAN_TORCH_PACKAGE_DEPENDS "ckptfs (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(CPACK_DEBIAN_TORCH_DESCRIPTION
"This is libtorch as its second reader. With it `ckptfs verify` reads every file of a view through PyTorch's own
reader and compares what that finds. Mounts do without.")

# What policy asks for beside the program. Its time is the source's own, so that the package can be built again.
if(DEFINED ENV{SOURCE_DATE_EPOCH})
  set(ckptfs_date_of --date=@$ENV{SOURCE_DATE_EPOCH})
else()
  set(ckptfs_date_of --reference=${PROJECT_SOURCE_DIR}/CHANGELOG.md)
endif()
execute_process(COMMAND date --rfc-email --utc ${ckptfs_date_of} OUTPUT_VARIABLE ckptfs_changelog_date OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
configure_file(cmake/debian/changelog.in debian/changelog.Debian @ONLY)
execute_process(COMMAND gzip -9nc debian/changelog.Debian OUTPUT_FILE debian/changelog.Debian.gz
  WORKING_DIRECTORY ${PROJECT_BINARY_DIR} COMMAND_ERROR_IS_FATAL ANY)
foreach(name IN ITEMS ckptfs ckptfs-torch)
  set(component program)
  if(name STREQUAL ckptfs-torch)
    set(component torch)
  endif()
  install(FILES cmake/debian/copyright ${PROJECT_BINARY_DIR}/debian/changelog.Debian.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(FILES cmake/debian/${name}.lintian-overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME ${name}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()
include(CPack)
