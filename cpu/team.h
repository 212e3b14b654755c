// The thread team: persistent threads that share the items of one loop. Included by files compiled for one instruction
// set, so it holds no inline code but templates of internal linkage.
//
// Items are claimed one by one from an atomic counter, in index order: put heavy items first. What an item computes may
// depend on its index only, never on the thread or on the number of threads; then neither does any result.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fracstride {

using TeamBody = void (*)(void* context, int64_t index);

// Runs body(context, i) for i in [0, count); returns when all have ended. The calling thread takes part. From inside a
// body, or while another thread uses the team, the loop runs on the calling thread alone; in the addon only the stream
// (stream.h) calls. The first exception of a body is thrown again here; items not yet claimed are then dropped.
void team_run(int64_t count, TeamBody body, void* context);

// Threads of the team, the calling one included. Before the first set_team_threads: FRACSTRIDE_NUM_THREADS, else what
// the affinity mask and the container's CPU quota leave.
int team_threads();
void set_team_threads(int count);

// Thread-local memory aligned to 64 bytes, contents undefined, kept for the thread's next request of the same slot.
// A loop's body must not use a slot that its caller holds: bodies own SCRATCH_ITEM_*, callers SCRATCH_CALL_*.
enum ScratchSlot {
  SCRATCH_CALL_A,
  SCRATCH_CALL_B,
  SCRATCH_CALL_C,
  SCRATCH_ITEM_A,
  SCRATCH_ITEM_B,
  SCRATCH_ITEM_C,
  SCRATCH_SLOTS
};
void* scratch(ScratchSlot slot, size_t bytes);

// for (i in [0, count)) body(i), shared by the team.
template <class Body>
static inline void parallel_for(int64_t count, const Body& body) {
  team_run(
      count, [](void* context, int64_t index) { (*static_cast<const Body*>(context))(index); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// body(begin, end) over pieces of `grain` items: the pieces do not depend on the number of threads.
template <class Body>
static inline void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
  parallel_for((count + grain - 1) / grain, [&](int64_t piece) {
    const int64_t begin = piece * grain;
    body(begin, begin + grain < count ? begin + grain : count);
  });
}

}  // namespace fracstride
