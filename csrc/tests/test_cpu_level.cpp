#include <cstdlib>
#include <string>

#include "core/check.h"
#include "core/cpu_level.h"
#include "tests/expect.h"

int main() {
  setenv("AVTS_CPU_ISA", "pentium", 1);
  EXPECT_THROW(avts::active_cpu_level(), avts::ArgumentError);
  setenv("AVTS_CPU_ISA", "base", 1);
  EXPECT(avts::active_cpu_level() == avts::CpuLevel::base);
  for (avts::CpuLevel level : avts::runnable_cpu_levels()) {
    avts::set_cpu_level(avts::name_of(level));
    EXPECT(avts::active_cpu_level() == level);
  }
  EXPECT_THROW(avts::set_cpu_level(""), avts::ArgumentError);
  try {
    avts::set_cpu_level("sse9");
  } catch (const avts::ArgumentError& error) {
    const std::string message = error.what();
    EXPECT(message.find("'sse9'") != std::string::npos);
    EXPECT(message.find("base") != std::string::npos);
  }
  std::puts("ok");
}
