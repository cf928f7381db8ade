#include "log_mel/cuda/fft.h"
#include "log_mel/cuda/log_mel_cuda.h"
#include "log_mel/cuda/samples.h"

namespace avts {
namespace {

constexpr int kMaxThreads = 256;  // a warp for each frame of a tile
constexpr int kGatherThreads = 256;

// What a kernel is given beside its plan.
template <typename T>
struct Call {
  Waveforms waveforms;
  int64_t row_length, sample_bytes;
  int tile_frames;
  int64_t tiles_per_item;
  int64_t frames;    // of the longest item, as in the output's shape
  T* workspace;      // of all blocks, where shared memory is too small
  int64_t elements;  // of one block's
};

// The frames that a block works on, and its memory: the samples they span, and two buffers of
// fft_size points for each of them.
template <typename T, bool kShared>
struct Tile {
  const CudaLogMelPlan<T>& plan;
  const Call<T>& call;
  CudaItem<T> item;
  int64_t item_index, first_frame;
  int step, span;  // samples from a frame's first to the next one's, and of the whole tile
  T* samples;
  Complex<T>* buffers;

  __device__ Tile(const CudaLogMelPlan<T>& plan, const Call<T>& call, int64_t index)
      : plan(plan),
        call(call),
        item(item_of(plan, call.waveforms, call.row_length, call.sample_bytes,
                     index / call.tiles_per_item)),
        item_index(index / call.tiles_per_item),
        first_frame(index % call.tiles_per_item * call.tile_frames),
        step(plan.hop_length < plan.win_length ? plan.hop_length : plan.win_length),
        span((call.tile_frames - 1) * step + plan.win_length),
        samples(kShared ? dynamic_shared<T>() : call.workspace + blockIdx.x * call.elements),
        buffers(reinterpret_cast<Complex<T>*>(samples + (span + 3) / 4 * 4)) {}

  __device__ int warp() const { return static_cast<int>(threadIdx.x) / kWarpSize; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % kWarpSize; }
  __device__ bool has_frame(int nth) const { return first_frame + nth < item.frames; }
  __device__ Complex<T>* buffer(int nth, int which) const {
    return buffers + static_cast<int64_t>(2 * nth + which) * plan.fft_size;
  }

  // Where place `p` of the tile's samples lies in the item.
  __device__ int64_t position(int p) const {
    const int nth = p / step;
    return (first_frame + nth) * plan.hop_length + plan.first_sample + (p - nth * step);
  }

  __device__ void load_samples() const {
    for (int p = threadIdx.x; p < span; p += blockDim.x) samples[p] = item.at(plan, position(p));
    __syncthreads();
  }

  // Element of a (mels, frames) or (frames, mels) array that holds frame `nth` of the tile.
  __device__ int64_t value_index(int nth, int mel) const {
    const int64_t t = first_frame + nth, first = item_index * plan.n_mels * call.frames;
    return first + (plan.time_mel ? t * plan.n_mels + mel : mel * call.frames + t);
  }
  __device__ int64_t mel_index(int nth, int mel) const {
    return (item_index * plan.n_mels + mel) * call.frames + first_frame + nth;
  }

