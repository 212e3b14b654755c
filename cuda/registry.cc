// The devices of this process; see registry.h.

#include "registry.h"

#include <array>
#include <atomic>
#include <mutex>

#include "../cpu/device_cpu.h"
#include "device_cuda.h"
#include "error.h"

namespace fracstride {

namespace {

constexpr uint32_t kPlaces = 1 + kMostCudaDevices;

struct Places {
  std::mutex mutex;
  std::array<std::atomic<Place*>, kPlaces> made{};
};

Places& places() {
  static Places* const all = new Places;  // outlives every environment and thread
  return *all;
}

Place* make_place(uint32_t number) {
  Device* device = number == 0 ? make_cpu_device().release() : make_cuda_device(int(number) - 1).release();
  return new Place{*device, *new Pool(*device, number)};
}

}  // namespace

Place& place(double number, const char* where) {
  if (!(number >= 0 && number < kPlaces) || number != double(uint32_t(number))) {
    throw Error("ERR_ARGUMENT", std::string(where) + ": device must be an integer from 0 to " + show(kPlaces - 1) +
                                    ", got " + show(number));
  }
  Places& all = places();
  std::atomic<Place*>& found = all.made[uint32_t(number)];
  Place* made = found.load(std::memory_order_acquire);
  if (made != nullptr) return *made;
  std::lock_guard<std::mutex> lock(all.mutex);
  made = found.load(std::memory_order_relaxed);
  if (made == nullptr) found.store(made = make_place(uint32_t(number)), std::memory_order_release);
  return *made;
}

void each_place(void (*visit)(Place&, void*), void* context) {
  for (const std::atomic<Place*>& made : places().made) {
    Place* place = made.load(std::memory_order_acquire);
    if (place != nullptr) visit(*place, context);
  }
}

}  // namespace fracstride
