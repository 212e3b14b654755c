#include "machine.h"

namespace simulator {

const char* kind_name(Kind kind) {
  static const char* const names[kKinds] = {"move",        "integer", "float",      "double",      "half",
                                            "convert",     "mma",     "loadGlobal", "storeGlobal", "loadShared",
                                            "storeShared", "local",   "constant",   "branch",      "barrier",
                                            "shuffle",     "atomic",  "copyAsync",  "ldmatrix",    "other"};
  return kind < kKinds ? names[kind] : "";
}

void Counters::add(const Counters& other) {
  for (int k = 0; k < kKinds; k++) {
    thread[k] += other.thread[k];
    warp[k] += other.warp[k];
  }
  multiply_adds += other.multiply_adds;
  global_load_requests += other.global_load_requests;
  global_load_sectors += other.global_load_sectors;
  global_load_least += other.global_load_least;
  global_store_requests += other.global_store_requests;
  global_store_sectors += other.global_store_sectors;
  global_store_least += other.global_store_least;
  shared_load_requests += other.shared_load_requests;
  shared_load_wavefronts += other.shared_load_wavefronts;
  shared_load_least += other.shared_load_least;
  shared_store_requests += other.shared_store_requests;
  shared_store_wavefronts += other.shared_store_wavefronts;
  shared_store_least += other.shared_store_least;
  blocks += other.blocks;
  threads += other.threads;
}

uint64_t Counters::thread_total() const {
  uint64_t sum = 0;
  for (const uint64_t n : thread) sum += n;
  return sum;
}

uint64_t Counters::warp_total() const {
  uint64_t sum = 0;
  for (const uint64_t n : warp) sum += n;
  return sum;
}

}  // namespace simulator
