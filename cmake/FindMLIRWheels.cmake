# Finds LLVM, MLIR and nanobind in the site-packages of the Python in use, and
# makes them usable: static, without the dylibs that the wheels also carry.
# MLIR_DIR and LLVM_DIR may be given to use another MLIR of the same version.

find_package(Python3 3.10 COMPONENTS Interpreter Development.Module REQUIRED)
find_package(Python 3.10 COMPONENTS Interpreter Development.Module REQUIRED)

if(NOT MLIR_DIR)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c
            "import sysconfig; print(sysconfig.get_path('platlib'))"
    OUTPUT_VARIABLE _platlib OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  # An isolated pip build puts its requirements in a prefix of its own, which
  # only sys.path knows; search all of it.
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c
            "import os, sys; print(';'.join(p for p in sys.path if os.path.isdir(os.path.join(p, 'mlir/lib/cmake/mlir'))))"
    OUTPUT_VARIABLE _mlir_roots OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND _mlir_roots "${_platlib}")
  list(GET _mlir_roots 0 _mlir_root)
  set(MLIR_DIR "${_mlir_root}/mlir/lib/cmake/mlir")
  set(LLVM_DIR "${_mlir_root}/llvm/lib/cmake/llvm")
endif()
if(NOT EXISTS "${MLIR_DIR}/MLIRConfig.cmake")
  message(FATAL_ERROR
    "no MLIR 22.1 in the Python environment of ${Python3_EXECUTABLE}: install the xtc-llvm-* and xtc-mlir-* wheels that pyproject.toml pins (x86-64 Linux, glibc 2.28 or newer)")
endif()

find_package(LLVM 22.1 REQUIRED CONFIG)
find_package(MLIR REQUIRED CONFIG)
list(APPEND CMAKE_MODULE_PATH "${LLVM_CMAKE_DIR}" "${MLIR_CMAKE_DIR}")

# The exported targets name the dylib target LLVM, which drags in a libLLVM.so
# of 136 MB; the static LLVMSupport is all that MLIR's libraries need.
foreach(_target IN LISTS MLIR_EXPORTED_TARGETS)
  if(NOT TARGET ${_target})
    continue()
  endif()
  foreach(_property INTERFACE_LINK_LIBRARIES MLIR_AGGREGATE_DEP_LIBS_IMPORTED)
    get_target_property(_libs ${_target} ${_property})
    if(NOT _libs)
      continue()
    endif()
    list(TRANSFORM _libs REPLACE "^LLVM$" "LLVMSupport")
    list(TRANSFORM _libs REPLACE "LINK_ONLY:LLVM>" "LINK_ONLY:LLVMSupport>")
    set_target_properties(${_target} PROPERTIES ${_property} "${_libs}")
  endforeach()
endforeach()
set_property(TARGET MLIRRemarkStreamer APPEND PROPERTY INTERFACE_LINK_LIBRARIES LLVMRemarks)
foreach(_property INTERFACE_LINK_LIBRARIES MLIR_AGGREGATE_DEP_LIBS_IMPORTED)
  set_property(TARGET MLIRLLVMDialect APPEND PROPERTY ${_property} LLVMCore LLVMBinaryFormat)
endforeach()
set(LLVM_LINK_LLVM_DYLIB OFF)
set(MLIR_LINK_MLIR_DYLIB OFF)
# Keep AddLLVM from installing archives and headers into the wheel.
set(LLVM_INSTALL_TOOLCHAIN_ONLY ON)

include(TableGen)
include(AddLLVM)
include(AddMLIR)
include(HandleLLVMOptions)
include(AddMLIRPython)
include(MLIRDetectPythonEnv)
set(MLIR_ENABLE_BINDINGS_PYTHON ON)
set(MLIR_BINDINGS_PYTHON_NB_DOMAIN "epiq")
set(MLIR_PYTHON_PACKAGE_PREFIX "epiq._mlir.")
mlir_configure_python_dev_packages()

include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
add_definitions(${LLVM_DEFINITIONS})
add_compile_definitions("MLIR_PYTHON_PACKAGE_PREFIX=${MLIR_PYTHON_PACKAGE_PREFIX}")
