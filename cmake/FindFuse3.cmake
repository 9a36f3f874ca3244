# FindFuse3: the static libfuse that scripts/setup built, with what it needs, as Fuse3::fuse3.
#
# A libfuse of the system is not used: distributions build it without fuse_session_custom_io().
include(WeirDeps)

find_path(Fuse3_INCLUDE_DIR fuse_lowlevel.h PATHS ${WEIR_DEPS_DIR}/libfuse/include/fuse3 NO_DEFAULT_PATH)
find_library(Fuse3_LIBRARY libfuse3.a PATHS ${WEIR_DEPS_DIR}/libfuse/lib NO_DEFAULT_PATH)
find_library(Fuse3_URING_LIBRARY uring)
find_library(Fuse3_NUMA_LIBRARY numa)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Fuse3
  REQUIRED_VARS Fuse3_LIBRARY Fuse3_INCLUDE_DIR Fuse3_URING_LIBRARY Fuse3_NUMA_LIBRARY
  REASON_FAILURE_MESSAGE "run scripts/setup first")

if(Fuse3_FOUND AND NOT TARGET Fuse3::fuse3)
  find_package(Threads REQUIRED)
  add_library(Fuse3::fuse3 STATIC IMPORTED)
  set_target_properties(Fuse3::fuse3 PROPERTIES
    IMPORTED_LOCATION ${Fuse3_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${Fuse3_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES "${Fuse3_URING_LIBRARY};${Fuse3_NUMA_LIBRARY};Threads::Threads;${CMAKE_DL_LIBS}")
endif()
mark_as_advanced(Fuse3_INCLUDE_DIR Fuse3_LIBRARY Fuse3_URING_LIBRARY Fuse3_NUMA_LIBRARY)
