# C++ tests of the CUDA kernels on the host emulator, and of the emulator: what it must compute, and
# planted faults that must be reported.
file(GLOB tests CONFIGURE_DEPENDS csrc/tests/test_cuda_*.cpp)
foreach(test ${tests})
  get_filename_component(name ${test} NAME_WE)
  add_executable(${name} ${test})
  target_link_libraries(${name} PRIVATE cuda_kernels_on_host avts_core)
  if(name STREQUAL "test_cuda_on_host_faults")
    add_test(NAME cuda_fault_none COMMAND ${name} none)
  else()
    add_test(NAME ${name} COMMAND ${name})
  endif()
endforeach()

# A test that passes when the program's output has `report`, whatever its exit status.
function(add_fault fault report)
  add_test(NAME cuda_fault_${fault} COMMAND test_cuda_on_host_faults ${fault})
  set_tests_properties(cuda_fault_${fault} PROPERTIES PASS_REGULAR_EXPRESSION "${report}")
endfunction()

if(AVTS_SANITIZE MATCHES "address")
  add_fault(shared_write_out_of_bounds "heap-buffer-overflow.*WRITE of size 4.* sums")
  add_fault(global_write_out_of_bounds "heap-buffer-overflow.*WRITE of size 4.* sums")
elseif(AVTS_SANITIZE STREQUAL "thread")
  add_fault(missing_barrier "data race.* sums")
  add_fault(missing_syncwarp "data race.* sums")
  add_fault(cross_block_race "data race.* sums")
endif()
