// Copies that return when they are done with the host's memory; see copies.h.

#include "copies.h"

#include <algorithm>
#include <cstring>

namespace fracstride {

void copy_to_device(CudaQueue& queue, Staging& staging, void* target, const void* source, size_t bytes) {
  queue.enter("copyIn");
  for (size_t done = 0; done < bytes;) {
    const size_t some = std::min(bytes - done, Staging::kPiece);
    const Staging::Lease block = staging.take(some, "copyIn");
    std::memcpy(block->memory, static_cast<const char*>(source) + done, some);
    staging.send(*block, static_cast<char*>(target) + done, some);
    done += some;
  }
}

// While one piece is handed on the next is under way, if there is a block for it.
void copy_to_host(CudaQueue& queue, Staging& staging, void* target, const void* source, size_t bytes) {
  queue.enter("copyOut");
  const uint64_t launches = queue.launches.count();
  Staging::Lease here;
  size_t here_bytes = 0, asked = 0, done = 0;
  while (done < bytes) {
    Staging::Lease next;
    size_t some = 0;
    if (asked < bytes) {
      some = std::min(bytes - asked, Staging::kPiece);
      next = here ? staging.try_take(some, "copyOut") : staging.take(some, "copyOut");
      if (next) staging.fetch(*next, static_cast<const char*>(source) + asked, some);
      if (next) asked += some;
    }
    if (here) {
      // The event sleeps, the stream as the driver thinks best: what comes last is often small and waited for.
      const bool last = done + here_bytes == bytes;
      queue.check(last ? queue.call.stream_synchronize(queue.stream()) : queue.call.event_synchronize(here->event),
                  "copyOut", "the copy");
      here->under_way = false;
      std::memcpy(static_cast<char*>(target) + done, here->memory, here_bytes);
      done += here_bytes;
    }
    here = std::move(next);
    here_bytes = some;
  }
  queue.launches.ran(launches);
}

}  // namespace fracstride
