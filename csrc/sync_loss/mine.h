// Which negatives of each row are terms of the loss.
#pragma once

#include <vector>

#include "sync_loss/pairing.h"

namespace avts::sync_loss {

// For each place of one side k places of the other, the hardest first; -1: there is none.
struct Mined {
  std::vector<int64_t> place;
  std::vector<double> d2;
};

// Farthest positive of each place: its place on the other side, or -1, and its d^2.
struct Farthest {
  std::vector<int64_t> place;
  std::vector<double> d2;
};

// Rank is by d^2 in double, summed from differences, equals by the caller's lowest row. d^2 then
// differs between instruction sets by less than dim * 2^-52 of itself, which is the bound within
// which they may disagree. A NaN is nearest of all.
//
// For float32 rows most pairs are ruled out by a screen: approximate products with a bound on their
// error. Only pairs that the bound does not rule out are ranked. Rows for which it leaves too many
// are ranked against all others.
//
// `finite`: no element is NaN or infinite, and no d^2 overflows float.
template <typename T>
void mine(const Pairing<T>& pairing, const Options& options, const Farthest& of_video,
          const Farthest& of_audio, bool finite, Mined* video, Mined* audio);

}  // namespace avts::sync_loss
