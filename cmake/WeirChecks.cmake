# Tests of the tree itself: the layer table holds, and its check finds every kind of offence and nothing else.
add_test(NAME check-layers COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-layers)
add_test(NAME check-layers-finds-offences
  COMMAND bash -c "diff expected.txt <(\"$0\" .)" ${CMAKE_SOURCE_DIR}/scripts/check-layers
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/tests/layers/offender)
# Each clause of docs/semantics.md has a test.
add_test(NAME check-semantics COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-semantics)
set_tests_properties(check-layers check-layers-finds-offences check-semantics PROPERTIES LABELS unit)
