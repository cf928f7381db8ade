// Samples and values of every type, on the device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda_kernel.h"
#include "log_mel/cuda/log_mel_cuda.h"
#include "log_mel/dither.h"

namespace avts {

template <typename T>
__device__ T sample_at(const void* data, SampleType type, int64_t i) {
  switch (type) {
    case SampleType::f32:
      return static_cast<const float*>(data)[i];
    case SampleType::f64:
      return static_cast<T>(static_cast<const double*>(data)[i]);
    case SampleType::f16:
      return __half2float(static_cast<const __half*>(data)[i]);
    case SampleType::bf16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    default:
      return static_cast<T>(static_cast<const int16_t*>(data)[i]) * T(1.0 / 32768);
  }
}

template <typename T>
__device__ void write_value(T value, void* data, SampleType type, int64_t i) {
  switch (type) {
    case SampleType::f64:
      static_cast<double*>(data)[i] = value;
      break;
    case SampleType::f16:
      static_cast<__half*>(data)[i] = __float2half(static_cast<float>(value));
      break;
    case SampleType::bf16:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16(static_cast<float>(value));
      break;
    default:
      static_cast<float*>(data)[i] = static_cast<float>(value);
  }
}

// Sample `index` of the noise that add_dither() adds, with amplitude 1.
__device__ inline double dither_at(int64_t seed, int64_t index) {
  const Philox random = dither_words(seed, static_cast<uint64_t>(index / kNormalsPerDraw));
  const int place = static_cast<int>(index % kNormalsPerDraw);
  double normals[2];
  two_normals(random.word[place & 2], random.word[(place & 2) + 1], normals);
  return normals[place & 1];
}

// One item of a call.
template <typename T>
struct CudaItem {
  const void* data;
  SampleType type;
  int64_t begin, length;  // in its row, which `data` points to
  int64_t frames;

  // The sample that position `t`, counted from the item's first sample, shows; zero for padding
  // and for what is beyond it, which only frames that do not exist see.
  __device__ T at(const CudaLogMelPlan<T>& plan, int64_t t) const {
    if (t < 0 || t >= length) {
      if (!plan.reflect) return 0;
      t = t < 0 ? -t : 2 * (length - 1) - t;
      if (t < 0 || t >= length) return 0;
    }
    const T sample = sample_at<T>(data, type, begin + t);
    if (plan.dither == 0) return sample;
    return sample + static_cast<T>(plan.dither * dither_at(plan.dither_seed, t));
  }
};

inline int64_t bytes_of_sample(SampleType type) {
  return type == SampleType::f64 ? 8 : type == SampleType::f32 ? 4 : 2;
}

// Traps if the item does not lie within its row or is too short for a frame.
template <typename T>
__device__ CudaItem<T> item_of(const CudaLogMelPlan<T>& plan, const Waveforms& waveforms,
                               int64_t row_length, int64_t sample_bytes, int64_t i) {
  const int64_t begin = waveforms.starts ? waveforms.starts[i] : 0;
  const int64_t length = waveforms.lengths ? waveforms.lengths[i] : waveforms.samples;
  AVTS_DEVICE_CHECK(length >= plan.samples_needed && length <= waveforms.samples,
                    "lengths has an item that is too short for a frame or longer than clip_length");
  AVTS_DEVICE_CHECK(begin >= 0 && begin <= row_length - length,
                    "starts has an item that does not lie within its row");
  const char* row =
      static_cast<const char*>(waveforms.data) + i * waveforms.row_samples * sample_bytes;
  return {row, waveforms.type, begin, length,
          (length + plan.beyond_first) / plan.hop_length + plan.frames_more};
}

}  // namespace avts
