# The host emulator of CUDA, and our kernels compiled for it. For tests only: never installed.
if(have_cuda)
  message(FATAL_ERROR "the emulator compiles the same .cu files as nvcc: set AVTS_CUDA=OFF")
endif()

file(GLOB cuda_on_host_sources CONFIGURE_DEPENDS csrc/cuda_on_host/*.cpp)
add_library(cuda_on_host STATIC ${cuda_on_host_sources})
target_include_directories(cuda_on_host PUBLIC csrc csrc/cuda_on_host)
target_link_libraries(cuda_on_host PUBLIC Threads::Threads)
target_compile_options(cuda_on_host PUBLIC -Wno-unknown-pragmas # unroll
                       -Werror=unused-result) # no error of CUDA's goes unchecked
if(AVTS_SANITIZE STREQUAL "thread")
  # It implements the synchronisation that the sanitizer is to judge.
  target_compile_options(cuda_on_host PRIVATE -fno-sanitize=thread)
  target_compile_definitions(cuda_on_host PRIVATE CUDA_ON_HOST_TSAN)
endif()

add_library(cuda_kernels_on_host STATIC ${cuda_host_sources} ${cuda_sources})
set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
target_link_libraries(cuda_kernels_on_host PUBLIC cuda_on_host)

if(AVTS_CUDA_ON_HOST)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
  find_package(pybind11 CONFIG REQUIRED)
  pybind11_add_module(_cuda_on_host MODULE NO_EXTRAS ${cuda_bindings})
  target_link_libraries(_cuda_on_host PRIVATE cuda_kernels_on_host)
  target_compile_definitions(_cuda_on_host PRIVATE AVTS_CUDA_ON_HOST
                             AVTS_VERSION="${AVTS_VERSION}" AVTS_CUDA_TARGETS="host")
  # The name that its file and its initialisation have in the installed package.
  set_target_properties(_cuda_on_host PROPERTIES OUTPUT_NAME _cuda)
endif()
