# What `cmake --install` puts where: library, header, CMake package, pkg-config file.
include(CMakePackageConfigHelpers)
set(component COMPONENT libvtr)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vtr)

install(TARGETS vtr vtr_static EXPORT vtrTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ${component} NAMELINK_COMPONENT libvtr
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${component}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_CURRENT_SOURCE_DIR}/include/vtr/vtr.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vtr ${component})

install(EXPORT vtrTargets NAMESPACE vtr:: DESTINATION ${package_dir} ${component})
configure_package_config_file(cmake/vtrConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/vtrConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/vtrConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vtrConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/vtrConfigVersion.cmake
        DESTINATION ${package_dir} ${component})

# Relative to the file, so that an installed tree can be moved.
file(RELATIVE_PATH prefix_from_pkgconfig /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/vtr.pc.in ${CMAKE_CURRENT_BINARY_DIR}/vtr.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vtr.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig ${component})