  // Calls body(nth, mel) for the tile's values, neighbours in memory from neighbouring threads.
  template <typename Body>
  __device__ void for_each_value(const Body& body) const {
    for (int e = threadIdx.x; e < call.tile_frames * plan.n_mels; e += blockDim.x) {
      const int width = plan.time_mel ? plan.n_mels : call.tile_frames;
      const int row = e / width, column = e - row * width;
      const int nth = plan.time_mel ? row : column, mel = plan.time_mel ? column : row;
      if (first_frame + nth < call.frames) body(nth, mel);
    }
  }
};

template <typename T>
__device__ T warp_sum(T value) {
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    value += __shfl_xor_sync(kWholeWarp, value, lanes);
  }
  return value;
}

// --- Samples to spectrum ------------------------------------------------------------------------

// Windowed sample n of a frame: its mean is taken off, and from each sample a part of the one
// before it, which for the first is itself. Zero beyond the window.
template <typename T>
__device__ T windowed(const CudaLogMelPlan<T>& plan, const T* frame, T mean, int n) {
  if (n >= plan.win_length) return 0;
  T sample = frame[n] - mean;
  if (plan.preemphasis != 0) sample -= plan.preemphasis * (frame[n > 0 ? n - 1 : 0] - mean);
  return sample * plan.window[n];
}

// The complex spectrum of a frame, packed: for even n_fft, even samples are the real parts and odd
// ones the imaginary parts of half as many points.
template <typename T, bool kShared>
__device__ Complex<T>* spectrum(const Tile<T, kShared>& tile, int nth) {
  const CudaLogMelPlan<T>& plan = tile.plan;
  const T* frame = tile.samples + nth * tile.step;
  T mean = 0;
  if (plan.remove_dc) {
    for (int n = tile.lane(); n < plan.win_length; n += kWarpSize) mean += frame[n];
    mean = warp_sum(mean) / static_cast<T>(plan.win_length);
  }
  Complex<T>* points = tile.buffer(nth, 0);
  for (int i = tile.lane(); i < plan.fft_size; i += kWarpSize) {
    points[i] = plan.n_fft % 2 ? Complex<T>{windowed(plan, frame, mean, i), 0}
                               : Complex<T>{windowed(plan, frame, mean, 2 * i),
                                            windowed(plan, frame, mean, 2 * i + 1)};
  }
  return warp_fft(plan, points, tile.buffer(nth, 1), tile.lane());
}

template <typename T>
struct BinPair {
  Complex<T> bin, mirror;
};

// Bins k and n_fft / 2 - k of a real signal from its packed spectrum; 0 < k.
template <typename T>
__device__ BinPair<T> unpacked(const CudaLogMelPlan<T>& plan, Complex<T> z, Complex<T> z_mirror,
                               int k) {
  // Spectra of the even samples and of the odd ones, these turned by the twiddle.
  const Complex<T> even{(z.re + z_mirror.re) * T(0.5), (z.im - z_mirror.im) * T(0.5)};
  const Complex<T> odd{(z.im + z_mirror.im) * T(0.5), (z_mirror.re - z.re) * T(0.5)};
  const Complex<T> turned_odd = odd * complex_at(plan.half_twiddles, k);
  return {even + turned_odd, {even.re - turned_odd.re, turned_odd.im - even.im}};
}

// The packed spectrum of the real signal sum_k h[k] exp(2 pi i k n / N) at k, where h[k + N / 2] is
// the conjugate of h_mirror.
template <typename T>
__device__ Complex<T> packed(const CudaLogMelPlan<T>& plan, Complex<T> h, Complex<T> h_mirror,
                             int k) {
  const Complex<T> sum{h.re + h_mirror.re, h.im - h_mirror.im};
  const Complex<T> difference{h.re - h_mirror.re, h.im + h_mirror.im};
  const Complex<T> twiddle = complex_at(plan.half_twiddles, k);
  const Complex<T> t = difference * Complex<T>{twiddle.re, -twiddle.im};
  return {sum.re - t.im, sum.im + t.re};
}

template <typename T>
__device__ T squared_magnitude(Complex<T> z) {
  return z.re * z.re + z.im * z.im;
}

template <typename T>
__device__ T raised(const CudaLogMelPlan<T>& plan, T square) {
  if (plan.power == 2) return square;
  return plan.power == 1 ? std::sqrt(square) : std::pow(square, plan.power / 2);
}

// z -> the bins' |X|^power.
template <typename T>
__device__ void powers(const CudaLogMelPlan<T>& plan, const Complex<T>* z, T* power, int lane) {
  const int n = plan.fft_size;
  if (plan.n_fft % 2) {
    for (int k = lane; k < plan.n_bins; k += kWarpSize) {
      power[k] = raised(plan, squared_magnitude(z[k]));
    }
    return;
  }
  for (int k = lane; k <= n / 2; k += kWarpSize) {
    if (k == 0) {
      const T first = z[0].re + z[0].im, last = z[0].re - z[0].im;
      power[0] = raised(plan, first * first);
      power[n] = raised(plan, last * last);
    } else {
      const BinPair<T> bins = unpacked(plan, z[k], z[n - k], k);
      power[k] = raised(plan, squared_magnitude(bins.bin));
      power[n - k] = raised(plan, squared_magnitude(bins.mirror));
    }
  }
}

// --- Spectrum to values -------------------------------------------------------------------------

// What the logarithm of each mel is taken of.
template <typename T>
__device__ void mel_sums(const CudaLogMelPlan<T>& plan, const T* power, T* mels, int lane) {
  for (int m = lane; m < plan.n_mels; m += kWarpSize) {
    const int begin = plan.segment_begin[m], peak = plan.segment_begin[m + 1];
    const int end = plan.segment_begin[m + 2];
    T rising = 0, falling = 0;
    for (int k = begin; k < peak; ++k) rising += power[k] * plan.weights[2 * k];
    for (int k = peak; k < end; ++k) falling += power[k] * plan.weights[2 * k + 1];
    mels[m] = rising + falling;
  }
}

// A comparison with NaN is false: it is not clamped away.
template <typename T>
__device__ T value_of(const CudaLogMelPlan<T>& plan, T mel) {
  if (plan.log == LogKind::ln_add) mel = std::log(mel + plan.eps);
  if (plan.log == LogKind::ln_clamp) mel = std::log(mel < plan.eps ? plan.eps : mel);
  return mel * plan.scale + plan.shift;
}

template <typename T, bool kShared>
__global__ void __launch_bounds__(kMaxThreads)
    log_mel_forward(const __grid_constant__ CudaLogMelPlan<T> plan,
                    const __grid_constant__ Call<T> call, LogMelOutput out, T* mel) {
  const int64_t tiles = call.waveforms.items * call.tiles_per_item;
  for (int64_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    const Tile<T, kShared> tile(plan, call, index);
    tile.load_samples();
    const int result = plan.n_stages % 2;
    if (const int nth = tile.warp(); tile.has_frame(nth)) {
      const Complex<T>* z = spectrum(tile, nth);
      T* power = reinterpret_cast<T*>(tile.buffer(nth, 1 - result));
      powers(plan, z, power, tile.lane());
      __syncwarp();
      mel_sums(plan, power, reinterpret_cast<T*>(tile.buffer(nth, result)), tile.lane());
    }
    __syncthreads();
    tile.for_each_value([&](int nth, int m) {
      T value = 0;  // of frames that the item is too short for
      if (tile.has_frame(nth)) {
        const T energy = reinterpret_cast<const T*>(tile.buffer(nth, result))[m];
        if (mel) mel[tile.mel_index(nth, m)] = energy;
        value = value_of(plan, energy);
      }
      write_value(value, out.data, out.type, tile.value_index(nth, m));
    });
    __syncthreads();
  }
}

// --- Gradient -----------------------------------------------------------------------------------

// Gradient with respect to mel of value_of(mel), times grad.
template <typename T>
__device__ T value_gradient(const CudaLogMelPlan<T>& plan, T mel, T grad) {
  grad *= plan.scale;
  if (plan.log == LogKind::ln_add) return grad / (mel + plan.eps);
  if (plan.log == LogKind::ln_clamp) return mel < plan.eps ? T(0) : grad / mel;
  return grad;
}

// Twice the gradient with respect to |X_k|^2, from that with respect to the mels. At X = 0 it is
// zero for powers other than 2.
template <typename T>
__device__ T gain_of(const CudaLogMelPlan<T>& plan, const T* mel_gradients, int k, Complex<T> bin) {
  const int segment = plan.segment_of_bin[k];
  if (segment < 0) return 0;
  T gain = 0;
  if (segment < plan.n_mels) gain += mel_gradients[segment] * plan.weights[2 * k];
  if (segment > 0) gain += mel_gradients[segment - 1] * plan.weights[2 * k + 1];
  if (plan.power != 2) {
    const T square = squared_magnitude(bin), half = plan.power / 2;
    gain *= square == 0 ? T(0) : half * std::pow(square, half - 1);
  }
  return 2 * gain;
}

// Packed spectrum -> packed spectrum of the gradient, in place, real and imaginary parts exchanged:
// the forward transform is then the inverse one. Bins that stand for a conjugate pair share their
// gradient with the other one.
template <typename T>
__device__ void spectrum_gradient(const CudaLogMelPlan<T>& plan, const T* mel_gradients,
                                  Complex<T>* z, int lane) {
  const int n = plan.fft_size;
  const auto store = [z](int k, Complex<T> value) { z[k] = {value.im, value.re}; };
  const auto gradient = [&](int k, Complex<T> bin, T share) {
    return scaled(bin, gain_of(plan, mel_gradients, k, bin) * share);
  };
  if (plan.n_fft % 2) {
    for (int k = lane; k < plan.n_bins; k += kWarpSize) {
      const Complex<T> h = gradient(k, z[k], k == 0 ? T(1) : T(0.5));
      store(k, h);
      if (k > 0) store(n - k, {h.re, -h.im});
    }
    return;
  }
  for (int k = lane; k <= n / 2; k += kWarpSize) {
    if (k == 0) {
      const Complex<T> first = gradient(0, {z[0].re + z[0].im, 0}, 1);
      const Complex<T> last = gradient(n, {z[0].re - z[0].im, 0}, 1);
      store(0, {first.re + last.re, first.re - last.re});
    } else {
      const BinPair<T> bins = unpacked(plan, z[k], z[n - k], k);
      const Complex<T> h = gradient(k, bins.bin, T(0.5));
      const Complex<T> h_mirror = gradient(n - k, bins.mirror, T(0.5));
      store(k, packed(plan, h, h_mirror, k));
      if (n - k != k) store(n - k, packed(plan, h_mirror, h, n - k));
    }
  }
}

// Windowed gradient of a frame's samples -> that of the samples before windowed(), into `out`.
template <typename T>
__device__ void frame_gradient(const CudaLogMelPlan<T>& plan, const Complex<T>* z, T* out,
                               int lane) {
  const auto windowed_gradient = [&](int n) {
    // Parts are exchanged, see spectrum_gradient().
    const T value = plan.n_fft % 2 ? z[n].im : n % 2 ? z[n / 2].re : z[n / 2].im;
    return value * plan.window[n];
  };
  T sum = 0;
  for (int n = lane; n < plan.win_length; n += kWarpSize) {
    T value = windowed_gradient(n);
    if (plan.preemphasis != 0) {
      if (n == 0) value -= plan.preemphasis * windowed_gradient(0);
      if (n + 1 < plan.win_length) value -= plan.preemphasis * windowed_gradient(n + 1);
    }
    out[n] = value;
    sum += value;
  }
  if (!plan.remove_dc) return;
  const T mean = warp_sum(sum) / static_cast<T>(plan.win_length);
  for (int n = lane; n < plan.win_length; n += kWarpSize) out[n] -= mean;
}

// Each tile's gradient with respect to the samples it spans, its frames added up in order.
template <typename T, bool kShared>
__global__ void __launch_bounds__(kMaxThreads)
    log_mel_tile_gradients(const __grid_constant__ CudaLogMelPlan<T> plan,
                           const __grid_constant__ Call<T> call, const T* grad_out, const T* mel,
                           T* tile_gradients) {
  const int64_t tiles = call.waveforms.items * call.tiles_per_item;
  for (int64_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    const Tile<T, kShared> tile(plan, call, index);
    tile.load_samples();
    const int result = plan.n_stages % 2;  // of either transform: there are two
    const int nth = tile.warp();
    Complex<T>* z = nullptr;
    if (tile.has_frame(nth)) z = spectrum(tile, nth);
    __syncthreads();
    tile.for_each_value([&](int f, int m) {
      if (!tile.has_frame(f)) return;
      T* mel_gradients = reinterpret_cast<T*>(tile.buffer(f, 1 - result));
      mel_gradients[m] =
          value_gradient(plan, mel[tile.mel_index(f, m)], grad_out[tile.value_index(f, m)]);
    });
    __syncthreads();
    if (z) {
      T* mel_gradients = reinterpret_cast<T*>(tile.buffer(nth, 1 - result));
      spectrum_gradient(plan, mel_gradients, z, tile.lane());
      z = warp_fft(plan, z, tile.buffer(nth, 1 - result), tile.lane());
      // After both transforms the result is in the first buffer again.
      frame_gradient(plan, z, reinterpret_cast<T*>(tile.buffer(nth, 1)), tile.lane());
    }
    __syncthreads();
    for (int p = threadIdx.x; p < tile.span; p += blockDim.x) {
      const int last = p / tile.step;
      const int from = p < plan.win_length ? 0 : (p - plan.win_length) / tile.step + 1;
      T sum = 0;
      for (int f = from; f <= last && f < call.tile_frames && tile.has_frame(f); ++f) {
        sum += reinterpret_cast<const T*>(tile.buffer(f, 1))[p - f * tile.step];
      }
      tile_gradients[index * tile.span + p] = sum;
    }
    __syncthreads();
  }
}

// Sum over tiles, in order, of the gradients at position `t` of the item.
template <typename T>
__device__ T gradient_at(const CudaLogMelPlan<T>& plan, const Call<T>& call, int span,
                         const T* of_item, int64_t t) {
  const int64_t place = t - plan.first_sample;
  if (place < 0) return 0;
  const bool apart = plan.hop_length >= plan.win_length;
  const int64_t tile_hop = static_cast<int64_t>(call.tile_frames) * plan.hop_length;
  const int64_t last = place / tile_hop;
  T sum = 0;
  if (apart) {
    const int64_t within = place - last * tile_hop, nth = within / plan.hop_length;
    const int64_t n = within - nth * plan.hop_length;
    if (n < plan.win_length && last < call.tiles_per_item) {
      sum = of_item[last * span + nth * plan.win_length + n];
    }
    return sum;
  }
  const int64_t first = place < span ? 0 : (place - span) / tile_hop + 1;
  for (int64_t tile = first; tile <= last && tile < call.tiles_per_item; ++tile) {
    sum += of_item[tile * span + (place - tile * tile_hop)];
  }
  return sum;
}

// A sample's gradient: at its own position and where the padding shows it again.
template <typename T>
__global__ void __launch_bounds__(kGatherThreads)
    log_mel_gather_gradient(const __grid_constant__ CudaLogMelPlan<T> plan,
                            const __grid_constant__ Call<T> call, int span, const T* tile_gradients,
                            T* grad_waveform) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kGatherThreads + threadIdx.x;
  if (i >= call.waveforms.items * call.row_length) return;
  const int64_t index = i / call.row_length;
  const CudaItem<T> item = item_of(plan, call.waveforms, call.row_length, call.sample_bytes, index);
  const int64_t t = i - index * call.row_length - item.begin;
  T sum = 0;
  if (t >= 0 && t < item.length) {
    const T* of_item = tile_gradients + index * call.tiles_per_item * span;
    sum = gradient_at(plan, call, span, of_item, t);
    if (plan.reflect && t > 0) sum += gradient_at(plan, call, span, of_item, -t);
    if (plan.reflect && t < item.length - 1) {
      sum += gradient_at(plan, call, span, of_item, 2 * (item.length - 1) - t);
    }
  }
  grad_waveform[i] = sum;
}

