// What tests and tools ask of the stand-in beside CUDA's own entries: see control.cc and README.md.
#include <cstring>

#include "json.h"
#include "state.h"

namespace simulator::driver {

namespace {

std::string kinds(const uint64_t (&counts)[kKinds]) {
  Object object;
  for (int kind = 0; kind < kKinds; ++kind) {
    if (counts[kind] != 0) object.add(kind_name(Kind(kind)), counts[kind]);
  }
  return object.json();
}

std::string tally_json(const Tally& tally) {
  const Counters& c = tally.counters;
  return Object()
      .add("launches", tally.launches)
      .add("blocks", c.blocks)
      .add("threads", c.threads)
      .add("warpInstructions", kinds(c.warp))
      .add("threadInstructions", kinds(c.thread))
      .add("multiplyAdds", c.multiply_adds)
      .add("globalLoads", Object()
                              .add("requests", c.global_load_requests)
                              .add("sectors", c.global_load_sectors)
                              .add("leastSectors", c.global_load_least)
                              .json())
      .add("globalStores", Object()
                               .add("requests", c.global_store_requests)
                               .add("sectors", c.global_store_sectors)
                               .add("leastSectors", c.global_store_least)
                               .json())
      .add("sharedLoads", Object()
                              .add("requests", c.shared_load_requests)
                              .add("wavefronts", c.shared_load_wavefronts)
                              .add("leastWavefronts", c.shared_load_least)
                              .json())
      .add("sharedStores", Object()
                               .add("requests", c.shared_store_requests)
                               .add("wavefronts", c.shared_store_wavefronts)
                               .add("leastWavefronts", c.shared_store_least)
                               .json())
      .json();
}

std::string counters_json(const State& s) {
  Object object;
  for (const auto& [name, tally] : s.tallies) object.add(name, tally_json(tally));
  return object.json();
}

std::string memory_json(State& s) {
  uint64_t plain = 0, plain_blocks = 0, pooled = 0, pooled_blocks = 0, used = 0, pinned = 0, registered = 0;
  for (const auto& context : s.contexts) {
    if (!context->active) continue;
    used += context->memory->used();
    for (const auto& [_, block] : context->blocks) {
      (block.pooled ? pooled : plain) += block.bytes;
      (block.pooled ? pooled_blocks : plain_blocks) += 1;
    }
  }
  for (const auto& [_, block] : s.pinned) (block.registered ? registered : pinned) += block.bytes;
  uint64_t contexts = 0, streams = 0;
  for (const auto& context : s.contexts) contexts += context->active ? 1 : 0;
  for (const auto& [_, stream] : s.streams.all()) streams += stream->ended ? 0 : 1;
  return Object()
      .add("device", Object().add("bytes", plain).add("blocks", plain_blocks).json())
      .add("pool", Object().add("bytes", pooled).add("blocks", pooled_blocks).json())
      .add("pinned", Object().add("bytes", pinned).add("blocks", s.pinned.size()).json())
      .add("registered", registered)
      .add("used", used)
      .add("contexts", contexts)
      .add("streams", streams)
      .add("events", s.events.all().size())
      .add("modules", s.modules.all().size())
      .add("graphs", s.graphs.all().size())
      .add("graphExecs", s.graph_execs.all().size())
      .json();
}

// Devices are gone from now on: what is queued never runs.
void lose(State& s) {
  for (const auto& context : s.contexts) {
    if (context->active && context->failed == kSUCCESS) {
      context->failed = s.faults.lost;
      record_fault(s, {s.faults.lost, "the device was lost"});
    }
  }
  s.changed.notify_all();
}

std::string refusal(const std::string& wrong) {
  return wrong.empty() ? std::string("null") : std::string("!").append(wrong);
}

// JSON; or "!" and a sentence when the verb or its argument is wrong.
std::string answer(State& s, const std::string& verb, const std::string& argument) {
  if (verb == "configure") {
    const std::string wrong = configure(s.config, argument);
    return refusal(wrong);
  }
  if (verb == "fault") {
    const std::string wrong = inject(s.faults, s.config, argument);
    if (wrong.empty() && s.faults.lost != 0) lose(s);
    return refusal(wrong);
  }
  if (verb == "counters") {
    const std::string json = counters_json(s);
    if (argument == "reset") s.tallies.clear();
    return json;
  }
  if (verb == "memory") return memory_json(s);
  if (verb == "lastFault") return s.last_fault.empty() ? "null" : quoted(s.last_fault);
  if (verb == "forgetFault") {
    s.last_fault.clear();
    return "null";
  }
  return "!simulator: verb must be known, got " + verb;
}

}  // namespace

extern "C" const char* simulatorControl(const char* verb, const char* argument) {
  thread_local std::string said;
  State& s = state();
  const Lock lock(s.mutex);
  said = answer(s, verb, argument == nullptr ? "" : argument);
  return said.c_str();
}

}  // namespace simulator::driver
