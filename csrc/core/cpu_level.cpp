#include "core/cpu_level.h"

#include <atomic>
#include <cstdlib>

#include "core/check.h"

namespace avts {
namespace {

constexpr int kUndecided = -1;
std::atomic<int> g_active{kUndecided};

bool machine_has(CpuLevel level) {
  switch (level) {
    case CpuLevel::base:
      return true;
#if defined(AVTS_X86_LEVELS)
    case CpuLevel::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
    case CpuLevel::avx512:
      return machine_has(CpuLevel::avx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
#endif
    default:
      return false;
  }
}

CpuLevel runnable_level_named(const std::string& name, const char* argument) {
  std::string names;
  for (CpuLevel level : runnable_cpu_levels()) {
    if (name == name_of(level)) return level;
    names += (names.empty() ? "" : ", ") + std::string(name_of(level));
  }
  throw ArgumentError(std::string(argument) + " is '" + name + "', expected one of: " + names);
}

}  // namespace

const char* name_of(CpuLevel level) {
  switch (level) {
    case CpuLevel::avx2:
      return "avx2";
    case CpuLevel::avx512:
      return "avx512";
    default:
      return "base";
  }
}

std::vector<CpuLevel> runnable_cpu_levels() {
  std::vector<CpuLevel> levels;
#define AVTS_ADD(level) \
  if (machine_has(CpuLevel::level)) levels.push_back(CpuLevel::level);
  AVTS_FOR_EACH_LEVEL(AVTS_ADD)
#undef AVTS_ADD
  return levels;
}

CpuLevel active_cpu_level() {
  int active = g_active.load(std::memory_order_relaxed);
  if (active == kUndecided) {
    const char* wanted = std::getenv("AVTS_CPU_ISA");
    const CpuLevel level = wanted && *wanted ? runnable_level_named(wanted, "AVTS_CPU_ISA")
                                             : runnable_cpu_levels().back();
    active = static_cast<int>(level);
    g_active.store(active, std::memory_order_relaxed);
  }
  return static_cast<CpuLevel>(active);
}

void set_cpu_level(const std::string& name) {
  g_active.store(static_cast<int>(runnable_level_named(name, "level")), std::memory_order_relaxed);
}

}  // namespace avts
