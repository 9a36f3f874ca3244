# WEIR_DEPS_DIR: where scripts/setup put what it built; from the environment, else build/deps of the source tree.
if(DEFINED ENV{WEIR_DEPS_DIR})
  set(WEIR_DEPS_DIR $ENV{WEIR_DEPS_DIR} CACHE PATH "What scripts/setup built")
else()
  set(WEIR_DEPS_DIR ${CMAKE_SOURCE_DIR}/build/deps CACHE PATH "What scripts/setup built")
endif()
