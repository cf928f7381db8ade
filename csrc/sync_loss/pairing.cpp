#include "sync_loss/pairing.h"

#include <algorithm>

namespace avts::sync_loss {

template <typename T>
Rows::Rows(const Side<T>& side) {
  const size_t most = static_cast<size_t>(side.count);
  index.reserve(most);
  ids.reserve(most);
  start_s.reserve(most);
  groups.reserve(most);
  for (int64_t i = 0; i < side.count; ++i) {
    if (!side.silent || !side.silent[i]) index.push_back(i);
  }
  const auto by_medium = [&](int64_t a, int64_t b) { return side.ids[a] < side.ids[b]; };
  if (side.ids && !std::is_sorted(index.begin(), index.end(), by_medium)) {
    std::stable_sort(index.begin(), index.end(), by_medium);
  }
  for (int64_t i : index) {
    ids.push_back(side.ids ? side.ids[i] : i);
    start_s.push_back(side.start_s ? side.start_s[i] : 0);
    groups.push_back(side.groups ? side.groups[i] : -1);
  }
}

std::vector<Range> same_medium(const Rows& self, const Rows& other) {
  std::vector<Range> ranges(self.count());
  const int64_t* ids = other.ids.data();
  int64_t begin = 0, end = 0;
  for (int64_t p = 0; p < self.count(); ++p) {
    const int64_t id = self.ids[p];
    while (begin < other.count() && ids[begin] < id) ++begin;
    end = std::max(begin, end);
    while (end < other.count() && ids[end] == id) ++end;
    ranges[p] = {begin, end};
  }
  return ranges;
}

template Rows::Rows(const Side<float>&);
template Rows::Rows(const Side<double>&);

}  // namespace avts::sync_loss
