# The host emulator of CUDA, and the kernels compiled for it. For tests only: never installed.
add_library(cuda_on_host STATIC csrc/cuda_on_host/emulator.cpp csrc/cuda_on_host/fiber.cpp)
target_include_directories(cuda_on_host PUBLIC csrc csrc/cuda_on_host)
target_link_libraries(cuda_on_host PUBLIC Threads::Threads)
target_compile_options(cuda_on_host PUBLIC -Wno-unknown-pragmas) # unroll
if(AVTS_SANITIZE STREQUAL "thread")
  # It implements the synchronisation that the sanitizer is to judge.
  target_compile_options(cuda_on_host PRIVATE -fno-sanitize=thread)
  target_compile_definitions(cuda_on_host PRIVATE CUDA_ON_HOST_TSAN)
endif()
