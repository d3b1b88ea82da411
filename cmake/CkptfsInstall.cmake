# What `cmake --install` puts where, and the package that find_package(ckptfs) finds there.
include(CMakePackageConfigHelpers)

# The layers a program needs to open a view without a mount, bottom up.
set(ckptfs_library_layers ckptfs_util ckptfs_io ckptfs_extent ckptfs_request ckptfs_stream ckptfs_fs ckptfs_model ckptfs_pt ckptfs_safetensors
    ckptfs_zero ckptfs_view)
set(ckptfs_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ckptfs)

add_library(ckptfs_library INTERFACE)
set_target_properties(ckptfs_library PROPERTIES EXPORT_NAME ckptfs)
target_link_libraries(ckptfs_library INTERFACE ckptfs_view ckptfs_fs ckptfs_io)

# Before anything is installed: `uninstall` removes the directories that it makes. Of no component, so that packages leave it out.
set(ckptfs_destinations ${CMAKE_INSTALL_BINDIR} ${CMAKE_INSTALL_SBINDIR} ${ckptfs_package_dir} ${CMAKE_INSTALL_INCLUDEDIR} lib/systemd/system
  ${CMAKE_INSTALL_MANDIR}/man1 ${CMAKE_INSTALL_MANDIR}/man8 ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
  ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions ${CMAKE_INSTALL_DATADIR}/doc)
if(NOT SKBUILD)
  install(CODE "set(MADE \"${PROJECT_BINARY_DIR}/install_made_directories.txt\")\nset(DESTINATIONS \"${ckptfs_destinations}\")
include(\"${PROJECT_SOURCE_DIR}/cmake/CkptfsMadeDirectories.cmake\")")
endif()

install(TARGETS ckptfs RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
if(TARGET ckptfs_torch_module)
  install(TARGETS ckptfs_torch_module LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/ckptfs COMPONENT torch)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ckptfs ${PROJECT_BINARY_DIR}/include/ckptfs
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
# What the output of --json is.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/schemas DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/ckptfs COMPONENT program)
install(TARGETS ckptfs_library ${ckptfs_library_layers} ckptfs_shared EXPORT ckptfs-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT ckptfs-targets NAMESPACE ckptfs:: DESTINATION ${ckptfs_package_dir})

add_custom_target(uninstall COMMENT "Removing what the last cmake --install put there"
  COMMAND ${CMAKE_COMMAND} -DMANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt
    -DMADE=${PROJECT_BINARY_DIR}/install_made_directories.txt -P ${PROJECT_SOURCE_DIR}/cmake/CkptfsUninstall.cmake)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/ckptfs-config.cmake.in ckptfs-config.cmake
  INSTALL_DESTINATION ${ckptfs_package_dir})
write_basic_package_version_file(ckptfs-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ckptfs-config.cmake ${PROJECT_BINARY_DIR}/ckptfs-config-version.cmake
  DESTINATION ${ckptfs_package_dir})
