// The half and bfloat16 that our CUDA kernels see on the host.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <limits>

#include "tests/expect.h"

namespace {

bool same(float a, float b) {
  return a == b ? std::signbit(a) == std::signbit(b) : a != a && b != b;
}

// The narrow numbers around x must be no nearer than the one chosen, and a tie goes to the even
// one.
template <typename Narrow, typename ToFloat, typename FromFloat>
void check_rounding(float x, uint16_t infinity, const ToFloat& widen, const FromFloat& narrow) {
  const Narrow chosen = narrow(x);
  const uint16_t magnitude = chosen.bits & 0x7fff;
  const auto distance = [&](uint16_t bits) {
    // Beyond the largest finite number the next would stand where infinity does.
    const double next = bits == infinity
                            ? 2.0 * widen(Narrow{static_cast<uint16_t>(infinity - 1)}) -
                                  widen(Narrow{static_cast<uint16_t>(infinity - 2)})
                            : widen(Narrow{bits});
    return std::fabs(std::fabs(static_cast<double>(x)) - next);
  };
  EXPECT(magnitude <= infinity && std::signbit(x) == (chosen.bits >> 15 != 0));
  for (int step : {-1, 1}) {
    const int other = magnitude + step;
    if (other < 0 || other > infinity) continue;
    const double gap = distance(magnitude), other_gap = distance(static_cast<uint16_t>(other));
    const bool beyond = magnitude == infinity && std::fabs(x) > distance(0) - 1;
    EXPECT(gap < other_gap || (gap == other_gap && magnitude % 2 == 0) || beyond);
  }
}

template <typename Narrow, typename ToFloat, typename FromFloat>
void check_narrow_type(uint16_t infinity, const ToFloat& widen, const FromFloat& narrow) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Narrow value{static_cast<uint16_t>(bits)};
    const bool nan = (bits & 0x7fff) > infinity;
    EXPECT(std::isnan(widen(value)) == nan);
    EXPECT(nan ? std::isnan(widen(narrow(widen(value)))) : narrow(widen(value)).bits == bits);
    if ((bits & 0x7fff) + 1 >= infinity) continue;
    const float low = widen(value), high = widen(Narrow{static_cast<uint16_t>(bits + 1)});
    const float middle = low / 2 + high / 2;
    for (float x : {middle, std::nextafter(middle, low), std::nextafter(middle, high)}) {
      check_rounding<Narrow>(x, infinity, widen, narrow);
    }
  }
  const float largest = widen(Narrow{static_cast<uint16_t>(infinity - 1)});
  EXPECT(narrow(std::numeric_limits<float>::infinity()).bits == infinity);
  EXPECT(same(widen(narrow(-std::numeric_limits<float>::infinity())),
              -std::numeric_limits<float>::infinity()));
  EXPECT(narrow(std::nextafter(largest, 0.0f)).bits == infinity - 1);
  EXPECT(narrow(std::numeric_limits<float>::denorm_min()).bits == 0);
}

void narrow_floats_convert_exactly_and_round_to_even() {
  check_narrow_type<__half>(0x7c00, __half2float, __float2half);
  check_narrow_type<__nv_bfloat16>(0x7f80, __bfloat162float, __float2bfloat16);
  EXPECT(__float2half(65519.996f).bits == 0x7bff && __float2half(65520.0f).bits == 0x7c00);
  EXPECT(__half2float(__half{0x0001}) == 0x1p-24f && __half2float(__half{0x3c00}) == 1);
  EXPECT(__bfloat162float(__nv_bfloat16{0x3f80}) == 1);
}

}  // namespace

int main() {
  narrow_floats_convert_exactly_and_round_to_even();
  std::puts("ok");
}
