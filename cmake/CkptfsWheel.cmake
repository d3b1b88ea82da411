# What lies in the wheel beside the Python modules: pyproject.toml asks for the component `python` and no other.
set(ckptfs_native ckptfs/_native)

install(TARGETS ckptfs RUNTIME DESTINATION ${ckptfs_native} COMPONENT python EXCLUDE_FROM_ALL)
# By one name: a wheel holds no links.
install(FILES $<TARGET_FILE:ckptfs_shared> RENAME libckptfs.so DESTINATION ${ckptfs_native}
  PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE
  COMPONENT python EXCLUDE_FROM_ALL)
if(CKPTFS_WHEEL_BUNDLE)
  install(PROGRAMS ${PROJECT_SOURCE_DIR}/cmake/wheel/ckptfs-with-libfuse DESTINATION ${ckptfs_native} COMPONENT python EXCLUDE_FROM_ALL)
  file(REAL_PATH ${CKPTFS_WHEEL_BUNDLE}/lib/libfuse3.so.3 bundled_libfuse)
  install(PROGRAMS ${bundled_libfuse} RENAME libfuse3.so.3 DESTINATION ${ckptfs_native} COMPONENT python EXCLUDE_FROM_ALL)
  install(DIRECTORY ${CKPTFS_WHEEL_BUNDLE}/licenses/ DESTINATION ${SKBUILD_METADATA_DIR}/licenses
    COMPONENT python EXCLUDE_FROM_ALL)
endif()
