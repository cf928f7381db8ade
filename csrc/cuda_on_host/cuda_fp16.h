// Stands in for NVIDIA's <cuda_fp16.h>: storage and conversion, rounded to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

struct __half {
  uint16_t bits;
};

inline float __half2float(__half half) {
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000) << 16;
  const uint32_t exponent = half.bits >> 10 & 0x1f, fraction = half.bits & 0x3ff;
  float value;
  if (exponent == 0) {  // zero or subnormal: a multiple of 2^-24
    value = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  const uint32_t biased = exponent == 0x1f ? 0xff : exponent + 127 - 15;
  const uint32_t bits = sign | biased << 23 | fraction << 13;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline __half __float2half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  const auto signed_half = [sign](uint32_t rest) {
    return __half{static_cast<uint16_t>(sign | rest)};
  };
  if (magnitude > 0x7f800000) return signed_half(0x7fff);   // as the device: one NaN for all
  if (magnitude >= 0x477ff000) return signed_half(0x7c00);  // 65520 and more round to infinity
  if (magnitude < 0x38800000) {                             // below 2^-14: a multiple of 2^-24
    float scaled;
    std::memcpy(&scaled, &magnitude, sizeof scaled);
    scaled = scaled * 0x1p24f + 0x1p23f;  // the addition rounds to an integer, kept in the low bits
    std::memcpy(&bits, &scaled, sizeof bits);
    return signed_half(bits & 0x7fff);
  }
  const uint32_t rebiased = magnitude - ((127 - 15) << 23);
  return signed_half((rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13);
}
