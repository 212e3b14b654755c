// See attach.h.
#include <cstdio>

#include "attach.h"
#include "state.h"

namespace simulator::driver {

namespace {

Context* active_context(State& s, ContextHandle handle) {
  for (const auto& context : s.contexts) {
    if (context->handle() == handle && context->active) return context.get();
  }
  return nullptr;
}

Ended run_task(State& s, const Task& task) {
  double slow = 0;
  bool failing = false;
  {
    const Lock lock(s.mutex);
    slow = s.config.slow_launch_ms;
    failing = s.faults.launch.due();
  }
  if (slow > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(slow));
  if (failing) return injected(task.name);
  char sentence[512] = "";
  const Result result = task.run(task.data, sentence, sizeof sentence);
  return {result, sentence};
}

}  // namespace

extern "C" {

Result simulatorEnqueue(StreamHandle handle, const Task* given) {
  const std::shared_ptr<const Task> task(new Task(*given), [](const Task* gone) {
    gone->drop(gone->data);
    delete gone;
  });
  return with_stream(task->name, handle,
                     [&](State& s, Lock& lock, Context&, const std::shared_ptr<Stream>& stream) -> Result {
                       if (s.faults.launch_error.due()) return kERROR_LAUNCH_OUT_OF_RESOURCES;
                       return enqueue(s, lock, stream, [&s, task] { return run_task(s, *task); });
                     });
}

void* simulatorHost(ContextHandle handle, Pointer address, uint64_t bytes, char* place, size_t size) {
  State& s = state();
  const Lock lock(s.mutex);
  Context* context = active_context(s, handle);
  uint8_t* host = context == nullptr ? nullptr : context->memory->host(address, bytes);
  if (host == nullptr) {
    const std::string where = context == nullptr ? "of no living context" : context->memory->describe(address);
    std::snprintf(place, size, "%s", where.c_str());
  }
  return host;
}

uint64_t simulatorGeneration(ContextHandle handle) {
  State& s = state();
  const Lock lock(s.mutex);
  const Context* context = active_context(s, handle);
  return context == nullptr ? 0 : context->generation;
}

int simulatorArch() {
  State& s = state();
  const Lock lock(s.mutex);
  return s.config.arch;
}

}  // extern "C"

}  // namespace simulator::driver
