# How every library, test and fuzz target of the project is declared, and with which flags it is compiled.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(DEEPWELL_CCACHE ccache)
if(DEEPWELL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DEEPWELL_CCACHE})
endif()

find_package(Threads REQUIRED)

add_library(deepwell_flags INTERFACE)
target_include_directories(deepwell_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(deepwell_flags INTERFACE Threads::Threads)
# Contraction would fuse a multiply and an add wherever the compiler likes: the same source would give
# other bits on other instruction sets. FMA happens only where it is written.
target_compile_options(deepwell_flags INTERFACE
  -ffp-contract=off -Wall -Wextra -Wshadow -Wconversion
  -Wno-missing-field-initializers)  # an options struct names only what differs from its defaults
target_compile_definitions(deepwell_flags INTERFACE DEEPWELL_VERSION="${PROJECT_VERSION}")
if(DEEPWELL_WERROR)
  target_compile_options(deepwell_flags INTERFACE -Werror)
endif()
if(DEEPWELL_SANITIZE)
  target_compile_options(deepwell_flags INTERFACE
    -fsanitize=${DEEPWELL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(deepwell_flags INTERFACE -fsanitize=${DEEPWELL_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # clang 14 cannot assemble coroutines with the data that this check puts before each function.
    target_compile_options(deepwell_flags INTERFACE -fno-sanitize=function)
  endif()
endif()
if(DEEPWELL_FUZZ)
  target_compile_options(deepwell_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(DEEPWELL_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# deepwell_library(NAME SOURCES a.cpp ... LIBS x y)
function(deepwell_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC deepwell_flags ${ARG_LIBS})
endfunction()

# deepwell_test(NAME SOURCES a_test.cpp ... LIBS x y LABELS unit)
# One executable for a folder. CTest runs it as one test named NAME, so that a suite starts once.
function(deepwell_test name)
  if(NOT DEEPWELL_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE deepwell_flags ${ARG_LIBS} GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE DEEPWELL_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  if(ARG_ENVIRONMENT)
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "${ARG_ENVIRONMENT}")
  endif()
endfunction()

# deepwell_fuzz(NAME SOURCE x_fuzz.cpp LIBS y CORPUS dir)
# With DEEPWELL_FUZZ: a libFuzzer binary. Otherwise: the same function replays its corpus as a unit test.
function(deepwell_fuzz name)
  cmake_parse_arguments(ARG "" "SOURCE;CORPUS" "LIBS" ${ARGN})
  if(DEEPWELL_FUZZ)
    add_executable(${name} ${ARG_SOURCE})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(${name} ${ARG_SOURCE} ${PROJECT_SOURCE_DIR}/fuzz/replay_main.cpp)
    add_test(NAME ${name}_replay COMMAND ${name} ${ARG_CORPUS})
    set_tests_properties(${name}_replay PROPERTIES LABELS unit TIMEOUT 120)
  endif()
  target_link_libraries(${name} PRIVATE deepwell_flags ${ARG_LIBS})
endfunction()