template <typename T>
Call<T> call_of(const Waveforms& waveforms, int64_t row_length, const CudaLogMelShape& shape,
                int64_t frames, void* workspace) {
  return {waveforms,
          row_length,
          bytes_of_sample(waveforms.type),
          shape.tile_frames,
          shape.tiles_per_item,
          frames,
          static_cast<T*>(workspace),
          static_cast<int64_t>(shape.block_bytes / sizeof(T))};
}

LaunchShape launch_shape(const CudaLogMelShape& shape) {
  return {dim3(static_cast<unsigned>(shape.blocks)),
          static_cast<unsigned>(shape.tile_frames * kWarpSize),
          shape.in_shared ? shape.block_bytes : 0};
}

}  // namespace

template <typename T>
void CudaLogMel::forward_in(const void* tables, const Waveforms& waveforms, int64_t row_length,
                            const LogMelOutput& out, T* mel, void* workspace, void* stream) const {
  const CudaLogMelShape shape_ = shape(waveforms.items, out.frames, sizeof(T));
  const Call<T> call = call_of<T>(waveforms, row_length, shape_, out.frames, workspace);
  const auto kernel = shape_.in_shared ? log_mel_forward<T, true> : log_mel_forward<T, false>;
  launch("log_mel", kernel, launch_shape(shape_), stream, plan<T>(tables), call, out, mel);
}

