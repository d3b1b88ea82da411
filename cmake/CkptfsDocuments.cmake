# What is installed beside the program: for mount(8), systemd and SLURM; and manual pages and completion, which the program prints of what its --help says: they are made where what is built can be run.
if(SKBUILD)
  return()
endif()

# mount(8) calls /sbin/mount.TYPE: the program under another name.
file(RELATIVE_PATH ckptfs_from_sbin ${CMAKE_INSTALL_FULL_SBINDIR} ${CMAKE_INSTALL_FULL_BINDIR}/ckptfs)
file(CREATE_LINK ${ckptfs_from_sbin} ${PROJECT_BINARY_DIR}/mount.ckptfs SYMBOLIC)
install(FILES ${PROJECT_BINARY_DIR}/mount.ckptfs DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT program)
configure_file(mount_scripts/systemd/ckptfs@.service.in ckptfs@.service @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ckptfs@.service DESTINATION lib/systemd/system COMPONENT program)
install(FILES mount_scripts/systemd/mnt-run.mount DESTINATION ${CMAKE_INSTALL_DATADIR}/ckptfs/systemd COMPONENT program)
install(PROGRAMS mount_scripts/slurm/prolog mount_scripts/slurm/epilog DESTINATION ${CMAKE_INSTALL_DATADIR}/ckptfs/slurm COMPONENT program)

if(CKPTFS_SANITIZE OR CMAKE_CROSSCOMPILING)
  return()
endif()

# The date of the pages is the source's own, so that they can be built again.
if(DEFINED ENV{SOURCE_DATE_EPOCH})
  set(ckptfs_epoch $ENV{SOURCE_DATE_EPOCH})
else()
  file(TIMESTAMP ${PROJECT_SOURCE_DIR}/CHANGELOG.md ckptfs_epoch "%s" UTC)
endif()

set(ckptfs_documents)
function(ckptfs_document output destination option)
  set(path ${PROJECT_BINARY_DIR}/documents/${output})
  set(print env SOURCE_DATE_EPOCH=${ckptfs_epoch} $<TARGET_FILE:ckptfs> help ${option})
  if(output MATCHES "\\.gz$")
    set(print sh -c "\"$@\" | gzip -9n" print ${print})
  endif()
  add_custom_command(OUTPUT ${path} COMMAND ${print} > ${path} DEPENDS ckptfs VERBATIM COMMENT "ckptfs help ${option}")
  install(FILES ${path} DESTINATION ${destination} COMPONENT program ${ARGN})
  set(ckptfs_documents ${ckptfs_documents} ${path} PARENT_SCOPE)
endfunction()

file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/documents)
ckptfs_document(ckptfs.1.gz ${CMAKE_INSTALL_MANDIR}/man1 --manual=ckptfs)
ckptfs_document(mount.ckptfs.8.gz ${CMAKE_INSTALL_MANDIR}/man8 --manual=mount.ckptfs)
ckptfs_document(ckptfs.bash ${CMAKE_INSTALL_DATADIR}/bash-completion/completions --completion=bash RENAME ckptfs)
ckptfs_document(_ckptfs ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions --completion=zsh)
add_custom_target(ckptfs_documents ALL DEPENDS ${ckptfs_documents})
