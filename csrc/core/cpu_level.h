// The instruction sets a kernel is compiled for, and the one in use.
//
// A kernel source in <operator>/cpu/ is compiled once per level into the namespace AVTS_LEVEL and
// exports one `extern const <Operator>Kernels kKernels` there. Everything else in it is static:
// an inline function shared between levels would be merged by the linker, and the survivor could
// be the one an older CPU cannot run.
#pragma once

#include <string>
#include <vector>

#if defined(AVTS_X86_LEVELS)
#define AVTS_FOR_EACH_LEVEL(X) X(base) X(avx2) X(avx512)
#else
#define AVTS_FOR_EACH_LEVEL(X) X(base)
#endif

namespace avts {

enum class CpuLevel { base, avx2, avx512 };

const char* name_of(CpuLevel level);

// Levels that are compiled in and that this machine can run, lowest first.
std::vector<CpuLevel> runnable_cpu_levels();

// The level in use: the highest runnable one, or the one named by the environment variable
// AVTS_CPU_ISA. Decided at the first call; throws ArgumentError if the variable names no runnable
// level.
CpuLevel active_cpu_level();

// For tests, which visit every level in one process.
void set_cpu_level(const std::string& name);

}  // namespace avts
