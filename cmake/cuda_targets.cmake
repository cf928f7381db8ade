# CMAKE_CUDA_ARCHITECTURES: every current GPU this nvcc can compile for, machine code for each and
# PTX for the last, so that GPUs newer than the compiler still run. AVTS_CUDA_ARCHS overrides.
if(AVTS_CUDA_ARCHS)
  set(CMAKE_CUDA_ARCHITECTURES ${AVTS_CUDA_ARCHS})
else()
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch
                  OUTPUT_VARIABLE known OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(targets)
  foreach(arch 75 80 86 89 90 100 120)
    if(known MATCHES "compute_${arch}([^0-9]|$)")
      list(APPEND targets ${arch}-real)
      set(last ${arch})
    endif()
  endforeach()
  list(APPEND targets ${last}-virtual)
  set(CMAKE_CUDA_ARCHITECTURES ${targets})
endif()
