// Conversion of samples and of results between number formats, in loops that the compiler turns
// into vector code at every level. For cpu/*.cpp only.
#pragma once

#include <cstdint>
#include <cstring>

#include "log_mel/log_mel.h"

namespace avts {
namespace AVTS_LEVEL {

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float float_of_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  // The product rebases the exponent and makes denormal numbers normal.
  const uint32_t finite = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7f800000;
  return float_of_bits(sign | ((half & 0x7c00) == 0x7c00 ? special : finite));
}

// To nearest, ties to even.
inline uint16_t half_of_float(float value) {
  const uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000;
  const uint32_t x = bits & 0x7fffffff;
  const uint32_t normal = (x + 0xfff + (x >> 13 & 1) - 0x38000000) >> 13;
  const uint32_t denormal = bits_of_float(float_of_bits(x) + 0.5f) - 0x3f000000;
  const uint32_t finite = x < 0x38800000 ? denormal : normal;
  const uint32_t special = x > 0x7f800000 ? 0x7e00 : 0x7c00;
  return static_cast<uint16_t>(sign | (x >= 0x47800000 ? special : finite));
}

inline float float_of_bfloat(uint16_t bits) {
  return float_of_bits(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t bfloat_of_float(float value) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

template <typename T>
void convert_samples(const void* from, SampleType type, int64_t count, T* to) {
  switch (type) {
    case SampleType::f32:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<const float*>(from)[i];
      break;
    case SampleType::f64:
      for (int64_t i = 0; i < count; ++i) {
        to[i] = static_cast<T>(static_cast<const double*>(from)[i]);
      }
      break;
    case SampleType::f16:
      for (int64_t i = 0; i < count; ++i) {
        to[i] = float_of_half(static_cast<const uint16_t*>(from)[i]);
      }
      break;
    case SampleType::bf16:
      for (int64_t i = 0; i < count; ++i) {
        to[i] = float_of_bfloat(static_cast<const uint16_t*>(from)[i]);
      }
      break;
    case SampleType::i16:
      for (int64_t i = 0; i < count; ++i) {
        to[i] = static_cast<T>(static_cast<const int16_t*>(from)[i]) * T(1.0 / 32768);
      }
      break;
  }
}

// Writes values to consecutive elements of `to`, beginning with element `at`.
template <typename T>
void write_values(const T* values, int64_t count, void* to, SampleType type, int64_t at) {
  switch (type) {
    case SampleType::f32:
      for (int64_t i = 0; i < count; ++i) {
        static_cast<float*>(to)[at + i] = static_cast<float>(values[i]);
      }
      break;
    case SampleType::f64:
      for (int64_t i = 0; i < count; ++i) static_cast<double*>(to)[at + i] = values[i];
      break;
    case SampleType::f16:
      for (int64_t i = 0; i < count; ++i) {
        static_cast<uint16_t*>(to)[at + i] = half_of_float(static_cast<float>(values[i]));
      }
      break;
    case SampleType::bf16:
      for (int64_t i = 0; i < count; ++i) {
        static_cast<uint16_t*>(to)[at + i] = bfloat_of_float(static_cast<float>(values[i]));
      }
      break;
    case SampleType::i16:
      break;  // never an output
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
