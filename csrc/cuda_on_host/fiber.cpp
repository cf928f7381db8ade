#include "cuda_on_host/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <new>

#include "cuda_on_host/sanitizers.h"

// Pushes the registers that a function must preserve, stores the stack pointer to *save, continues
// on the stack `load` as left there by an earlier call or by Fiber::start_over().
extern "C" void cuda_on_host_switch(void** save, void* load);

#if defined(__x86_64__)
asm(R"(
.text
.globl cuda_on_host_switch
.hidden cuda_on_host_switch
.type cuda_on_host_switch, @function
cuda_on_host_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size cuda_on_host_switch, .-cuda_on_host_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl cuda_on_host_switch
.hidden cuda_on_host_switch
.type cuda_on_host_switch, %function
cuda_on_host_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size cuda_on_host_switch, .-cuda_on_host_switch
)");
#else
#error "the host emulator knows x86-64 and aarch64"
#endif

namespace cuda_on_host {
namespace {

// Words of a fresh stack as cuda_on_host_switch() pops them, and the one that it jumps to.
#if defined(__x86_64__)
constexpr size_t kFrameWords = 8, kReturnWord = 6;  // the last is the return address of `begin`
#else
constexpr size_t kFrameWords = 20, kReturnWord = 11;
#endif

// Stacks begin at page bounds: without this all would compete for the same lines of the L1 cache.
size_t staggered_bytes() {
  static std::atomic<size_t> fibers{0};
  return fibers.fetch_add(1, std::memory_order_relaxed) % 61 * 192;
}

size_t guard_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

__thread Fiber* t_leaving = nullptr;   // the fiber that the running one was switched from
__thread Fiber* t_arriving = nullptr;  // the running fiber

}  // namespace

Fiber::Fiber() {
#if defined(CUDA_ON_HOST_TSAN)
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*entry)()) : entry_(entry), stack_bytes_(kStackBytes - staggered_bytes()) {
  const size_t guard = guard_bytes();
  void* mapping = mmap(nullptr, guard + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, guard, PROT_NONE) != 0) throw std::bad_alloc();
  mapping_ = static_cast<char*>(mapping);
  stack_bottom_ = mapping_ + guard;
#if defined(CUDA_ON_HOST_TSAN)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
  start_over();
}

Fiber::~Fiber() {
  if (!mapping_) return;
#if defined(CUDA_ON_HOST_TSAN)
  __tsan_destroy_fiber(tsan_fiber_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  // Functions that never returned left their red zones, which outlive the mapping: what the kernel
  // maps here next, such as another thread's local storage, would seem to be out of bounds.
  __asan_unpoison_memory_region(stack_bottom_, stack_bytes_);
#endif
  munmap(mapping_, guard_bytes() + kStackBytes);
}

void Fiber::start_over() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_bottom_, stack_bytes_);
#endif
  const auto top = reinterpret_cast<uintptr_t>(stack_bottom_) + stack_bytes_;
  void** frame = reinterpret_cast<void**>(top / 16 * 16) - kFrameWords;
  for (size_t i = 0; i < kFrameWords; ++i) frame[i] = nullptr;
  frame[kReturnWord] = reinterpret_cast<void*>(&Fiber::begin);
  stack_pointer_ = frame;
}

void Fiber::switch_to(Fiber& next) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_, next.stack_bottom_, next.stack_bytes_);
#endif
#if defined(CUDA_ON_HOST_TSAN)
  constexpr unsigned kNoSync = 1;  // a switch orders nothing: only barriers do
  __tsan_switch_to_fiber(next.tsan_fiber_, kNoSync);
#endif
  t_leaving = this;
  t_arriving = &next;
  cuda_on_host_switch(&stack_pointer_, next.stack_pointer_);
  arrive(*this);
}

void Fiber::arrive([[maybe_unused]] Fiber& self) {
#if defined(__SANITIZE_ADDRESS__)
  // Also how the bounds of a thread's own stack become known.
  __sanitizer_finish_switch_fiber(self.fake_stack_, &t_leaving->stack_bottom_,
                                  &t_leaving->stack_bytes_);
#endif
}

void Fiber::begin() {
  arrive(*t_arriving);
  t_arriving->entry_();
  __builtin_unreachable();
}

}  // namespace cuda_on_host
