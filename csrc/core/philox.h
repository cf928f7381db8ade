// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128 random
// bits as a pure function of a 128-bit counter and a 64-bit key. The same integers on CPU and GPU.
#pragma once

#include <cstdint>

// Functions for both are static where they are not members: a kernel source of one CPU level must
// not share them with another.
#if defined(__CUDACC__)
#define AVTS_HOST_DEVICE __host__ __device__
#else
#define AVTS_HOST_DEVICE
#endif

namespace avts {

constexpr uint32_t kPhiloxFactor0 = 0xD2511F53u, kPhiloxFactor1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxStep0 = 0x9E3779B9u, kPhiloxStep1 = 0xBB67AE85u;

struct Philox {
  uint32_t word[4];

  AVTS_HOST_DEVICE uint64_t pair(int first) const {
    return static_cast<uint64_t>(word[first + 1]) << 32 | word[first];
  }
};

AVTS_HOST_DEVICE static inline Philox philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                             uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxFactor0) * c0;
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxFactor1) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += kPhiloxStep0;
    k1 += kPhiloxStep1;
  }
  return {{c0, c1, c2, c3}};
}

// The high half of a 64 x 64 bit product.
AVTS_HOST_DEVICE static inline uint64_t multiply_high(uint64_t a, uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
#endif
}

// Maps 64 random bits to [0, count). The bias is below count / 2^64.
AVTS_HOST_DEVICE static inline int64_t below(uint64_t random, int64_t count) {
  return static_cast<int64_t>(multiply_high(random, static_cast<uint64_t>(count)));
}

}  // namespace avts
