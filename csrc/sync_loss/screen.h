// Rules out most pairs from being among the k nearest, by products of low precision.
#pragma once

#include <memory>

#include "sync_loss/candidates.h"
#include "sync_loss/mine.h"

namespace avts::sync_loss {

struct Screened {
  Candidates video, audio;
};

// Null where a screen is of no use. For float32 only, where the products' own error is far above
// that of the ranking.
std::unique_ptr<Screened> screened(const Pairing<float>& pairing, const Options& options,
                                   const Farthest& of_video, const Farthest& of_audio);

}  // namespace avts::sync_loss
