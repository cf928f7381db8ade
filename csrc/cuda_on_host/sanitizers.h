// What the emulator tells AddressSanitizer and ThreadSanitizer; nothing in other builds.
//
// The emulator implements the synchronisation that ThreadSanitizer is to judge, so its own sources
// are compiled without -fsanitize=thread and order kernel threads by these calls alone. The macro
// CUDA_ON_HOST_TSAN says that the kernels are instrumented.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(CUDA_ON_HOST_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace cuda_on_host {

// What one thread did before release() is seen by another after its acquire() of the same object.
struct Ordering {
#if defined(CUDA_ON_HOST_TSAN)
  void release() { __tsan_release(this); }
  void acquire() { __tsan_acquire(this); }
#else
  void release() {}
  void acquire() {}
#endif
  char address;
};

}  // namespace cuda_on_host
