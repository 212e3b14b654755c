// Recording of graphs, and their replay.

#include <cmath>

#include "../error.h"
#include "verbs.h"

namespace fracstride {

void drop_capture(Environment& self) {
  if (self.capturing == nullptr) return;
  Place& at = *self.capturing;
  self.capturing = nullptr;
  at.pool.end_capture(self.owner);
  at.device.abort_capture();
  at.pool.free_arena(self.arena);
}

Napi::Value begin_capture(Call& call) {
  Place& at = call.device(0);
  Environment& self = call.self;
  if (self.capturing != nullptr) {
    throw Error("ERR_ARGUMENT", "graph: a graph must be recorded by itself, got one inside another");
  }
  at.device.begin_capture();
  try {
    self.arena = at.pool.begin_capture(self.owner);
  } catch (...) {
    at.device.abort_capture();
    throw;
  }
  self.capturing = &at;
  return call.env().Undefined();
}

Napi::Value end_capture(Call& call) {
  const double number = call.number(0, "device");
  Place& at = place(number, call.where);
  Environment& self = call.self;
  if (self.capturing != &at) throw Error("ERR_ARGUMENT", "graph: recording must have begun, got none on this device");
  std::unique_ptr<Graph> graph;
  try {
    self.graphs.reserve(self.graphs.size() + 1);
    graph = at.device.end_capture();
    if (graph == nullptr) throw Error("ERR_CUDA", "graph: what was recorded must be a graph, got none");
  } catch (...) {
    drop_capture(self);
    throw;
  }
  self.capturing = nullptr;
  at.pool.end_capture(self.owner);
  self.graphs.push_back({number, &at, std::move(graph), self.arena});
  return Napi::Number::New(call.env(), double(self.graphs.size()));
}

Napi::Value abort_capture(Call& call) {
  if (call.self.capturing == &call.device(0)) drop_capture(call.self);
  return call.env().Undefined();
}

void drop_graph(Recorded& found) {
  if (found.graph == nullptr) return;
  found.graph.reset();
  found.place->pool.free_arena(found.arena);
}

namespace {

Recorded& recorded(Call& call) {
  const double number = call.number(0, "device");
  const double handle = call.number(1, "graph");
  std::vector<Recorded>& graphs = call.self.graphs;
  const bool known = handle >= 1 && handle <= double(graphs.size()) && handle == std::floor(handle);
  if (!known || graphs[size_t(handle) - 1].graph == nullptr || graphs[size_t(handle) - 1].device != number) {
    call.refuse("graph", "a handle that endCapture returned for this device", show(handle));
  }
  return graphs[size_t(handle) - 1];
}

}  // namespace

Napi::Value replay_graph(Call& call) {
  Recorded& found = recorded(call);
  found.place->device.replay(*found.graph);
  return call.env().Undefined();
}

Napi::Value free_graph(Call& call) {
  drop_graph(recorded(call));
  return call.env().Undefined();
}

}  // namespace fracstride