template <typename T>
void CudaLogMel::backward_in(const void* tables, const Waveforms& waveforms, int64_t row_length,
                             const T* mel, const T* grad_out, int64_t out_frames, T* grad_waveform,
                             void* workspace, void* stream) const {
  const CudaLogMelShape shape_ = shape(waveforms.items, out_frames, sizeof(T));
  const Call<T> call = call_of<T>(waveforms, row_length, shape_, out_frames, workspace);
  T* tile_gradients =
      call.workspace + (shape_.in_shared ? 0 : shape_.blocks * static_cast<int64_t>(call.elements));
  const CudaLogMelPlan<T> plan_ = plan<T>(tables);
  const auto kernel =
      shape_.in_shared ? log_mel_tile_gradients<T, true> : log_mel_tile_gradients<T, false>;
  launch("log_mel_backward", kernel, launch_shape(shape_), stream, plan_, call, grad_out, mel,
         tile_gradients);
  const int64_t samples = waveforms.items * row_length;
  const auto blocks = static_cast<unsigned>((samples + kGatherThreads - 1) / kGatherThreads);
  launch("log_mel_backward", log_mel_gather_gradient<T>, {blocks, kGatherThreads, 0}, stream, plan_,
         call, static_cast<int>(tile_span(shape_)), tile_gradients, grad_waveform);
}

void CudaLogMel::forward(const void* tables, const Waveforms& waveforms, int64_t row_length,
                         const LogMelOutput& out, void* mel, void* workspace, void* stream) const {
  if (waveforms.type == SampleType::f64) {
    forward_in(tables, waveforms, row_length, out, static_cast<double*>(mel), workspace, stream);
  } else {
    forward_in(tables, waveforms, row_length, out, static_cast<float*>(mel), workspace, stream);
  }
}

void CudaLogMel::backward(const void* tables, const Waveforms& waveforms, int64_t row_length,
                          const void* mel, const void* grad_out, int64_t out_frames,
                          void* grad_waveform, void* workspace, void* stream) const {
  if (waveforms.type == SampleType::f64) {
    backward_in(tables, waveforms, row_length, static_cast<const double*>(mel),
                static_cast<const double*>(grad_out), out_frames,
                static_cast<double*>(grad_waveform), workspace, stream);
  } else {
    backward_in(tables, waveforms, row_length, static_cast<const float*>(mel),
                static_cast<const float*>(grad_out), out_frames, static_cast<float*>(grad_waveform),
                workspace, stream);
  }
}

}  // namespace avts
