// A flow of control with a stack of its own, which can be left and resumed anywhere.
//
// The switch is written by hand for x86-64 and aarch64: swapcontext() makes a system call each time
// and would dominate the emulation. AddressSanitizer and ThreadSanitizer are told of each switch.
#pragma once

#include <cstddef>

namespace cuda_on_host {

class Fiber {
 public:
  // The calling thread itself, on the stack it has.
  Fiber();
  // Runs `entry` when it is first switched to; `entry` must never return. Below the stack lies a
  // guard page: a kernel that needs more than kStackBytes ends the process instead of corrupting
  // it.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  static constexpr size_t kStackBytes = 64 * 1024;

  // Leaves this fiber, which must be the running one, until something switches back to it.
  void switch_to(Fiber& next);
  // The next switch to this fiber, which was switched from at the end of `entry`, starts it anew.
  void start_over();

 private:
  static void begin();
  static void arrive(Fiber& self);

  void (*entry_)() = nullptr;
  char* mapping_ = nullptr;  // guard page, then the stack; null for a thread's own stack
  void* stack_pointer_ = nullptr;
  [[maybe_unused]] const void* stack_bottom_ = nullptr;  // the rest is for the sanitizers
  [[maybe_unused]] size_t stack_bytes_ = 0;
  [[maybe_unused]] void* fake_stack_ = nullptr;
  [[maybe_unused]] void* tsan_fiber_ = nullptr;
};

}  // namespace cuda_on_host
