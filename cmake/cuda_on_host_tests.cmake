# C++ tests of the emulator: what it must compute, and planted faults that must be reported.
include(cmake/cuda_on_host.cmake)

add_executable(test_cuda_on_host csrc/tests/test_cuda_on_host.cpp)
target_link_libraries(test_cuda_on_host PRIVATE cuda_on_host)
add_test(NAME test_cuda_on_host COMMAND test_cuda_on_host)

add_executable(test_cuda_on_host_faults csrc/tests/test_cuda_on_host_faults.cpp)
target_link_libraries(test_cuda_on_host_faults PRIVATE cuda_on_host)
add_test(NAME cuda_fault_none COMMAND test_cuda_on_host_faults none)

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
