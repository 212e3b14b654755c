#include "count.h"

#include <algorithm>

namespace simulator {

void count_global(Counters& counters, const int64_t* address, uint32_t mask, unsigned bytes, bool write) {
  // Lanes mostly have rising addresses, or one for all of them.
  int64_t distinct[32];
  int n = 0;
  bool rising = true;
  for (int i = 0; i < 32; i++) {
    if ((mask >> i & 1) == 0 || (n > 0 && distinct[n - 1] == address[i])) continue;
    rising = rising && (n == 0 || distinct[n - 1] < address[i]);
    distinct[n++] = address[i];
  }
  if (!rising) {
    std::sort(distinct, distinct + n);
    n = static_cast<int>(std::unique(distinct, distinct + n) - distinct);
  }
  uint64_t sectors = n > 0 ? 1 : 0;
  for (int i = 1; i < n; i++) sectors += distinct[i] >> 5 != distinct[i - 1] >> 5 ? 1 : 0;
  const uint64_t least = (static_cast<uint64_t>(n) * bytes + 31) / 32;
  (write ? counters.global_store_requests : counters.global_load_requests) += 1;
  (write ? counters.global_store_sectors : counters.global_load_sectors) += sectors;
  (write ? counters.global_store_least : counters.global_load_least) += least;
}

void count_shared(Counters& counters, const int64_t* address, uint32_t mask, unsigned bytes, bool write) {
  const int lanes = bytes <= 4 ? 32 : static_cast<int>(128 / bytes);
  const int words = bytes <= 4 ? 1 : static_cast<int>(bytes / 4);
  uint64_t wavefronts = 0, least = 0;
  for (int first = 0; first < 32; first += lanes) {
    int64_t seen[32][32];
    int depth[32] = {};
    int most = 0;
    for (int i = first; i < first + lanes; i++) {
      if ((mask >> i & 1) == 0) continue;
      for (int k = 0; k < words; k++) {
        const int64_t word = (address[i] >> 2) + k;
        const int bank = static_cast<int>(word & 31);
        int64_t* const at = seen[bank];
        if (std::find(at, at + depth[bank], word) != at + depth[bank]) continue;
        at[depth[bank]++] = word;
        most = std::max(most, depth[bank]);
      }
    }
    wavefronts += static_cast<uint64_t>(most);
    least += most > 0 ? 1 : 0;
  }
  (write ? counters.shared_store_requests : counters.shared_load_requests) += 1;
  (write ? counters.shared_store_wavefronts : counters.shared_load_wavefronts) += wavefronts;
  (write ? counters.shared_store_least : counters.shared_load_least) += least;
}

}  // namespace simulator
